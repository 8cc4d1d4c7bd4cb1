"""Suites whose answers were shown side by side: JudgeBench, LLMBar, EvalBiasBench, PandaLM."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from training.evaluation.figures import Node, Units, mean
from training.evaluation.items import Group, Item, Scores, conversation
from training.evaluation.scoring_rules import (
    pair_accuracy,
    pair_leaf,
    take,
)
from training.evaluation.suites.rows import Row
from training.evaluation.suites.suite import Suite

LLMBAR_ADVERSARIAL = ("Neighbor", "GPTInst", "GPTOut", "Manual")
LLMBAR_SUBSETS: dict[str, Group] = {
    "Natural": "subjective",
    **dict.fromkeys(LLMBAR_ADVERSARIAL, "adversarial"),
    "MT-Bench": "subjective",
    "FairEval": "subjective",
    "LLMEval^2": "subjective",
}
JUDGEBENCH_PARTS = {
    "mmlu-pro": "Knowledge",
    "livebench-reasoning": "Reasoning",
    "livebench-math": "Math",
    "livecodebench": "Coding",
}
FIRST, SECOND = (1.0, 0.0), (0.0, 1.0)


def read_judge_bench(rows: Iterable[Row]) -> Iterator[Item]:
    """JudgeBench (Tan et al. 2024, arXiv 2410.12784): one answer is right, the other is not."""
    for row in rows:
        row.expect("pair_id", "source", "question", "response_A", "response_B", "label")
        source = row.text("source")
        part = next(
            (name for key, name in JUDGEBENCH_PARTS.items() if source.startswith(key)), None
        )
        if part is None:
            raise row.fail(f"source is {source!r}, expected {' or '.join(JUDGEBENCH_PARTS)}")
        yield Item(
            suite="judgebench",
            id=row.text("pair_id"),
            subset=part,
            group="objective",
            kind="pair",
            messages=conversation(row.text("question")),
            responses=(row.text("response_A"), row.text("response_B")),
            worth=row.choice("label", {"A>B": FIRST, "B>A": SECOND}),
            order_is_free=True,
            written_by=str(row.get("response_model", "")),
        )


def read_llmbar(rows: Iterable[Row]) -> Iterator[Item]:
    """LLMBar (Zeng et al. 2023, arXiv 2310.07641); the subset is the folder of dataset.json."""
    for row in rows:
        row.expect("input", "output_1", "output_2", "label")
        subset = row.path.parent.name if row.path.stem == "dataset" else row.path.stem
        if subset not in LLMBAR_SUBSETS:
            raise row.fail(
                f"no known subset {subset!r}; expected a folder {' or '.join(LLMBAR_SUBSETS)} "
                "around dataset.json"
            )
        yield Item(
            suite="llmbar",
            id=f"{subset}/{row.place}",
            subset=subset,
            group=LLMBAR_SUBSETS[subset],
            kind="pair",
            messages=conversation(row.text("input")),
            responses=(row.text("output_1"), row.text("output_2")),
            worth=row.choice("label", {"1": FIRST, "2": SECOND}),
            order_is_free=True,
        )


def read_eval_bias(rows: Iterable[Row]) -> Iterator[Item]:
    """EvalBiasBench (Park et al. 2024, arXiv 2407.06551): an object of lists by bias.

    The better response is always the first, so the order is not a baseline.
    """
    for row in rows:
        row.expect("instruction", "response1", "response2", "label")
        bias = str(row.get("bias", row.get("_key", "all")))
        yield Item(
            suite="evalbiasbench",
            id=f"{bias}/{row.place}",
            subset=bias,
            group="adversarial",
            kind="pair",
            messages=conversation(row.text("instruction")),
            responses=(row.text("response1"), row.text("response2")),
            worth=row.choice("label", {"1": FIRST, "2": SECOND}),
        )


def read_panda_lm(rows: Iterable[Row]) -> Iterator[Item]:
    """PandaLM's test set (Wang et al. 2023, arXiv 2306.05087): three people label each pair.

    The label is their majority. Where it is a tie, or all three differ, the pair has no
    preference; it still counts for the agreement among the people. Instructions without an input
    have NaN there.
    """
    votes = {"0": 0, "1": 1, "2": -1}
    for row in rows:
        row.expect("instruction", "input", "response1", "response2")
        more = row.get("input")
        more = "" if more is None or more != more else row.text("input")
        people = tuple(row.choice(f"annotator{number}", votes) for number in (1, 2, 3))
        side = next((vote for vote in (1, -1) if people.count(vote) >= 2), 0)
        instruction = row.text("instruction")
        yield Item(
            suite="pandalm",
            id=str(row.get("idx", row.place)),
            subset="all",
            group="subjective",
            kind="pair",
            messages=conversation(f"{instruction}\n\n{more}" if more else instruction),
            responses=(row.text("response1"), row.text("response2")),
            worth={1: FIRST, -1: SECOND, 0: (0.5, 0.5)}[side],
            order_is_free=True,
            annotators=people,
        )


def score_llmbar(items: Sequence[Item], scores: Scores, units: Units, half: bool) -> list[Node]:
    """By subset, with the mean of the four adversarial ones (arXiv 2310.07641, table 3)."""
    found = pair_accuracy(items, scores, units, half)
    adversarial = [leaf for leaf in found if leaf.name in LLMBAR_ADVERSARIAL]
    if adversarial:
        found.insert(
            1, mean("adversarial", adversarial, f"mean of {len(adversarial)} adversarial subsets")
        )
    return found


def score_judge_bench(
    items: Sequence[Item], scores: Scores, units: Units, half: bool
) -> list[Node]:
    """Accuracy by the model that wrote the answers, as published: GPT-4o's are the headline."""
    writers: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        writers.setdefault(item.written_by, []).append(place)
    if len(writers) < 2:
        return pair_accuracy(items, scores, units, half)
    order = sorted(writers, key=lambda name: (not name.startswith("gpt-4o"), name))
    about = "published for each model that wrote the answers"
    return [
        *(
            pair_leaf(f"answers of {name}", *take(writers[name], items, scores, units), half, about)
            for name in order
        ),
        *pair_accuracy(items, scores, units, half),
    ]


JUDGE_BENCH: Final = Suite(
    name="judgebench",
    title="JudgeBench",
    citation="arXiv 2410.12784",
    rule=score_judge_bench,
    read=read_judge_bench,
    columns="pair_id, source, question, response_A, response_B, label",
    size="620 pairs (350 GPT-4o, 270 Claude 3.5)",
    hub="ScalerLab/JudgeBench",
)


LLMBAR: Final = Suite(
    name="llmbar",
    title="LLMBar",
    citation="arXiv 2310.07641",
    rule=score_llmbar,
    read=read_llmbar,
    columns="input, output_1, output_2, label; the subset is the folder",
    size="419 pairs, and 466 of other sets in its form",
    local_files=("dataset.json",),
)


EVAL_BIAS: Final = Suite(
    name="evalbiasbench",
    title="EvalBiasBench",
    citation="arXiv 2407.06551",
    rule=pair_accuracy,
    read=read_eval_bias,
    columns="an object of lists by bias: instruction, response1, response2, label",
    size="80 pairs in 6 biases",
    local_files=("biasbench.json",),
)


PANDA_LM: Final = Suite(
    name="pandalm",
    title="PandaLM",
    citation="arXiv 2306.05087",
    rule=pair_accuracy,
    read=read_panda_lm,
    columns="idx, instruction, input, response1, response2, annotator1 … annotator3",
    size="999 pairs with three labels each",
    local_files=("testset-v1.json",),
)
