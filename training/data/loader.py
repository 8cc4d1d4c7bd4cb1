"""Makes the micro-batches of coming steps while the model computes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from training.config import DataConfig, TrainConfig, known, settled_layout
from training.data.collate import MicroBatch, micro_batches
from training.data.dataset import PairDataset
from training.data.divided_windows import DividedWindows
from training.data.exchange import RankExchange
from training.data.prompt_groups import GroupedBatch, ShuffleWindows, group_pairs, shard_by_rank
from training.data.sampler import BatchSampler
from training.data.selection import Selection
from training.data.tokenizer import PairTokenizer

AHEAD = 2
"""Steps that are made in advance."""


@dataclass(frozen=True)
class RankBatch:
    """One rank's part of the batch of a step."""

    step: int
    micro: list[MicroBatch]
    weight: float
    """Pair weight of this part, summed."""
    pairs: int
    tokens: int
    identical: int
    """See :class:`~training.data.prompt_groups.GroupedBatch` for these four."""
    unsure: int
    too_clear: int
    at_limit: int
    sequences: int
    """Distinct responses, each of which is encoded once."""


def selection_of(config: DataConfig) -> Selection:
    """What ``data.min_confidence`` and ``data.max_margin`` select."""
    return Selection(config.min_confidence, config.max_margin)


class DataLoader:
    """Makes the batches of one rank.

    Args:
        dataset, sampler: what is trained on, in which order.
        tokens: makes ids.
        config: layout, sizes and weights.
        sites: forums that the loss tells apart, if it does.
        lengths: whether the loss reads the responses' lengths.
        rank, ranks: number of this process, and of all.
        exchange: how the processes tell each other what each has read; None: each reads it all.
            With it, every rank must ask for the same steps in the same order.
    """

    def __init__(
        self,
        dataset: PairDataset,
        sampler: BatchSampler,
        tokens: PairTokenizer,
        config: TrainConfig,
        *,
        sites: Sequence[str] = (),
        lengths: bool = False,
        rank: int = 0,
        ranks: int = 1,
        exchange: RankExchange | None = None,
    ) -> None:
        self._dataset = dataset
        self._windows = ShuffleWindows(dataset)
        self._divided = None if exchange is None else DividedWindows(dataset, exchange)
        self._sampler = sampler
        self._tokens = tokens
        self._config = config
        self._layout = settled_layout(config.model)
        self._rank = rank
        self._ranks = ranks
        self._lengths = lengths
        self._sites = {site: number for number, site in enumerate(sites)}

    def grouped(self, step: int) -> GroupedBatch:
        """Tokenised prompts of this rank's part of a step, before they are laid out."""
        if self._divided is not None:
            rows, runs = self._divided.part(self._sampler, step)
        else:
            rows = self._windows.batch(self._sampler, step)
            runs = shard_by_rank(rows, self._ranks)[self._rank]
        return group_pairs(
            rows,
            runs,
            self._tokens,
            prompt_weights=self._config.data.prompt_weights,
            selection=selection_of(self._config.data),
            lengths=self._lengths,
        )

    def batch(self, step: int) -> RankBatch:
        """This rank's part of a step: a pure function of the step."""
        grouped = self.grouped(step)
        micro = micro_batches(
            grouped.groups,
            self._layout,
            tokens=known(self._config.model.micro_batch_tokens),
            pad_id=self._tokens.pad_id,
            sites=self._sites,
        )
        return RankBatch(
            step=step,
            micro=micro,
            weight=float(np.sum([pair.weight for group in grouped.groups for pair in group.pairs])),
            pairs=sum(len(group.pairs) for group in grouped.groups),
            tokens=sum(part.tokens for part in micro),
            identical=grouped.identical,
            unsure=grouped.unsure,
            too_clear=grouped.too_clear,
            at_limit=grouped.at_limit,
            sequences=sum(len(group.responses) for group in grouped.groups),
        )

    def any_micro_batch(self) -> MicroBatch:
        """A small micro-batch, for a rank that got no prompt in a step."""
        for step in range(self._sampler.steps):
            micro = (
                DataLoader(self._dataset, self._sampler, self._tokens, self._config)
                .batch(step)
                .micro
            )
            if micro:
                return min(micro, key=lambda part: part.input_ids.numel())
        raise ValueError("no step has a pair")

    def batches(self, first: int, after: int) -> Iterator[RankBatch]:
        """Batches of steps ``first`` to ``after`` − 1, made by a thread in advance."""
        thread = ThreadPoolExecutor(1, "data-loader")
        try:
            waiting: list[Future[RankBatch]] = []
            for step in range(first, after):
                waiting.append(thread.submit(self.batch, step))
                if len(waiting) > AHEAD:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            # Whoever stops early does not wait for batches that nobody wants; but where ranks make
            # them together, each has begun the same ones and none may be left waiting for another.
            together = self._divided is not None
            thread.shutdown(wait=together, cancel_futures=not together)
