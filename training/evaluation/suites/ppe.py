"""PPE, Preference Proxy Evaluations (Frick et al. 2024, arXiv 2410.14872)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from training.evaluation.figures import Leaf, Node, Units, mean
from training.evaluation.items import Item, Label, Scores
from training.evaluation.scoring_rules import (
    beats,
    by_subset,
    expected_best,
    pair_accuracy,
    pair_leaf,
    sizes,
    take,
)
from training.evaluation.suites.rows import Row
from training.evaluation.suites.suite import Suite
from training.validation.metrics import Floats

_RESPONSE = re.compile(r"response_(\d+)")
_SETS = ("MMLU-Pro", "MATH", "GPQA", "IFEval", "MBPP-Plus")


def read_human(rows: Iterable[Row]) -> Iterator[Item]:
    """Votes of Chatbot Arena: columns question_id, winner, prompt, response_1, response_2."""
    meaning = {
        "model_a": (1.0, 0.0),
        "model_b": (0.0, 1.0),
        "tie": (0.5, 0.5),
        "tie (bothbad)": (0.5, 0.5),
    }
    for row in rows:
        row.expect("question_id", "winner", "prompt", "response_1", "response_2")
        yield Item(
            suite="ppe-human",
            id=str(row.values["question_id"]),
            subset="all",
            group="subjective",
            kind="pair",
            messages=row.messages("prompt"),
            responses=(row.text("response_1"), row.text("response_2")),
            worth=row.choice("winner", meaning),
            order_is_free=True,
            language=str(row.get("language", "")),
        )


def read_best_of_k(rows: Iterable[Row]) -> Iterator[Item]:
    """Answers of one model and which are right: question_id, prompt, response_1…K, scores."""
    for row in rows:
        row.expect("question_id", "prompt", "scores", "response_1")
        names = sorted(
            (name for name in row.values if _RESPONSE.fullmatch(name)),
            key=lambda name: int(name.partition("_")[2]),
        )
        scores = row.values["scores"]
        if not isinstance(scores, list) or len(scores) != len(names):
            raise row.fail(f"scores is not a list of {len(names)}, one per response")
        if not all(isinstance(score, bool | int | float) for score in scores):
            raise row.fail("scores holds something else than true, false and numbers")
        model = str(row.get("model_name", ""))
        yield Item(
            suite="ppe-correctness",
            id=f"{row.values['question_id']} {model}".strip(),
            subset=str(row.get("benchmark", _set_of(row.path))),
            group="objective",
            kind="samples",
            messages=row.messages("prompt"),
            responses=tuple(row.text(name) for name in names),
            worth=tuple(map(float, scores)),
            labels=_pairs(row, scores),
        )


def _pairs(row: Row, scores: list[float]) -> tuple[Label, ...]:
    """The published pairs of a right and a wrong answer; else all, each question weighing 1."""
    sampled = row.get("sampled_conflict_pairs")
    if sampled is None:
        every = [
            (better, worse)
            for better, high in enumerate(scores)
            for worse, low in enumerate(scores)
            if high > low
        ]
        return tuple(Label(better, worse, 1 / len(every)) for better, worse in every)
    found = []
    for pair in sampled:
        places = range(len(scores))
        if not isinstance(pair, list) or len(pair) != 2 or any(i not in places for i in pair):
            raise row.fail(f"sampled_conflict_pairs holds {pair}, expected two of {len(scores)}")
        first, second = pair
        if scores[first] != scores[second]:
            better, worse = pair if scores[first] > scores[second] else (second, first)
            found.append(Label(better, worse))
    return tuple(found)


def _set_of(path: Path) -> str:
    """The set by the name of its dataset in the path, or else by file or folder."""
    parts = [part.lower().replace("_", "-") for part in reversed(path.parts)]
    for part in parts:
        for name in _SETS:
            if f"ppe-{name.lower()}-best" in part:
                return name
    near = " ".join(parts[:2])
    return next((name for name in _SETS if name.lower() in near), "all")


def score_best_of_k(items: Sequence[Item], scores: Scores, units: Units, half: bool) -> list[Node]:
    """PPE correctness (arXiv 2410.14872, section 5), by set of questions.

    accuracy: share of the published pairs of a right and a wrong answer in the right order (all
    such pairs, each question weighing the same, where none are published), mean over sets. area
    under ROC: over all right and wrong answers of a question, mean over the questions that have
    both. best of K: worth of the answer of the highest score; ``best of k`` the same expected over
    the subsets of k answers.
    """
    parts = [
        pair_leaf(name, *take(where, items, scores, units), half)
        for name, where in by_subset(items)
    ]
    parts = [leaf for leaf in parts if len(leaf.correct)]
    about = "share of published pairs of a right and a wrong answer"
    found: list[Node] = [
        mean("accuracy", parts, f"{about}, mean over sets")
        if len(parts) > 1
        else pair_leaf("accuracy", items, scores, units, half, about)
    ]
    mixed = [place for place, item in enumerate(items) if len(set(item.worth)) > 1]
    area = np.array([_area(np.array(items[i].worth), scores[i], half) for i in mixed])
    about = "all right above all wrong answers of a question, mean over questions"
    found.append(Leaf("area under ROC", area, np.ones(len(area)), units[mixed], about))
    largest = min(len(item.responses) for item in items)
    for k in sizes(largest):
        gained = np.array(
            [
                expected_best(np.array(item.worth), given)[k - 1]
                for item, given in zip(items, scores, strict=True)
            ]
        )
        found.append(Leaf(f"best of {k}", gained, np.ones(len(gained)), units))
    return [*found, *(parts if len(parts) > 1 else ())]


def _area(worth: Floats, scores: Floats, half: bool) -> float:
    high, low = np.nonzero(worth[:, None] > worth[None, :])
    return float(beats(scores[high], scores[low], half=half).mean())


HUMAN: Final = Suite(
    name="ppe-human",
    title="PPE human preference",
    citation="arXiv 2410.14872",
    rule=pair_accuracy,
    read=read_human,
    columns="question_id, winner, prompt, response_1, response_2",
    size="16,038 votes",
    hub="lmarena-ai/PPE-Human-Preference-V1",
)


CORRECTNESS: Final = Suite(
    name="ppe-correctness",
    title="PPE best-of-K",
    citation="arXiv 2410.14872",
    rule=score_best_of_k,
    read=read_best_of_k,
    columns="question_id, prompt, scores[K], response_1 … response_K",
    size="5 sets of K = 32 answers a question",
    hub="lmarena-ai/PPE-GPQA-Best-of-K",
)
