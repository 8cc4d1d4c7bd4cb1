"""RMB (Zhou et al. 2024, arXiv 2410.09893): pairs and best-of-N over 49 scenarios."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from training.evaluation.figures import Node, Units, mean
from training.evaluation.items import Group, Item, Scores
from training.evaluation.scoring_rules import (
    best_leaf,
    by_subset,
    pair_leaf,
    take,
)
from training.evaluation.suites.rows import Row
from training.evaluation.suites.suite import Suite

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


def score(items: Sequence[Item], scores: Scores, units: Units, half: bool) -> list[Node]:
    """Pairs: the chosen one scores higher. Best-of-N: the winner beats every loser (arXiv
    2410.09893, section 4.1). Overall: the mean of those of the four parts that were given."""
    found: list[Node] = []
    for name, where in by_subset(items):
        taken = take(where, items, scores, units)
        leaf = best_leaf if name.endswith("best-of-N") else pair_leaf
        found.append(leaf(name, *taken, half))
    return [mean("overall", found, "mean of the parts"), *found]


RMB: Final = Suite(
    name="rmb",
    title="RMB",
    citation="arXiv 2410.09893",
    rule=score,
    read=read,
    columns="pair_uid, conversation_input, chosen, reject, category_path; or bon_uid, bon_best, "
    "loser_list",
    size="14,543 pairs and 3,786 best-of-N lists",
)
