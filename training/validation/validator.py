"""Looks at validation pairs while a model trains, and at what it has to beat on them."""

from typing import Any

import numpy as np

from training.config import TrainConfig
from training.data.collate import MicroBatch, micro_batches
from training.data.dataset import PairDataset, PairRows
from training.data.prompt_groups import Windows, deal, group_pairs, prompt_runs
from training.data.sampler import Plan
from training.distributed import Ranks
from training.model.reward_model import Loaded
from training.validation.baselines import Report, report
from training.validation.metrics import ScoredPairs, join, scalars
from training.validation.score import score_pairs

WINDOW = 16
"""Row groups among which the validation prompts are drawn."""


class Watch:
    """The same validation pairs, whole prompts, scored again and again.

    Args:
        location: the dataset; its `validation` split is read.
        loaded: the model that is being trained.
        config: `run.eval_pairs`, layout and size of the micro-batches.
        ranks: each scores its share.
    """

    def __init__(self, location: str, loaded: Loaded, config: TrainConfig, ranks: Ranks) -> None:
        self._loaded = loaded
        self._ranks = ranks
        rows = validation_rows(location, config.run.eval_pairs)
        self._rows = rows
        if rows is None:
            return

        def make(runs: list[range]) -> list[MicroBatch]:
            return micro_batches(
                group_pairs(rows, runs, loaded.tokens).groups,
                config.model.layout,
                tokens=config.model.micro_batch_tokens,
                pad_id=loaded.tokens.pad_id,
                sites={},
            )

        self._batches = make(deal(rows, ranks.count)[ranks.rank])
        # Without gradients a pass needs little memory, but FSDP needs as many on each rank.
        count = int(ranks.largest(len(self._batches)))
        self._spares = []
        if config.run.parallel == "fsdp" and len(self._batches) < count:
            self._spares = make(prompt_runs(rows)[:1])[:1] * (count - len(self._batches))

    def look(self) -> Report | None:
        """Score the pairs; every rank must call. None without validation pairs."""
        if self._rows is None:
            return None
        model = self._loaded.model
        model.eval()
        mine = self._scored()
        model.train()
        parts = self._ranks.gather(mine)
        pairs = join(parts)
        return report(pairs) if len(pairs.weight) else None

    def _scored(self) -> ScoredPairs:
        rows = self._rows
        assert rows is not None
        found = score_pairs(self._loaded, self._batches, self._ranks.device)
        score_pairs(self._loaded, self._spares, self._ranks.device)
        index = found["row"].astype(np.int64)
        weight = 1.0 / rows.prompt_pairs[index]
        prompt = np.zeros(len(rows), dtype=np.int64)
        for number, run in enumerate(prompt_runs(rows)):
            prompt[run.start : run.stop] = number
        return ScoredPairs(
            prompt=prompt[index],
            site=np.array([rows.site[row] for row in index], dtype=str),
            chosen=found["chosen"],
            rejected=found["rejected"],
            weight=weight,
            confidence=rows.confidence[index],
            margin=rows.margin[index],
            chosen_length=found["chosen_length"].astype(np.int64),
            rejected_length=found["rejected_length"].astype(np.int64),
            chosen_created_at=rows.chosen_created_at[index],
            rejected_created_at=rows.rejected_created_at[index],
        )


def validation_rows(location: str, pairs: int) -> PairRows | None:
    """Rows of whole prompts, about ``pairs`` of them, the same ones each time; None for none."""
    dataset = PairDataset(location, "validation")
    if not dataset.rows or not pairs:
        return None
    plan = Plan(rows=dataset.rows, batch_rows=pairs, window=WINDOW, seed=0, max_rows=pairs)
    rows = Windows(dataset).batch(plan, 0)
    whole = [
        row for run in prompt_runs(rows) if len(run) == rows.prompt_pairs[run.start] for row in run
    ]
    return rows.take(whole) if whole else None


def as_line(found: Report | None) -> dict[str, Any]:
    """A validation as numbers for metrics.jsonl and TensorBoard; empty for None."""
    if found is None:
        return {}
    line: dict[str, Any] = dict(scalars(found.figures))
    line["validation_pairs"] = line.pop("pairs")
    line["accuracy_low"], line["accuracy_high"] = found.interval.low, found.interval.high
    line["baselines"] = {one.name: one.accuracy.value for one in found.baselines}
    return line
