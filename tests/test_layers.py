import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BELOW = {
    "schemas": set(),
    "transforms": {"schemas"},
    "pipeline": {"schemas", "transforms"},
    "dags": {"schemas", "transforms", "pipeline"},
    "training": {"schemas"},
}


def imported_floors(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found & (BELOW.keys() | {"tests", "benchmarks", "samples"})


@pytest.mark.parametrize("floor", BELOW)
def test_imports_go_only_downwards(floor: str) -> None:
    files = sorted((ROOT / floor).rglob("*.py"))
    assert files
    for path in files:
        assert imported_floors(path) <= BELOW[floor] | {floor}, path


def test_modules_with_dofns_evaluate_their_annotations() -> None:
    for path in sorted((ROOT / "transforms").rglob("*.py")):
        assert "from __future__ import annotations" not in path.read_text(encoding="utf-8"), path
