"""Bytes from every rank to every rank, for the thread that makes batches ahead of the step."""

from datetime import timedelta

import torch
import torch.distributed as dist

from training.errors import TrainingDatasetError

_CONTENT, _FAULT = 0, 1


class RankExchange:
    """A process group of its own, so that the loader's thread does not meet the step's collectives.

    It is gloo: what is exchanged lies in main memory, also beside GPUs. Every rank of the run must
    make one, at the same place, and use it in the same order.

    Args:
        rank, ranks: number of this part of each batch, and of all.
        copies: ranks that make the same part and exchange among themselves nothing: process
            rank · copies + c talks to the others with the same c.
        timeout: how long a rank waits for the others, which may be saving; None: torch's own.
    """

    def __init__(
        self, rank: int, ranks: int, *, copies: int = 1, timeout: timedelta | None = None
    ) -> None:
        self.rank = rank
        self.ranks = ranks
        for copy in range(copies):
            members = list(range(copy, ranks * copies, copies))
            group = dist.new_group(members, backend="gloo", timeout=timeout)
            if dist.get_rank() in members:
                self._group = group

    def all_to_all(self, payloads: list[bytes]) -> list[bytes]:
        """Send a payload to each rank and return what each sent to this one, in order.

        Raises TrainingDatasetError where a rank called :meth:`fail` instead, on every rank.
        """
        return self._exchange(payloads, _CONTENT)

    def fail(self, message: str) -> None:
        """Tell every rank that this one cannot go on; raises TrainingDatasetError, as there."""
        self._exchange([message.encode("utf-8", "replace")] * self.ranks, _FAULT)

    def _exchange(self, payloads: list[bytes], kind: int) -> list[bytes]:
        sent = torch.tensor([[len(payload), kind] for payload in payloads], dtype=torch.int64)
        told = torch.empty_like(sent)
        dist.all_to_all_single(told, sent, group=self._group)
        sizes = told[:, 0].tolist()
        received = torch.empty(sum(sizes), dtype=torch.uint8)
        dist.all_to_all_single(
            received,
            torch.frombuffer(bytearray(b"".join(payloads)), dtype=torch.uint8)
            if any(payloads)
            else torch.empty(0, dtype=torch.uint8),
            sizes,
            [len(payload) for payload in payloads],
            group=self._group,
        )
        whole = received.numpy().tobytes()
        ends = [sum(sizes[: number + 1]) for number in range(self.ranks)]
        found = [whole[end - size : end] for end, size in zip(ends, sizes, strict=True)]
        for content, told_kind in zip(found, told[:, 1].tolist(), strict=True):
            if told_kind == _FAULT:
                raise TrainingDatasetError(content.decode())
        return found
