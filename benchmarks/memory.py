"""Peak memory and processor time of `curate`, by number of posts, and what each stage did.

    python -m benchmarks.memory --posts 100000,1000000 --output out/memory.json

Generates dumps and runs the job on each in a process of its own: `disk`, the local runner as it
is, whose shuffles are files; with `--modes memory,disk` also Beam's FnApiRunner as it comes, which
keeps them in memory. Both must write the same bytes. Memory is what is not backed by a file
(RssAnon and RssShmem of Linux), summed over the process tree and sampled ten times a second: pages
of the files themselves do not count, as the system takes them back when it needs them. Disk is what
the files of the shuffles, with and without a name, and the unfinished output take, sampled once a
second. Time is
processor time, children included, because clock time says little on a shared machine.

The JSON has the stages of each `disk` run: processor time and bytes written by shuffle.
benchmarks/cost.py makes docs/cost.md from it.
"""

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from transforms.core.blobs import SUFFIX

MODES = ("memory", "disk")


def main() -> None:
    """Measure, or be one of the measured processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--posts", default="100000,1000000", help="A,B,…")
    parser.add_argument("--modes", default="disk", help="of memory, disk (default: disk)")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--dumps", type=Path, help="where dumps are kept and looked for")
    parser.add_argument("--output", type=Path, help="JSON file, to which runs are added")
    parser.add_argument("--max-gb", type=float, default=10.0, help="a run that takes more is ended")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        mode, dump, output = arguments.run
        _run(mode, dump, output, arguments.workers)
        return
    with tempfile.TemporaryDirectory(dir=arguments.dumps) as temporary:
        for posts in map(int, arguments.posts.split(",")):
            dump = _dump(arguments.dumps or Path(temporary), posts)
            hashes = []
            for mode in arguments.modes.split(","):
                output = Path(temporary) / "dataset"
                command = [sys.executable, "-m", "benchmarks.memory", "--workers"]
                command += [str(arguments.workers), "--run", mode, str(dump), str(output)]
                figures = measure(command, arguments.max_gb, Path(temporary))
                hashes.append(_hashes(output))
                assert hashes[0] == hashes[-1], "the runs wrote different bytes"
                row = {"posts": posts, "mode": mode, "workers": arguments.workers, **figures}
                row["bytes_in"] = sum(path.stat().st_size for path in dump.glob("*.xml"))
                _add(row, arguments.output)


def _dump(folder: Path, posts: int) -> Path:
    dump = folder / f"d{posts}" / "generated.example.com"
    if not (dump / "Posts.xml").is_file():
        command = [sys.executable, "-m", "benchmarks.generate_dump", "--seed", "1"]
        command += ["--posts", str(posts), "--output", str(dump.parent)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return dump


def _run(mode: str, dump: str, output: str, workers: int) -> None:
    """One run of the job; prints the reports of its stages."""
    from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

    from pipeline.cli import main as cli
    from pipeline.runners import local
    from pipeline.runners.disk_shuffle import DiskShuffleRunner, StageReport

    stages: list[StageReport] = []

    def runner(folder: str | None, **options: Any) -> FnApiRunner:
        if mode == "memory":
            return FnApiRunner(**options)
        return DiskShuffleRunner(folder, report=stages.append, **options)

    local.DiskShuffleRunner = runner  # type: ignore[assignment,misc]
    arguments = ["curate", "--input", f"stackexchange={dump}", "--output", output, "--quiet"]
    code = cli([*arguments, "--overwrite", "--workers", str(workers)])
    if code:
        raise SystemExit(code)
    print(json.dumps([dataclasses.asdict(stage) for stage in stages]))


def tree_memory(pid: int) -> int:
    """Bytes that a process and its descendants hold and no file backs."""
    total, pending = 0, [pid]
    while pending:
        current = pending.pop()
        try:
            for line in Path(f"/proc/{current}/status").read_text().splitlines():
                if line.startswith(("RssAnon:", "RssShmem:")):
                    total += int(line.split()[1]) * 1024
            for task in Path(f"/proc/{current}/task").iterdir():
                pending += map(int, (task / "children").read_text().split())
        except (OSError, IndexError):
            continue
    return total


def unnamed_files(pid: int) -> int:
    """Bytes on disk of the files without a name that a process has open."""
    sizes = {}
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                if link.readlink().name.endswith(" (deleted)"):
                    found = link.stat()
                    sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
            except OSError:  # closed meanwhile
                continue
    except OSError:
        return 0
    return sum(sizes.values())


def named_files(folder: Path, pattern: str = "*") -> int:
    """Bytes on disk of the files in a folder that is being written to."""
    total = 0
    for path in folder.rglob(pattern):
        try:
            if path.is_file():
                total += path.stat().st_blocks * 512
        except OSError:  # moved meanwhile
            continue
    return total


def measure(command: list[str], max_gb: float, folder: Path) -> dict[str, Any]:
    """Run a command that prints JSON at its end; memory, disk, time and what it printed.

    ``folder`` is where the command writes.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    trace: list[int] = []
    disk: list[tuple[int, int]] = [(0, 0)]
    """(of the shuffles, of all that is written)."""
    named_before = named_files(folder)

    def watch() -> None:
        while process.poll() is None:
            if len(trace) % 10 == 0:
                named = named_files(folder) - named_before
                unnamed = unnamed_files(process.pid)
                disk.append((unnamed + named_files(folder, f"*{SUFFIX}"), unnamed + named))
            trace.append(tree_memory(process.pid))
            if trace[-1] > max_gb * 1e9:
                process.kill()
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    printed, _ = process.communicate()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{command}: exit {process.returncode}, {max(trace) / 1e6:,.0f} MB")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    step = max(1, len(trace) // 60)
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1
        ),
        "peak_mb": round(max(trace) / 1e6),
        "peak_shuffle_mb": round(max(shuffled for shuffled, _ in disk) / 1e6),
        "peak_disk_mb": round(max(total for _, total in disk) / 1e6),
        "trace_mb": [round(max(trace[i : i + step]) / 1e6) for i in range(0, len(trace), step)],
        "stages": json.loads(printed.strip().splitlines()[-1]),
    }


def _hashes(folder: Path) -> dict[str, str]:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return {shard["path"]: shard["sha256"] for shard in manifest["shards"]}


def _add(row: dict[str, Any], output: Path | None) -> None:
    print(
        f"| {row['posts']:,} | {row['mode']} | {row['workers']} | {row['peak_mb']:,} MB "
        f"| {row['cpu_seconds']:,.0f} | {row['cpu_seconds'] / row['posts'] * 1e6:,.0f} |",
        flush=True,
    )
    if output is not None:
        rows = json.loads(output.read_text()) if output.is_file() else []
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps([*rows, row], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
