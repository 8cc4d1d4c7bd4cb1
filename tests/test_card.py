import re
from collections import Counter

import yaml

from pipeline.card import make_card
from pipeline.report import make_report
from schemas.manifest import Accounting, InputFile, Manifest, StageCount

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


def card(**changes: object) -> str:
    values = {
        "pair_schema_version": "1.0.0",
        "recipe": {"votes": "net_votes", "pairing": "all", "dedup": "near"},
        "versions": {"forumprefs": "0"},
        "inputs": (InputFile(site="a", name="n", bytes=1, sha256="0" * 64),),
        "accounting": ACCOUNTING,
        "publishable": True,
        "shards": (),
    }
    manifest = Manifest(**(values | changes))
    return make_card(manifest, make_report(manifest, Counter(STATS)), "x")


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
