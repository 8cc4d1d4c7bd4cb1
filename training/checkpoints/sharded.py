"""Checkpoints to which every process writes its own part, as weights are divided over them.

``checkpoints/step-00001200/`` has the config, tokenizer and template of a transformers folder,
``trainer.json``, ``checksums.json``, and in ``shards/`` what ``training.model.shards`` reads.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from safetensors.torch import save_file
from torch import Tensor

from training.checkpoints.checkpoint import TrainerState, publish_checkpoint, write_trainer_state
from training.durable_files import partial_of
from training.heads.training_heads import HEADS_NAME
from training.model.checksums import FileChecksum, checksums_of, write_checksums
from training.model.reward_model import LoadedModel
from training.model.save import save_model_files
from training.model.shards import OPTIMIZER_PREFIX, SHARDS_NAME, WEIGHTS_PREFIX

Found = TypeVar("Found")

FILE_BYTES = 1 << 30
"""Of a process's file, about: each is in memory once more while it is written."""


class Processes(Protocol):
    """What is needed of the processes of a run (``DistributedContext``)."""

    @property
    def rank(self) -> int:
        """Number of this one."""

    @property
    def count(self) -> int:
        """Of all."""

    @property
    def save_group(self) -> Any:
        """Process group of the CPUs that the writing thread alone uses."""

    def gather(self, value: Any, *, group: Any = None) -> list[Any]:
        """Every process's value, in order."""


def copy_of_shards(
    weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """A copy of this process's parts in the CPU's memory, by the names in the files."""
    from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

    tensors = {WEIGHTS_PREFIX + name: value.detach() for name, value in weights.items()}
    tensors |= {OPTIMIZER_PREFIX + name: value.detach() for name, value in optimizer.items()}
    plain = StagingOptions(
        use_pinned_memory=False,
        use_shared_memory=False,
        use_async_staging=False,
        use_non_blocking_copy=False,
    )
    stager = DefaultStager(plain)
    try:
        staged: Any = stager.stage(tensors)
    finally:
        stager.close()
    return dict(staged)


def save_sharded_checkpoint(
    folder: Path,
    loaded: LoadedModel,
    tensors: dict[str, Tensor],
    state: TrainerState,
    processes: Processes,
    *,
    heads: dict[str, Tensor] | None = None,
    keep: int,
) -> Path:
    """Write ``folder/step-…``; it appears under its name when every process has written its part.

    Every process must call, in a thread that alone uses ``processes.save_group``. Raises OSError
    on all of them where one cannot write.

    Args:
        tensors: from :func:`copy_of_shards`.
        heads: the state of the heads beside the reward head, the same in every process.
        keep: older checkpoints than so many, but for the best one, are removed afterwards.
    """
    target = folder / f"step-{state.step:08d}"
    partial = partial_of(target)
    shards = partial / SHARDS_NAME
    first = processes.rank == 0

    def prepare() -> None:
        if first:
            shutil.rmtree(partial, ignore_errors=True)
            shards.mkdir(parents=True)
            save_model_files(partial, loaded)
            write_trainer_state(partial, state)
            if heads is not None:
                save_file(heads, partial / HEADS_NAME)

    def hashed() -> dict[str, FileChecksum]:
        mine = shards.glob(f"shard-{processes.rank + 1:05d}-*")  # as DCP names them
        return checksums_of(partial, sorted(mine))

    def publish() -> None:
        if first:
            known = {name: entry for part in sums for name, entry in part.items()}
            if missing := {path.name for path in shards.iterdir()} - {
                name.removeprefix(f"{SHARDS_NAME}/") for name in known
            }:
                raise OSError(f"{shards}: no process has written {min(missing)}")
            write_checksums(partial, known)
            publish_checkpoint(partial, target, keep=keep, best=state.best)

    together(prepare, processes, target)
    together(lambda: _write(shards, tensors, processes), processes, target)
    sums = together(hashed, processes, target)
    together(publish, processes, target)
    return target


def together(job: Callable[[], Found], processes: Processes, target: Path) -> list[Found]:
    """Do something on every process; what each found, in order.

    Raises OSError on all of them where one failed.
    """
    found: Found | None = None
    error: Exception | None = None
    try:
        found = job()
    except Exception as raised:
        error = raised
    told = f"{type(error).__name__}: {error}" if error is not None else None
    outcomes = processes.gather((found, told), group=processes.save_group)
    if isinstance(error, OSError):
        raise error
    for rank, (_, failed) in enumerate(outcomes):
        if failed is not None:
            raise OSError(f"{target} cannot be written by process {rank}: {failed}") from error
    return [part for part, _ in outcomes]


def _write(shards: Path, tensors: dict[str, Tensor], processes: Processes) -> None:
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    writer = HuggingFaceStorageWriter(
        str(shards), fqn_to_index_mapping=_files(tensors, processes.count), save_distributed=True
    )
    try:
        save(tensors, storage_writer=writer, process_group=processes.save_group)
    except CheckpointException as error:  # no Exception: it would pass by every handler
        why = "; ".join(f"process {rank}: {one[0]}" for rank, one in error.failures.items())
        raise OSError(why) from None


def _files(tensors: Mapping[str, Tensor], count: int) -> dict[str, int]:
    """Into which of its files each process writes a tensor, counted from 1; alike on all."""
    found: dict[str, int] = {}
    number, size = 1, 0
    for name, tensor in tensors.items():
        part = tensor.numel() * tensor.element_size() // count
        if size and size + part > FILE_BYTES:
            number, size = number + 1, 0
        found[name] = number
        size += part
    return found
