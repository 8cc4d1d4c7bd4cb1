"""Every sequence classifier of transformers: the table in docs, and some of its rows anew."""

import json
from typing import Any

import pytest
import transformers
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS,
)

from benchmarks.architectures import LAYOUTS, TABLE, rows_of

FOUND = json.loads(TABLE.read_text(encoding="utf-8"))
ROWS: list[dict[str, Any]] = FOUND["rows"]


def test_the_table_has_every_classifier_that_is_installed() -> None:
    """Of the release that it is of; another one may know more, or fewer."""
    if transformers.__version__ != FOUND["transformers"]:
        pytest.skip(f"the table is of transformers {FOUND['transformers']}")
    assert {row["model"] for row in ROWS} == set(CLASSIFIERS)


def test_nothing_in_the_table_is_wrong_without_a_word() -> None:
    """Equal or refused; what is neither is known by name."""
    wrong = {
        (row["model"], row["variant"], layout): row[layout]
        for row in ROWS
        for layout in LAYOUTS
        if not row.get(layout, "equal").startswith(("equal", "refused: "))
    }
    assert set(wrong) <= {("funnel", "as it comes", "padded")}, wrong
    windows = [row for row in ROWS if row["variant"] != "as it comes" and "not built" not in row]
    assert len({row["model"] for row in windows}) > 15
    assert sum(row["shared"] == "equal" for row in ROWS if "shared" in row) > 40


@pytest.mark.parametrize(
    "kind", ["mistral", "qwen2_moe", "phimoe", "gpt_neo", "doge", "gemma2", "bert", "convbert"]
)
def test_rows_are_found_again(kind: str) -> None:
    """A window that lives in a mask alone, one that is baked in, caps, and padding that is read."""

    def outcome(row: dict[str, str]) -> dict[str, str]:
        return {
            key: value.partition(" (relative")[0].partition(": ")[0] if key in LAYOUTS else value
            for key, value in row.items()
        }

    expected = [outcome(row) for row in ROWS if row["model"] == kind]
    assert expected
    found = [outcome(row) for row in rows_of(kind)]
    assert found == expected
