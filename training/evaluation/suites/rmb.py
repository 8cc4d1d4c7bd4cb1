"""RMB (Zhou et al. 2024, arXiv 2410.09893): pairs and best-of-N over 49 scenarios."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from training.evaluation.items import Group, Item
from training.evaluation.suites.rows import Row

GOALS: dict[str, Group] = {"Helpfulness": "subjective", "Harmlessness": "safety"}


def read(rows: Iterable[Row]) -> Iterator[Item]:
    """Pairs (``pair_uid, conversation_input, chosen, reject``) and best-of-N rows
    (``bon_uid, conversation_input, bon_best, loser_list``), told by their columns."""
    for row in rows:
        best_of = "bon_best" in row.values
        if best_of:
            row.expect("bon_uid", "conversation_input", "bon_best", "loser_list", "category_path")
            losers = row.values["loser_list"]
            if not isinstance(losers, list) or not losers:
                raise row.fail("loser_list is not a list of answers")
            answers = [row.values["bon_best"], *losers]
            number = row.values["bon_uid"]
        else:
            row.expect("pair_uid", "conversation_input", "chosen", "reject", "category_path")
            answers = [row.values["chosen"], row.values["reject"]]
            number = row.values["pair_uid"]
        goal = _goal(row)
        turns = row.values["conversation_input"]
        language = ""
        if isinstance(turns, list) and turns and isinstance(turns[-1], Mapping):
            language = str(turns[-1].get("language") or "")
        yield Item(
            suite="rmb",
            id=str(number),
            subset=f"{goal}, {'best-of-N' if best_of else 'pairs'}",
            group=GOALS[goal],
            kind="best" if best_of else "pair",
            messages=row.messages("conversation_input"),
            responses=tuple(_answer(row, answer) for answer in answers),
            worth=(1.0,) + (0.0,) * (len(answers) - 1),
            language=language,
        )


def _goal(row: Row) -> str:
    path = f"{row.values['category_path']}/{row.path}"
    for goal in GOALS:
        if goal.lower() in path.lower():
            return goal
    raise row.fail(
        f"category_path is {row.values['category_path']!r}, expected one under {' or '.join(GOALS)}"
    )


def _answer(row: Row, answer: Any) -> str:
    text = answer.get("answer") if isinstance(answer, Mapping) else None
    if not isinstance(text, str):
        raise row.fail("an answer is not an object with llm_name and answer")
    return text
