"""How long a job takes on N cores, computed from runs on few of them (benchmarks/cores.py).

Stages run one after the other. A stage is a number of units that cannot be divided: a range of a
table, a partition, a shard. The runner puts units into bundles and gives each worker the next
bundle when it is free, which is done here with the units' own sizes. What the parent does is added
whole, as if no worker worked meanwhile; so is what each worker pays anew for each stage.
"""

import heapq
import math
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy.optimize import nnls

from benchmarks._stages import END, START, JobTimes, StageTimes
from pipeline.curate.run import default_partitions
from pipeline.runners.disk_buffers import PIECES_PER_WORKER
from transforms.readers.stackexchange.reader import JOIN_BYTES, MIN_JOIN_PARTITIONS

SHARD_POSTS = 400_000
"""Of generated posts, whose pairs fill one shard (docs/design.md, "Memory of a local run")."""
SCAN_PER_GB_S = 5.0
"""Processor seconds to look for the few rows of PostHistory that say why a question was closed: 190
to 206 MB a second of beer.stackexchange.com's, thirty times over (`read_rows`, one process)."""
READING = "Spread ranges"
"""Part of the name of the stage that reads tables; archives are unpacked before it or in it."""


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """A job to compute the time of."""

    posts: int
    bytes: int
    """Of XML."""
    workers: int
    scanned: int = 0
    """Of these bytes, those of PostHistory beyond what generated dumps have: rows that are read
    over and give nothing."""
    partitions: int = 0
    """0: as many as the job chooses."""
    largest_table: int = 0
    """Bytes of XML; 0: as many as there are."""
    largest_archive: int = 0
    """Bytes of XML in the largest of several archives; 0: all tables are in one."""

    @property
    def scan_s(self) -> float:
        """Processor seconds to read over what gives nothing."""
        return self.scanned / 1e9 * SCAN_PER_GB_S

    @property
    def thread_partitions(self) -> int:
        return self.partitions or default_partitions(self.bytes)

    @property
    def blocks(self) -> int:
        """Blocks of the shuffle that has most: each partition makes one for each partition.

        They are larger than what goes through the parent by itself, so it sees references.
        """
        return self.thread_partitions**2


class MeasuredRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the job and what it was."""

    size: Size
    job: JobTimes
    archive: bool = False
    """Whether the input was a 7z archive, as Stack Exchange publishes it."""
    units: bool = False
    """Whether every unit was a bundle (benchmarks/_stages.py)."""


class StageModel(msgspec.Struct, frozen=True, kw_only=True):
    """Slopes of one stage, in processor seconds of the workers."""

    name: str
    per_post_s: float
    per_worker_s: float
    per_block_s: float
    kind: str
    """How many units there are: ``single``, ``ranges``, ``partitions``, ``joins``, ``shards``, or
    ``fine``: so many that it does not matter."""
    shares: tuple[float, ...]
    """Of the units that were measured, in the whole stage; largest first."""
    full_s: float
    """Largest unit of a kind that is cut by size; 0: not cut by size."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """All slopes of the job."""

    stages: tuple[StageModel, ...]
    parent_s: float
    """Of the parent, whatever the job."""
    parent_per_post_s: float
    parent_per_worker_s: float
    parent_per_block_s: float
    start_worker_s: float
    """From the start of a worker process to its first bundle."""
    one_process_s: float
    """Start and end of a job in one process."""
    one_process_per_post_s: float
    """Hashing included."""
    hash_per_gb_s: float
    """For each GB of XML in a folder; a table is hashed by one thread."""
    unpack_serial_per_gb_s: float
    """For each GB of XML in an archive, of the thread that reads it and orders its blocks."""
    unpack_divided_per_gb_s: float
    """... and of all that decode and write them."""
    bytes_per_post: float


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds of a job on N cores."""

    start_s: float
    inputs_s: float
    """Unpacking of archives, or hashing of a folder's tables."""
    parent_s: float
    stages_s: dict[str, float]
    """What the busiest worker of each stage takes."""

    @property
    def total_s(self) -> float:
        return self.start_s + self.inputs_s + self.parent_s + sum(self.stages_s.values())


