"""Shards compared with the manifest while training has begun already, each by one rank.

Hashing takes as long as reading everything once, which for many shards is longer than a rank should
wait for its first step. So each rank hashes its share in the background, and all of them wait for
the result before anything is saved.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from training.data.dataset import PairDataset
from training.errors import TrainingDatasetError


class ShardVerification:
    """Begins to verify this rank's share of the shards: every ``parts``-th from ``part`` on."""

    def __init__(self, dataset: PairDataset, part: int, parts: int) -> None:
        self._pool = ThreadPoolExecutor(1, "verification")
        self._found: Future[str | None] | None = self._pool.submit(_fault, dataset, part, parts)
        self._pool.shutdown(wait=False)

    def finish(self, gather: Callable[[str | None], list[str | None]]) -> None:
        """Wait for the shares of all ranks; every rank must call.

        Args:
            gather: gives every rank's value to every rank, in order.

        Raises TrainingDatasetError, the same on every rank, where a shard is not the manifest's.
        """
        if self._found is None:
            return
        faults = [fault for fault in gather(self._found.result()) if fault is not None]
        if faults:
            raise TrainingDatasetError(faults[0])
        self._found = None


def _fault(dataset: PairDataset, part: int, parts: int) -> str | None:
    try:
        dataset.verify(part, parts)
    except TrainingDatasetError as error:
        return str(error)
    except Exception as error:  # the other ranks wait for an answer, whatever went wrong
        return f"{dataset.location}: the shards cannot be verified: {type(error).__name__}: {error}"
    return None
