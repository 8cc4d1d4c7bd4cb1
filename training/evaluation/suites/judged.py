"""Suites whose answers were shown side by side: JudgeBench, LLMBar, EvalBiasBench, PandaLM."""

from collections.abc import Iterable, Iterator

from training.evaluation.items import Group, Item, conversation
from training.evaluation.suites.rows import Row

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

    The better response is always the first, so the order is no prior.
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