def fit(runs: Sequence[MeasuredRun]) -> Model:
    """Fit the slopes to runs with several workers, one in one process and one cut into its units.

    By least squares of relative errors, none of the slopes negative.
    """
    several = [run for run in runs if run.size.workers > 1 and not run.archive]
    (cut,) = (run for run in runs if run.units)
    (one,) = (run for run in runs if run.size.workers == 1 and not run.units)
    sizes = [run.size for run in several]
    parent = _slopes(
        [[1, size.posts, size.workers, size.blocks] for size in sizes],
        [run.job.parent_s for run in several],
    )
    start = [sum(_named(run.job, START).workers_s) / run.size.workers for run in several]
    ends = sum(_named(one.job, name).parent_s for name in (START, END))
    unpack = _unpacking(runs)
    return Model(
        stages=tuple(
            _fit_stage(stage, cut.size, several)
            for stage in cut.job.stages
            if stage.name not in (START, END)
        ),
        parent_s=parent[0],
        parent_per_post_s=parent[1],
        parent_per_worker_s=parent[2],
        parent_per_block_s=parent[3],
        start_worker_s=float(np.median(start)),
        one_process_s=ends,
        one_process_per_post_s=(one.job.cpu_s - ends) / one.size.posts,
        hash_per_gb_s=_hashing(runs),
        unpack_serial_per_gb_s=unpack[0],
        unpack_divided_per_gb_s=unpack[1],
        bytes_per_post=one.size.bytes / one.size.posts,
    )


def _slopes(features: Sequence[Sequence[float]], measured: Sequence[float]) -> list[float]:
    seconds = np.maximum(np.asarray(measured, float), 0.01)  # the clock's step
    matrix = np.asarray(features, float)
    scale = np.maximum(matrix.max(axis=0), 1)
    found, _ = nnls(matrix / scale / seconds[:, None], np.ones(len(seconds)))
    return [float(value) for value in found / scale]


def _named(job: JobTimes, name: str) -> StageTimes:
    return next((s for s in job.stages if s.name == name), StageTimes(name=name, parent_s=0.0))


def _fit_stage(cut: StageTimes, size: Size, runs: Sequence[MeasuredRun]) -> StageModel:
    sizes = [run.size for run in runs]
    slopes = _slopes(
        [[one.posts, one.workers, one.blocks] for one in sizes],
        [sum(_named(run.job, cut.name).workers_s) for run in runs],
    )
    whole = sum(cut.units_s) or 1.0
    shares = tuple(unit / whole for unit in cut.units_s) or (1.0,)
    kind = _kind(cut.name, len(shares), size)
    # A unit that is cut by size is as large as the largest that was seen; a shard was not full yet.
    full = {
        "ranges": shares[0] * slopes[0] * size.posts,
        "shards": shares[0] * slopes[0] * max(size.posts, SHARD_POSTS),
    }
    return StageModel(
        name=cut.name,
        per_post_s=slopes[0],
        per_worker_s=slopes[1],
        per_block_s=slopes[2],
        kind=kind,
        shares=shares,
        full_s=full.get(kind, 0.0),
    )


def _kind(name: str, units: int, size: Size) -> str:
    head = name.lstrip("(").partition(")+")[0].partition("+")[0].casefold()
    if units == 1:
        return "single"
    if READING.casefold() in head:
        return "ranges"
    if "join partition" in head:
        return "joins"
    if "shard" in head:
        return "shards"
    return "partitions" if units == size.thread_partitions else "fine"


def _threads(job: JobTimes, kind: str) -> float:
    """Seconds of all threads of a kind."""
    return sum(sum(stage.threads_s.get(kind, ())) for stage in job.stages)


def _hashing(runs: Sequence[MeasuredRun]) -> float:
    """Return seconds a GB of XML of all runs from folders."""
    plain = [run for run in runs if not run.archive]
    gigabytes = sum(run.size.bytes for run in plain) / 1e9
    # Whichever threads did it: there is nothing else for them in a folder.
    kinds = ("hashing", "unpack", "decode", "write")
    return sum(_threads(run.job, kind) for run in plain for kind in kinds) / gigabytes


