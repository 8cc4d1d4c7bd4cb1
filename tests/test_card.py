import re
from collections import Counter

import pytest
import yaml

from pipeline.dataset.card import Release, is_generated, make_card
from pipeline.dataset.card_figures import markdown_text
from pipeline.dataset.report import make_report
from schemas.manifest import Accounting, InputFile, Manifest, StageCount
from schemas.pair import FORMER_NAMES, PAIR_SCHEMA_VERSION

STATS = {
    "pairs": 3,
    "site:a.example.com": 3,
    "language:en": 2,
    "language:und": 1,
    "license:CC-BY-SA-4.0": 9,
    "margin:1": 3,
    "confidence:0.6": 3,
    "earlier_wins": 2,
    "later_wins": 1,
    "longer_wins": 3,
    "prompt_chars_total": 30,
}
ACCOUNTING = Accounting(
    posts_read=12,
    posts_kept=7,
    duplicates=1,
    rejected=4,
    pairs={"train": 3},
    threads={"train": 1},
    stages=(StageCount(stage="read", entered=12, left=8, rejected={"malformed_row": 4}),),
    other_records={},
)


def card(release: Release | None = None, name: str = "x", **changes: object) -> str:
    values = {
        "pair_schema_version": PAIR_SCHEMA_VERSION,
        "recipe": {"votes": "net_votes", "pairing": "all", "dedup": "near"},
        "versions": {"forumprefs": "0"},
        "inputs": (InputFile(site="a", name="n", bytes=1, sha256="0" * 64),),
        "accounting": ACCOUNTING,
        "publishable": True,
        "shards": (),
    }
    manifest = Manifest(**(values | changes))
    return make_card(manifest, make_report(manifest, Counter(STATS)), name, release)


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_a_dataset_of_version_1_is_told_of_by_the_names_it_has(version: str) -> None:
    """It can be published; its columns are then still those of version 1."""
    text = card(pair_schema_version=version)
    assert "| `margin` | float |" in text
    for name in FORMER_NAMES.values():
        assert name not in text
    has_turns = version != "1.0.0"
    assert ("| `rejected_messages` |" in text) == has_turns
    assert ("| `text_hash` |" in text) == has_turns
    assert ('"prompt": pair["prompt_messages"] or [' in text) == has_turns
    assert "no other column" not in text
    assert "TRL and others subtract a column `margin`" in text
    current = card()
    assert "| `vote_margin` | float |" in current and "| `margin` |" not in current
    assert "no other column\nhas a name that a trainer takes" in current


def front(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_figures_come_from_manifest_and_report() -> None:
    text = card()
    assert "12 posts read = 7 kept + 1 duplicates + 4 rejected" in text
    assert "| the earlier response is chosen | 66.7 % |" in text
    assert "| the longer response is chosen | 100.0 % |" in text
    assert front(text)["language"] == ["en"]
    assert front(text)["size_categories"] == ["n<1K"]


def test_text_from_outside_is_escaped() -> None:
    hostile = InputFile(
        site="a|b",
        name="<script>alert(1)</script>|[x](javascript:1)",
        bytes=1,
        sha256="",
        note="`n`",
    )
    text = card(inputs=(hostile,))
    assert "<script>" not in text
    row = next(line for line in text.splitlines() if "script" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 6
    assert "[x](" not in row


def test_a_path_cannot_end_the_code_block_of_the_recipe() -> None:
    recipe = {
        "votes": "v",
        "pairing": "p",
        "dedup": "off",
        "input": ["stackexchange=a\n```\n# Injected"],
    }
    text = card(recipe=recipe)
    fence = re.search(r"^(`{3,})yaml$", text, re.MULTILINE)
    assert fence is not None
    body = text.split(f"{fence[1]}yaml\n")[1].split(f"\n{fence[1]}\n")[0]
    assert yaml.safe_load(body) == recipe


def test_other_licences_are_not_called_cc_by_sa() -> None:
    assert front(card())["license"] == "cc-by-sa-4.0"
    STATS["license:proprietary"] = 1
    try:
        assert front(card())["license"] == "other"
    finally:
        del STATS["license:proprietary"]


def test_a_published_card_says_how_to_read_cite_and_complain() -> None:
    release = Release(repo="acme/prefs", version="v1.2.0", changes="## Changes from a to b\n")
    text = card(release, "acme/prefs")
    assert 'load_dataset("acme/prefs", revision="v1.2.0", split="train")' in text
    assert "## Changes from a to b" in text
    cited = re.search(r"```bibtex\n(.*?)```", text, re.DOTALL)
    assert cited is not None
    assert "@misc{acme-prefs-v1-2-0," in cited[1] and "version = {v1.2.0}" in cited[1]
    assert "## How to have something removed" in text and "discussions of acme/prefs" in text
    assert "## Licence and attribution" in text and "## How it was made" in text
    plain = card()
    assert "data_files" in plain and "revision=" not in plain and "## Changes" not in plain


def test_figures_by_split_and_length() -> None:
    STATS["prompt_chars:200"] = 3
    try:
        text = card()
    finally:
        del STATS["prompt_chars:200"]
    assert "| train | 3 | 1 |" in text
    assert "| 200–499 | 3 | 0 | 0 |" in text


def test_the_name_of_a_folder_cannot_break_the_card() -> None:
    text = card(name="a}, evil = {x\n---\n# [b](c) <i>")
    assert front(text)["pretty_name"] == "a}, evil = {x --- # [b](c) <i>"
    body = text.split("\n---\n", 1)[1]
    assert "<i>" not in body and "[b](c)" not in body
    cited = re.search(r"```bibtex\n(.*?)```", body, re.DOTALL)
    assert cited is not None and cited[1].count("{") == cited[1].count("}") == 2


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\u2028", "\x0b"])
def test_no_end_of_line_leaves_its_cell(end: str) -> None:
    assert markdown_text(f"a{end}# b") == "a # b"
    assert f"a{end}" not in card(name=f"a{end}# b").split("\n---\n", 1)[1]


def test_an_edited_card_is_told_from_one_that_was_made() -> None:
    for text in (card(), card(Release(repo="a/b", version="v1"))):
        assert is_generated(text)
        assert not is_generated(text.replace("pairs", "Pairs", 1))
        assert not is_generated(text + "\nMy note.\n")
        assert not is_generated(text.rpartition("<!--")[0])
    assert not is_generated("") and not is_generated("# A card of somebody\n")
