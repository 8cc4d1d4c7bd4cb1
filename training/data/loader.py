"""Makes the micro-batches of coming steps while the model computes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from training.config import TrainConfig
from training.data.collate import MicroBatch, micro_batches
from training.data.dataset import PairDataset
from training.data.prompt_groups import GroupedBatch, Windows, deal, group_pairs
from training.data.sampler import Plan
from training.data.tokenizer import PairTokenizer

AHEAD = 2
"""Steps that are made in advance."""


@dataclass(frozen=True)
class Share:
    """One rank's part of a step."""

    step: int
    micro: list[MicroBatch]
    weight: float
    """Pair weight of this part."""
    pairs: int
    tokens: int
    identical: int
    unsure: int
    at_limit: int
    sequences: int


class Feed:
    """Shares of steps for one rank.

    Args:
        dataset, plan: what is trained on, in which order.
        tokens: makes ids.
        config: layout, sizes and weights.
        sites: forums that the loss tells apart, if it does.
        rank, ranks: this process among all.
    """

    def __init__(
        self,
        dataset: PairDataset,
        plan: Plan,
        tokens: PairTokenizer,
        config: TrainConfig,
        *,
        sites: Sequence[str] = (),
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self._dataset = dataset
        self._windows = Windows(dataset)
        self._plan = plan
        self._tokens = tokens
        self._config = config
        self._rank = rank
        self._ranks = ranks
        self._sites = {site: number for number, site in enumerate(sites)}

    def groups(self, step: int) -> GroupedBatch:
        """Tokenised prompts of this rank's part of a step, before they are laid out."""
        rows = self._windows.batch(self._plan, step)
        return group_pairs(
            rows,
            deal(rows, self._ranks)[self._rank],
            self._tokens,
            prompt_weights=self._config.data.prompt_weights,
            min_confidence=self._config.data.min_confidence,
        )

    def share(self, step: int) -> Share:
        """This rank's part of a step: a pure function of the step."""
        batch = self.groups(step)
        micro = micro_batches(
            batch.groups,
            self._config.model.layout,
            tokens=self._config.model.micro_batch_tokens,
            pad_id=self._tokens.pad_id,
            sites=self._sites,
        )
        return Share(
            step=step,
            micro=micro,
            weight=float(np.sum([pair.weight for group in batch.groups for pair in group.pairs])),
            pairs=sum(len(group.pairs) for group in batch.groups),
            tokens=sum(part.tokens for part in micro),
            identical=batch.identical,
            unsure=batch.unsure,
            at_limit=batch.at_limit,
            sequences=sum(len(group.responses) for group in batch.groups),
        )

    def any_micro_batch(self) -> MicroBatch:
        """A small micro-batch, for a rank that got no prompt in a step."""
        for step in range(self._plan.steps):
            micro = Feed(self._dataset, self._plan, self._tokens, self._config).share(step).micro
            if micro:
                return min(micro, key=lambda part: part.input_ids.numel())
        raise ValueError("no step has a pair")

    def shares(self, first: int, after: int) -> Iterator[Share]:
        """Shares of steps ``first`` to ``after`` − 1, made by a thread in advance."""
        thread = ThreadPoolExecutor(1, "feed")
        try:
            waiting: list[Future[Share]] = []
            for step in range(first, after):
                waiting.append(thread.submit(self.share, step))
                if len(waiting) > AHEAD:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:  # whoever stops early does not wait for shares that nobody wants
            thread.shutdown(wait=False, cancel_futures=True)
