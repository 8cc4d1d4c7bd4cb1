"""Shards compared with the manifest while training has begun already, each by one rank.

Hashing takes as long as reading everything once, which for many shards is longer than a rank should
wait for its first step. So each rank hashes its share in the background, in the order in which
training reads the shards, and before anything is saved all of them wait for those that it was
trained on.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from training.data.dataset import PairDataset
from training.errors import TrainingDatasetError

THREADS = 4
"""Shards that a rank hashes at a time."""


class ShardVerification:
    """Begins to verify this rank's share of the shards: every ``parts``-th from ``part`` on.

    Args:
        order: numbers of the shards, those first that are needed first; None: as they are.
    """

    def __init__(
        self, dataset: PairDataset, part: int, parts: int, order: Sequence[int] | None = None
    ) -> None:
        order = range(len(dataset.shards)) if order is None else order
        self._pool = ThreadPoolExecutor(THREADS, "verification")
        self._found: dict[int, Future[str | None]] = {
            number: self._pool.submit(_fault, dataset, number) for number in order[part::parts]
        }
        self._pool.shutdown(wait=False)
        self._is_done = False

    def finish(
        self,
        gather: Callable[[str | None], list[str | None]],
        shards: Collection[int] | None = None,
    ) -> None:
        """Wait for the shares of all ranks; every rank must call.

        Args:
            gather: gives every rank's value to every rank, in order.
            shards: those that are waited for; None: all.

        Raises TrainingDatasetError, the same on every rank, where a shard is not the manifest's.
        """
        if self._is_done:
            return
        mine = (
            future for number, future in self._found.items() if shards is None or number in shards
        )
        own = next(filter(None, (future.result() for future in mine)), None)
        faults = [fault for fault in gather(own) if fault is not None]
        if faults:
            raise TrainingDatasetError(faults[0])
        self._is_done = shards is None

    def stop(self) -> None:
        """Hash no more shards than those that are being hashed, for which the process waits."""
        for future in self._found.values():
            future.cancel()


def _fault(dataset: PairDataset, number: int) -> str | None:
    try:
        dataset.verify_shard(number)
    except TrainingDatasetError as error:
        return str(error)
    except Exception as error:  # the other ranks wait for an answer, whatever went wrong
        return f"{dataset.location}: the shards cannot be verified: {type(error).__name__}: {error}"
    return None