def _unpacking(runs: Sequence[MeasuredRun]) -> tuple[float, float]:
    """Return seconds a GB of one archive: of its own thread and parent, and of decoders.

    What the workers do more than in the same run from a folder counts, too. The parent waits for
    the threads; in a state that has none for archives, it does all of it.
    """
    packed = next((run for run in runs if run.archive), None)
    if packed is None:
        return 0.0, 0.0
    plain = next(run for run in runs if run.size == packed.size and not run.archive)
    reading = [stage.name for stage in plain.job.stages if READING in stage.name]
    parent = workers = 0.0
    for name in (START, *reading):
        with_it, without = _named(packed.job, name), _named(plain.job, name)
        parent += with_it.parent_s - without.parent_s
        workers += sum(with_it.workers_s) - sum(without.workers_s)
    serial = _threads(packed.job, "unpack") or max(parent, 0.0)
    divided = sum(_threads(packed.job, kind) for kind in ("decode", "write"))
    divided += max(workers, 0.0)
    gigabytes = packed.size.bytes / 1e9
    return serial / gigabytes, divided / gigabytes


def estimate(model: Model, size: Size, *, archive: bool = False) -> Estimate:
    """Compute the time of a job with as many cores as workers."""
    gigabytes = size.bytes / 1e9
    if archive:
        inputs_s = (size.largest_archive or size.bytes) / 1e9 * model.unpack_serial_per_gb_s
        inputs_s += gigabytes * model.unpack_divided_per_gb_s / size.workers
    else:
        largest = (size.largest_table or size.bytes) / 1e9
        inputs_s = model.hash_per_gb_s * max(largest, gigabytes / size.workers)
    return Estimate(
        start_s=model.parent_s + model.start_worker_s,
        inputs_s=inputs_s,
        parent_s=model.parent_per_post_s * size.posts
        + model.parent_per_worker_s * size.workers
        + model.parent_per_block_s * size.blocks,
        stages_s={stage.name: stage_seconds(stage, size) for stage in model.stages},
    )


def one_process(model: Model, size: Size, *, archive: bool = False) -> float:
    """Seconds of a job in one process on one core."""
    hashed = size.posts * model.bytes_per_post / 1e9 * model.hash_per_gb_s
    per_gb = model.hash_per_gb_s
    if archive:
        per_gb = model.unpack_serial_per_gb_s + model.unpack_divided_per_gb_s
    inputs = size.bytes / 1e9 * per_gb - hashed  # which is in the time of a post
    return model.one_process_s + model.one_process_per_post_s * size.posts + inputs + size.scan_s


def stage_seconds(stage: StageModel, size: Size) -> float:
    """What the busiest worker of a stage takes."""
    work = stage.per_post_s * size.posts + stage.per_block_s * size.blocks
    if stage.kind == "ranges":  # so many, and so small, that they can be shared evenly
        more = size.scan_s / size.workers
        return more + makespan(units_of(stage, work, size), size.workers) + stage.per_worker_s
    if stage.kind == "fine":
        return work / size.workers + stage.per_worker_s
    return makespan(units_of(stage, work, size), size.workers) + stage.per_worker_s


def units_of(stage: StageModel, work: float, size: Size) -> np.ndarray:
    """Return the units of a stage that has ``work`` seconds of it to do."""
    shares = np.asarray(stage.shares)
    if stage.kind == "single":
        return np.array([work])
    if stage.full_s > 0:  # each grows with the job until it is full, and is divided then
        counts = np.ceil(shares * work / stage.full_s - 1e-9).astype(int).clip(1)
        return np.repeat(shares * work / counts, counts)
    count = size.thread_partitions
    if stage.kind == "joins":
        count = max(MIN_JOIN_PARTITIONS, math.ceil(size.bytes / JOIN_BYTES))
    places = (np.arange(count) + 0.5) / count
    drawn = np.interp(places, (np.arange(len(shares)) + 0.5) / len(shares), shares)
    return drawn * work / drawn.sum()


def makespan(units: np.ndarray, workers: int) -> float:
    """Seconds until ``workers`` have done all units, given out in bundles as the runner does."""
    count = len(units)
    # As if by hash: neighbours have nothing to do with each other.
    mixed = units[np.argsort((np.arange(count) * 0.6180339887) % 1.0)]
    held = math.ceil(count / (workers * PIECES_PER_WORKER))
    bundles = [mixed[start : start + held].sum() for start in range(0, count, held)]
    busy = [0.0] * min(workers, len(bundles))
    for bundle in bundles:
        heapq.heapreplace(busy, busy[0] + bundle)
    return max(busy)
