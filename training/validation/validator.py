"""Validates a model while it trains, and what it has to beat on the same pairs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from training.config import TrainConfig, known, settled_layout
from training.data.collate import MicroBatch, micro_batches
from training.data.dataset import PairDataset, PairRows
from training.data.prompt_groups import ShuffleWindows, group_pairs, prompt_runs, shard_by_rank
from training.data.sampler import BatchSampler
from training.model.reward_model import LoadedModel
from training.parallel.distributed import DistributedContext
from training.validation.baselines import ValidationReport, report
from training.validation.length import response_length
from training.validation.metrics import ScoredPairs, join, scalars
from training.validation.score import score_pairs

WINDOW = 16
"""Row groups among which the validation prompts are drawn."""


class _StoppedError(Exception):
    """A validation that was told to stop."""


class Validator:
    """The same validation pairs, whole prompts, scored again and again.

    Args:
        location: the dataset; its `validation` split is read.
        loaded: the model that is being trained.
        config: `run.eval_pairs`, layout and size of the micro-batches.
        context: each process scores its part.
    """

    def __init__(
        self, location: str, loaded: LoadedModel, config: TrainConfig, context: DistributedContext
    ) -> None:
        self._loaded = loaded
        self._context = context
        tags = loaded.template.context == "site_tags"
        rows = validation_rows(location, config.run.eval_pairs, tags=tags)
        self._rows = rows
        if rows is None:
            return
        self._chosen_length = np.array(list(map(response_length, rows.chosen)), dtype=np.int64)
        self._rejected_length = np.array(list(map(response_length, rows.rejected)), dtype=np.int64)

        def make(runs: list[range]) -> list[MicroBatch]:
            return micro_batches(
                group_pairs(rows, runs, loaded.tokens).groups,
                settled_layout(config.model),
                tokens=known(config.model.micro_batch_tokens),
                pad_id=loaded.tokens.pad_id,
                sites={},
            )

        self._batches = make(shard_by_rank(rows, context.data_ranks)[context.data_rank])
        # Without gradients a pass needs little memory, but FSDP needs as many on each rank.
        count = int(context.max(len(self._batches)))
        missing = count - len(self._batches)
        self._spares: list[MicroBatch | None] = [None] * missing
        if config.run.parallel == "fsdp" and missing:
            self._spares = [*make(prompt_runs(rows)[:1])[:1] * missing]

    @property
    def tokens(self) -> int:
        """Tokens of this process's part."""
        return 0 if self._rows is None else sum(batch.tokens for batch in self._batches)

    def validate(
        self,
        stop: Callable[[], bool] = lambda: False,
        seen: Callable[[int, int], None] = lambda *_: None,
    ) -> ValidationReport | None:
        """Score the pairs; every rank must call. None without validation pairs.

        Args:
            stop: is asked before each micro-batch; None, too, once it says so on any rank.
            seen: is told after each micro-batch how many are done, and of how many.
        """
        if self._rows is None:
            return None
        model = self._loaded.model
        model.eval()
        try:
            mine = self._scored(stop, seen)
        except _StoppedError:
            return None
        finally:
            model.train()
        parts = self._context.gather_parts(mine)
        pairs = join(parts)
        return report(pairs) if len(pairs.weight) else None

    def _until(
        self, stop: Callable[[], bool], batches: Sequence[MicroBatch | None]
    ) -> Iterator[MicroBatch]:
        for batch in batches:
            if self._context.any(stop()):
                raise _StoppedError
            if batch is not None:
                yield batch

    def _scored(self, stop: Callable[[], bool], seen: Callable[[int, int], None]) -> ScoredPairs:
        rows = self._rows
        assert rows is not None
        batches = _told(self._until(stop, self._batches), len(self._batches), seen)
        found = score_pairs(self._loaded, batches, self._context.device)
        score_pairs(self._loaded, self._until(stop, self._spares), self._context.device)
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
            margin=rows.vote_margin[index],
            chosen_length=self._chosen_length[index],
            rejected_length=self._rejected_length[index],
            chosen_created_at=rows.chosen_created_at[index],
            rejected_created_at=rows.rejected_created_at[index],
        )


def _told(
    batches: Iterator[MicroBatch], count: int, seen: Callable[[int, int], None]
) -> Iterator[MicroBatch]:
    for done, batch in enumerate(batches, 1):
        yield batch
        seen(done, count)  # when the next one is asked for


def validation_rows(location: str, pairs: int, *, tags: bool = False) -> PairRows | None:
    """Rows of whole prompts, about ``pairs`` of them, the same ones each time; None for none.

    ``tags``: read those of the prompts, too.
    """
    dataset = PairDataset(location, "validation", tags=tags)
    if not dataset.rows or not pairs:
        return None
    sampler = BatchSampler(
        rows=dataset.rows, batch_rows=pairs, window=WINDOW, seed=0, max_rows=pairs
    )
    rows = ShuffleWindows(dataset).batch(sampler, 0)
    whole = [
        row for run in prompt_runs(rows) if len(run) == rows.prompt_pairs[run.start] for row in run
    ]
    return rows.take(whole) if whole else None


def as_numbers(found: ValidationReport | None) -> dict[str, Any]:
    """A validation as numbers for metrics.jsonl and TensorBoard; empty for None."""
    if found is None:
        return {}
    line: dict[str, Any] = dict(scalars(found.figures))
    line["validation_pairs"] = line.pop("pairs")
    line["accuracy_low"], line["accuracy_high"] = found.interval.low, found.interval.high
    line["baselines"] = {one.name: one.accuracy.value for one in found.baselines}
    whole = found.ceilings.get("all")
    line["noise_ceiling"] = None if whole is None else whole.accuracy
    if whole is not None:
        line["noise_ceiling_low"], line["noise_ceiling_high"] = whole.low, whole.high
    for name, one in found.ceilings.items():
        if name in ("chosen longer", "chosen shorter"):
            line[f"noise_ceiling_{name.replace(' ', '_')}"] = one.accuracy
        elif name.startswith(("margin ", "site ")):
            line[f"noise_ceiling/{name}"] = one.accuracy
    return line
