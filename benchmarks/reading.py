"""What each rank of a training run reads: all row groups, or its own ones and the rest from others.

    python -m benchmarks.reading --dataset out/beer --work /tmp/reading

Makes a dataset of many row groups (the pairs of another, again and again under other threads), then
starts so many processes on this machine and has each make its rows of every step, by turns in both
ways. Counted are row groups, the compressed bytes of the columns that are read, the bytes that
another rank sent, and processor seconds of the process that needed the most, and of all together.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.manifest import MANIFEST_NAME, Manifest, Shard
from training.data.dataset import COLUMNS, PairDataset, PairRows
from training.data.divided_windows import DividedWindows
from training.data.exchange import RankExchange
from training.data.prompt_groups import ShuffleWindows, shard_by_rank
from training.data.sampler import BatchSampler

NAMES = {False: "each reads all", True: "each its own"}


def write_many(source: Path, target: Path, copies: int, row_group: int) -> None:
    """Write the training pairs ``copies`` times, whole threads in row groups of about that many."""
    manifest = msgspec.json.decode((source / MANIFEST_NAME).read_bytes(), type=Manifest)
    shards = [s for s in manifest.shards if s.table == "data" and s.split == "train"]
    (target / "data").mkdir(parents=True)
    written: list[Shard] = []
    for copy in range(copies):
        for shard in shards:
            table = pq.read_table(source / shard.path)
            place = table.column_names.index("thread_id")
            threads = [f"{copy}/{thread}" for thread in table["thread_id"].to_pylist()]
            table = table.set_column(place, table.schema.field(place), pa.array(threads))
            path = f"data/train-{len(written):05}.parquet"
            with pq.ParquetWriter(target / path, table.schema) as writer:
                for begin, end in _cuts(threads, row_group):
                    writer.write_table(table.slice(begin, end - begin), row_group_size=end - begin)
            content = (target / path).read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            written.append(
                msgspec.structs.replace(shard, path=path, bytes=len(content), sha256=digest)
            )
    changed = msgspec.structs.replace(manifest, shards=tuple(written))
    (target / MANIFEST_NAME).write_bytes(msgspec.json.encode(changed))


def _cuts(threads: list[str], row_group: int) -> Iterator[tuple[int, int]]:
    begin = 0
    for row in range(1, len(threads) + 1):
        last = row == len(threads)
        if last or (row - begin >= row_group and threads[row] != threads[row - 1]):
            yield begin, row
            begin = row


class Counted(PairDataset):
    """Counts what it reads."""

    def __init__(self, location: str) -> None:
        super().__init__(location, "train")
        self.count = self.bytes = 0

    def read(self, number: int) -> PairRows:
        shard, group = self._groups[number]
        footer = pq.read_metadata(Path(self.location) / shard.path).row_group(group)
        columns = [footer.column(place) for place in range(footer.num_columns)]
        self.bytes += sum(
            column.total_compressed_size for column in columns if column.path_in_schema in COLUMNS
        )
        self.count += 1
        return super().read(number)


class Weighed(RankExchange):
    """Counts what others send."""

    received = 0

    def all_to_all(self, payloads: list[bytes]) -> list[bytes]:
        found = super().all_to_all(payloads)
        self.received += sum(len(c) for rank, c in enumerate(found) if rank != self.rank)
        return found


def one_rank(
    rank: int, ranks: int, store: str, arguments: argparse.Namespace, found: "Queue[Any]"
) -> None:
    """Make this rank's rows of all steps, twice in each way by turns."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    exchange = Weighed(rank, ranks)
    figures: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for divided in (False, True) * arguments.rounds:
        dataset = Counted(str(arguments.work / "many"))
        sampler = BatchSampler(dataset.rows, arguments.batch_pairs, arguments.window, seed=0)
        whole, own = ShuffleWindows(dataset), DividedWindows(dataset, exchange)
        exchange.received = 0
        dist.barrier()
        began = time.process_time()
        digest = hashlib.sha256()
        for step in range(sampler.steps):
            if divided and ranks > 1:
                rows, runs = own.part(sampler, step)
            else:
                rows = whole.batch(sampler, step)
                runs = shard_by_rank(rows, ranks)[rank]
            for run in runs:
                for row in run:
                    digest.update(rows.chosen[row].encode())
        figures[divided].append(
            {
                "cpu": time.process_time() - began,
                "groups": dataset.count,
                "bytes": dataset.bytes,
                "received": exchange.received,
                "digest": int(digest.hexdigest()[:12], 16),
            }
        )
    found.put((rank, figures))
    dist.destroy_process_group()


def measure(ranks: int, arguments: argparse.Namespace) -> list[dict[bool, Any]]:
    """Figures of each rank."""
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    store = arguments.work / f"store-{ranks}-{os.getpid()}"
    processes = [
        context.Process(target=one_rank, args=(rank, ranks, str(store), arguments, found))
        for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    answers = dict(found.get() for _ in processes)
    for process in processes:
        process.join()
    return [answers[rank] for rank in range(ranks)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the dataset")
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--row-group", type=int, default=512)
    parser.add_argument("--window", type=int, default=16, help="row groups shuffled together")
    parser.add_argument("--batch-pairs", type=int, default=1024)
    parser.add_argument("--ranks", default="1,2,4,8")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if not (arguments.work / "many").exists():
        write_many(
            arguments.dataset, arguments.work / "many", arguments.copies, arguments.row_group
        )
    print(
        "| ranks | | row groups read by a rank | MB read by a rank | MB from others | processor s, "
        "a rank | all ranks |\n|---:|---|---:|---:|---:|---:|---:|"
    )
    everything = {}
    for ranks in map(int, arguments.ranks.split(",")):
        answers = measure(ranks, arguments)
        everything[ranks] = answers
        for divided, name in NAMES.items():
            rounds = [answer[divided] for answer in answers]
            first = [figures[0] for figures in rounds]
            cpu = [min(one["cpu"] for one in figures) for figures in rounds]
            print(
                f"| {ranks} | {name} | {_span([f['groups'] for f in first])} "
                f"| {_span([f['bytes'] / 1e6 for f in first])} "
                f"| {_span([f['received'] / 1e6 for f in first])} "
                f"| {max(cpu):.2f} | {sum(cpu):.2f} |",
                flush=True,
            )
        for answer in answers:
            assert len({one["digest"] for way in answer.values() for one in way}) == 1
    print(json.dumps({"rows equal in both ways": True}))


def _span(values: list[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    main()
