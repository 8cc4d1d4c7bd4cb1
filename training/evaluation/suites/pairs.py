"""Plain pairs: HH-RLHF, HelpSteer2-Preference, RAG-RewardBench, and TRL's preference formats."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from training.evaluation.items import ChatMessage, Group, Item
from training.evaluation.scoring_rules import pair_accuracy
from training.evaluation.suites.rows import Row
from training.evaluation.suites.suite import Suite

HH_FOLDERS = {
    "harmless-base": "harmless",
    "helpful-base": "helpful",
    "helpful-online": "helpful",
    "helpful-rejection-sampled": "helpful",
}
"""Folders as they were published, and what their pairs are about."""


def read_hh_rlhf(rows: Iterable[Row]) -> Iterator[Item]:
    """HH-RLHF (Bai et al. 2022, arXiv 2204.05862), in its published folders: nothing in a row says
    whether harmlessness or helpfulness was judged."""
    for row in rows:
        row.expect("chosen", "rejected")
        folder = row.path.parent.name
        if folder not in HH_FOLDERS:
            raise row.fail(
                f"lies in no folder of HH-RLHF ({', '.join(HH_FOLDERS)}), so nothing says what was "
                "judged; name it hh-harmless=… or hh-helpful=…"
            )
        yield _hh_pair(row, "hh-rlhf", HH_FOLDERS[folder])


def read_hh_harmless(rows: Iterable[Row]) -> Iterator[Item]:
    """Pairs of HH-RLHF that were judged by harmlessness, wherever the files lie."""
    return (_hh_pair(row, "hh-harmless", "harmless") for row in rows)


def read_hh_helpful(rows: Iterable[Row]) -> Iterator[Item]:
    """The same of helpfulness."""
    return (_hh_pair(row, "hh-helpful", "helpful") for row in rows)


def _hh_pair(row: Row, suite: str, subset: str) -> Item:
    """Chosen and rejected are whole transcripts; the prompt is what they have in common.

    In a few rows one of them has a turn more (5 of the 2,312 of harmless-base); there the response
    is all that follows, with the names of the roles.
    """
    row.expect("chosen", "rejected")
    better, worse = row.messages("chosen"), row.messages("rejected")
    common = 0
    shorter = min(len(better), len(worse)) - 1
    while common < shorter and better[common] == worse[common]:
        common += 1
    if not common:
        raise row.fail("chosen and rejected begin differently, expected transcripts of one talk")
    return Item(
        suite=suite,
        id=f"{row.path.parent.name}/{row.path.name}/{row.place}",
        subset=subset,
        group="safety" if subset == "harmless" else "subjective",
        kind="pair",
        messages=better[:common],
        responses=(_rest(better[common:]), _rest(worse[common:])),
        worth=(1.0, 0.0),
    )


def _rest(turns: tuple[ChatMessage, ...]) -> str:
    first, *others = turns
    names = {"user": "Human", "assistant": "Assistant"}
    more = [f"{names.get(turn.role, turn.role)}: {turn.content}" for turn in others]
    return "\n\n".join([first.content, *more])


def read_trl(rows: Iterable[Row]) -> Iterator[Item]:
    """TRL's preference formats: chosen and rejected with a prompt or with it inside, as text,
    transcript or messages."""
    for row in rows:
        row.expect("chosen", "rejected")
        yield _pair(row, "pairs", str(row.get("subset", row.path.parent.name)), "held-out")


def read_help_steer(rows: Iterable[Row]) -> Iterator[Item]:
    """HelpSteer2-Preference (Wang et al. 2024, arXiv 2410.01257).

    ``preference_strength`` runs from -3 (response 1 is much better) to 3 (response 2 is); 0 is a
    tie. Rows of ``split`` train are excluded. A prompt of several turns is one text with lines
    ``<extra_id_1>Assistant`` and ``<extra_id_1>User`` between them.
    """
    for row in rows:
        row.expect("prompt", "response_1", "response_2", "preference_strength")
        if row.get("split") == "train":
            continue
        strength = row.number("preference_strength")
        yield Item(
            suite="helpsteer2",
            id=str(row.place),
            subset="all",
            group="subjective",
            kind="pair",
            messages=_help_steer_turns(row.text("prompt")),
            responses=(row.text("response_1"), row.text("response_2")),
            worth=(-strength, strength),
            order_is_free=True,
        )


def _help_steer_turns(prompt: str) -> tuple[ChatMessage, ...]:
    first, *more = _HELP_STEER_TURN.split(prompt)
    said = zip(more[::2], more[1::2], strict=True)
    return (
        ChatMessage("user", first),
        *(ChatMessage(role.lower(), text) for role, text in said),
    )


_HELP_STEER_TURN = re.compile(r"\n?<extra_id_1>(Assistant|User)\n")

RAG_SUBSETS: dict[str, Group] = {
    "helpful": "subjective",
    "reason": "objective",
    "citation": "objective",
    "harmless": "safety",
    "abstain": "objective",
    "conflict": "objective",
}


def read_rag(rows: Iterable[Row]) -> Iterator[Item]:
    """RAG-RewardBench (Jin et al. 2024, arXiv 2412.13746): one file a subset."""
    for row in rows:
        row.expect("prompt", "chosen", "rejected")
        subset = str(row.get("subset", row.path.name.partition(".")[0])).lower()
        group = next((group for name, group in RAG_SUBSETS.items() if name in subset), None)
        if group is None:
            raise row.fail(f"no known subset {subset!r}; expected {' or '.join(RAG_SUBSETS)}")
        yield _pair(row, "rag-rewardbench", subset, group)


def _pair(row: Row, suite: str, subset: str, group: Group) -> Item:
    before, better = _side(row, "chosen")
    before_worse, worse = _side(row, "rejected")
    if before != before_worse:
        raise row.fail("chosen and rejected answer different prompts")
    if not before:
        row.expect("prompt", "chosen", "rejected")
        before = row.messages("prompt")
    elif "prompt" in row.values and isinstance(row.values["prompt"], list):
        stated = row.messages("prompt")
        before = before if before[: len(stated)] == stated else stated + before
    return Item(
        suite=suite,
        id=str(row.get("id", row.place)),
        subset=subset,
        group=group,
        kind="pair",
        messages=before,
        responses=(better, worse),
        worth=(1.0, 0.0),
    )


def _side(row: Row, name: str) -> tuple[tuple[ChatMessage, ...], str]:
    value = row.values[name]
    if isinstance(value, Mapping):  # an answer with the name of who gave it
        return (), _named_answer(row, value, name)
    if isinstance(value, str) and "prompt" in row.values:
        return (), value
    return row.conversation(name)


def _named_answer(row: Row, value: Mapping[str, Any], name: str) -> str:
    for key in ("answer", "response", "content", "text"):
        if isinstance(value.get(key), str):
            return str(value[key])
    raise row.fail(f"{name} has no answer, response, content or text; it has {', '.join(value)}")


HH_RLHF: Final = Suite(
    name="hh-rlhf",
    title="HH-RLHF",
    citation="arXiv 2204.05862",
    rule=pair_accuracy,
    read=read_hh_rlhf,
    columns="chosen, rejected: transcripts",
    size="2,312 pairs (harmless-base, test)",
    hub="Anthropic/hh-rlhf",
    hub_files=("*/test.jsonl.gz",),
)


HH_HARMLESS: Final = Suite(
    name="hh-harmless",
    title="HH-RLHF, harmless",
    citation="arXiv 2204.05862",
    rule=pair_accuracy,
    read=read_hh_harmless,
    columns="chosen, rejected: transcripts",
    size="one part, wherever its files lie",
)


HH_HELPFUL: Final = Suite(
    name="hh-helpful",
    title="HH-RLHF, helpful",
    citation="arXiv 2204.05862",
    rule=pair_accuracy,
    read=read_hh_helpful,
    columns="chosen, rejected: transcripts",
    size="one part, wherever its files lie",
)


HELP_STEER_2: Final = Suite(
    name="helpsteer2",
    title="HelpSteer2-Preference",
    citation="arXiv 2410.01257",
    rule=pair_accuracy,
    read=read_help_steer,
    columns="prompt, response_1, response_2, preference_strength, split",
    size="about 7,100 pairs, of which the validation split is scored",
    hub="nvidia/HelpSteer2",
    hub_files=("preference/*",),
)


RAG: Final = Suite(
    name="rag-rewardbench",
    title="RAG-RewardBench",
    citation="arXiv 2412.13746",
    rule=pair_accuracy,
    read=read_rag,
    columns="prompt, chosen, rejected; the subset is the file",
    size="1,485 pairs in 6 files",
    hub="jinzhuoran/RAG-RewardBench",
    hub_files=("Dataset/*.jsonl",),
)


PAIRS: Final = Suite(
    name="pairs",
    title="pairs of your own",
    citation="preference formats of TRL",
    rule=pair_accuracy,
    read=read_trl,
    columns="chosen, rejected, with prompt or with it inside",
    size="",
)
