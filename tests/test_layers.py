"""The house: layers import downwards only, rooms of a layer form no circle, and every room says
what is public."""

import ast
import graphlib
import importlib
from collections.abc import Iterator
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

ROOMS: dict[str, dict[str, set[str]]] = {
    "transforms": {
        "core": set(),
        "text": set(),
        "threads": {"core"},
        "dedup": {"core"},
        "readers": {"core", "text"},
        "filters": {"core", "dedup"},
        "pairing": {"core", "dedup"},
        "writers": {"core", "dedup", "pairing"},
        "hydrate": {"core", "text", "threads", "pairing", "writers"},
    },
    "pipeline": {
        "errors": set(),
        "console": set(),
        "runners": {"console", "errors"},
        "dataset": {"console", "errors"},
        "diff": {"dataset", "errors"},
        "hub": {"dataset", "diff", "errors", "export"},
        "report_page": {"console", "dataset", "errors"},
        "export": {"console", "dataset", "errors"},
        "ablate": {"console", "dataset", "errors"},
        "curate": {"console", "dataset", "errors", "hub", "runners"},
        "commands": {
            "console", "curate", "dataset", "diff", "errors", "export", "hub", "report_page",
            "runners",
        },
        "cli": {"console", "errors", "runners"},
    },
    "training": {
        "errors": set(),
        "durable_files": set(),
        "tracking": {"durable_files"},
        "model_options": set(),
        "console": set(),
        "commands": set(),
        "losses": {"errors"},
        "heads": {"errors", "losses"},
        "config": {"errors", "heads", "losses"},
        "memory_errors": {"errors"},
        "data": {"config", "errors", "losses"},
        "model": {"config", "data", "durable_files", "errors", "memory_errors"},
        "parallel": {"errors", "model"},
        "validation": {"config", "data", "model", "parallel"},
        "uncertainty": {"data", "durable_files", "errors", "model", "validation"},
        "labels": {
            "config", "data", "errors", "losses", "model", "parallel", "uncertainty", "validation",
        },
        "uncertainty_command": {"evaluation", "model_options"},
        "ablation": {
            "config", "console", "data", "durable_files", "errors", "evaluation", "losses",
            "model", "run", "validation",
        },
        "throughput": {"data", "model"},
        "optimizer": {"config", "errors", "parallel"},
        "weight_average": {"optimizer", "parallel"},
        "checkpoints": {"config", "durable_files", "errors", "heads", "model"},
        "planning": {"config", "data", "errors", "model", "parallel", "throughput"},
        "run": {
            "checkpoints", "config", "console", "data", "durable_files", "errors", "heads",
            "labels", "losses", "memory_errors", "model", "optimizer", "parallel", "planning",
            "throughput", "tracking", "validation",
        },
        "train": {
            "commands", "config", "console", "data", "errors", "losses", "memory_errors",
            "optimizer", "parallel", "run", "tracking", "validation", "weight_average",
        },
        "export_command": {"checkpoints", "errors", "model", "model_options", "run"},
        "train_command": {
            "checkpoints", "config", "console", "errors", "model", "model_options", "planning",
            "run", "train",
        },
        "evaluation": {
            "checkpoints", "config", "console", "data", "durable_files", "errors",
            "memory_errors", "model", "model_options", "run", "uncertainty", "validation",
        },
        "registry": {"durable_files", "errors", "evaluation", "run", "validation"},
        "registry_command": {"errors", "registry"},
        "scaling": {"config", "errors", "planning", "run", "validation"},
        "scoring": {
            "console", "durable_files", "errors", "evaluation", "memory_errors", "model",
            "model_options", "run", "uncertainty",
        },
    },
}  # fmt: skip
"""Which rooms of the same layer a room may import."""


def imported(path: Path) -> Iterator[str]:
    """Names of all modules that a file imports, also inside functions and in stubs."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def sources_of(layer: str) -> list[Path]:
    return sorted(path for end in ("py", "pyi") for path in (ROOT / layer).rglob(f"*.{end}"))


@pytest.mark.parametrize("layer", BELOW)
def test_layers_import_only_downwards(layer: str) -> None:
    files = sources_of(layer)
    assert files
    others = BELOW.keys() | {"tests", "benchmarks", "samples", "docs"}
    for path in files:
        layers = {name.split(".")[0] for name in imported(path)} & others
        assert layers <= BELOW[layer] | {layer}, path


@pytest.mark.parametrize("layer", ROOMS)
def test_rooms_import_only_what_the_table_says(layer: str) -> None:
    found: dict[str, set[str]] = {room: set() for room in ROOMS[layer]}
    for path in sources_of(layer):
        room = path.relative_to(ROOT / layer).with_suffix("").parts[0]
        if room == "__init__":
            continue
        assert room in found, f"{path} is in no room of the table"
        found[room] |= {
            name.split(".")[1] for name in imported(path) if name.startswith(f"{layer}.")
        }
    for room, seen in found.items():
        assert seen - {room} == ROOMS[layer][room], room
    tuple(graphlib.TopologicalSorter(ROOMS[layer]).static_order())  # raises where there is a circle


OF_ONE_FORUM = {
    "pipeline/commands/validate.py": {"custom_threads"},  # forumprefs validate-threads
    "pipeline/curate/recipe.py": {"preferences"},  # --pairs-columns
}
"""Commands and options that are about one kind of forum, and whose."""


def test_the_pipeline_asks_the_registry_and_no_forum_itself() -> None:
    base = "transforms.readers"
    readers = ROOT.joinpath(*base.split("."))
    forums = {path.name for path in readers.iterdir() if (path / "reader.py").exists()} | {"lemmy"}
    assert {"stackexchange", "reddit", "custom_threads"} <= forums
    for layer in ("pipeline", "dags"):
        for path in sorted((ROOT / layer).rglob("*.py")):
            seen = {
                name.split(".")[2] for name in imported(path) if name.startswith(f"{base}.")
            } & forums
            name = path.relative_to(ROOT).as_posix()
            assert seen == OF_ONE_FORUM.get(name, set()), path


ROOM_NAMES = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for layer in BELOW
    for path in (ROOT / layer).rglob("__init__.py")
)


@pytest.mark.parametrize("name", ROOM_NAMES)
def test_a_room_says_what_it_is_for_and_what_is_public(name: str) -> None:
    room = importlib.import_module(name)
    assert len((room.__doc__ or "").split()) > 5
    for public in getattr(room, "__all__", ()):
        assert getattr(room, public) is not None


def test_modules_with_dofns_evaluate_their_annotations() -> None:
    for layer in ("schemas", "transforms", "pipeline"):
        for path in sorted((ROOT / layer).rglob("*.py")):
            assert "from __future__ import annotations" not in path.read_text(encoding="utf-8"), (
                path
            )
