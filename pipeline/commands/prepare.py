"""``forumprefs prepare``: large archives of JSON lines become many parts for many workers."""

import argparse
import functools
import glob
import multiprocessing
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from pipeline.console import ProgressLine, print_text, print_warning
from pipeline.curate.prepared import (
    FileKey,
    PreparedFile,
    file_key,
    is_whole,
    load_prepared,
    parts_folder,
    remove_parts,
    save_prepared,
)
from pipeline.dataset.atomic import locked
from pipeline.errors import UsageError, WorkerDiedError
from schemas.exit_codes import ExitCode
from transforms.core.counters import PROGRESS_DIR_VARIABLE
from transforms.readers.base import ForumFile, InputProblem
from transforms.readers.formats.filesystem import is_remote
from transforms.readers.formats.recompress import (
    PartsJob,
    PartsResult,
    PreparedPart,
    make_parts,
    part_name,
)
from transforms.readers.registry import SOURCES
from transforms.readers.source import FileSource

DEFAULT_PART_BYTES = 256 * 10**6
BUSY_WORKERS = 8
"""Where no file is more than this part of all, whole files keep so many workers busy."""
POLL_S = 0.2

EPILOG = """\
examples:
  forumprefs prepare reddit=dumps/RC_2019-10.zst --output parts --workers 4
  forumprefs prepare reddit='dumps/R?_2019-*.zst' --subreddits AskMen,AskWomen --output parts

One worker decompresses a file, however large it is, each time it is curated; real months need up
to 2 GiB of memory for that. This cuts files into parts once, lines and their order unchanged, as
DIR/KIND/RC_2019-10.part-00000.zst and so on, and DIR/prepare.json counts the lines. Then:
forumprefs curate --input reddit=DIR/reddit
Run it again after an interruption: files that are finished are not read again.
It does not pay for many files or for small ones: curate reads these as they are, and cuts a large
one among the files into blocks that all workers parse.
exit codes: 0 finished, 1 failed or nothing could be read, 2 usage error
"""


@dataclass(frozen=True)
class PrepareOptions:
    """Everything ``forumprefs prepare`` was told."""

    input: tuple[str, ...]
    output: Path
    part_bytes: int = DEFAULT_PART_BYTES
    subreddits: tuple[str, ...] | None = None
    workers: int = 1
    quiet: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``forumprefs prepare``."""
    parser.epilog = EPILOG
    parser.add_argument(
        "input", nargs="+", metavar="KIND=PATH", help="file, folder or glob, as for curate --input"
    )
    parser.add_argument("--output", metavar="DIR", type=Path, required=True, help="for the parts")
    parser.add_argument(
        "--part-bytes",
        default="256MB",
        metavar="SIZE",
        help="text in a part before compression, e.g. 64MB (default: 256MB)",
    )
    parser.add_argument(
        "--subreddits",
        metavar="A,B,…",
        help="keep the posts of these subreddits only; upper and lower case are the same",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="files at a time; one of Reddit can take up to 2 GiB of memory (default: 1)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    parser.add_argument("-v", "--verbose", action="store_true", help="show logs")


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs prepare`` and return its exit code; raises UsageError and OSError."""
    options = parse_options(arguments)
    problems: list[InputProblem] = []
    files = find_files(options, problems)
    for problem in problems:
        print_warning(f"not used: {problem.path}: {problem.message}")
    if not files:
        raise UsageError("no input can be used")
    advice = advise(files, options)
    if advice is not None:
        print_warning(advice)
    prepared = prepare_files(files, options)
    for file in prepared:
        if file.result.problem:
            what = "not read to its end" if file.result.parts else "not used"
            print_warning(f"{what}: {file.name}: {file.result.problem}")
    if not options.quiet:
        for line in summary(prepared, options):
            print_text(line)
    return 0 if any(file.result.content_bytes for file in prepared) else ExitCode.FAILED


def parse_options(namespace: argparse.Namespace) -> PrepareOptions:
    """Check the arguments; raises UsageError."""
    if namespace.workers < 1:
        raise UsageError(f"--workers {namespace.workers}: at least 1")
    subreddits = None
    if namespace.subreddits is not None:
        names = (name.strip().lower() for name in namespace.subreddits.split(","))
        subreddits = tuple(sorted({name.removeprefix("/").removeprefix("r/") for name in names}))
        wrong = [name for name in subreddits if not re.fullmatch(r"[a-z0-9_-]+", name)]
        if wrong or not subreddits:
            raise UsageError(f"--subreddits {namespace.subreddits}: names like AskMen,AskWomen")
    return PrepareOptions(
        input=tuple(namespace.input),
        output=namespace.output,
        part_bytes=parse_size(namespace.part_bytes),
        subreddits=subreddits,
        workers=namespace.workers,
        quiet=namespace.quiet,
    )


_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30}


def parse_size(text: str) -> int:
    """Return the bytes that ``64MB``, ``1.5GiB`` or ``1000`` mean; raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    size = int(float(found[1]) * _UNITS[found[2]]) if found and found[2] in _UNITS else 0
    if size < 1:
        raise UsageError(f"--part-bytes {text}: a size like 64MB or 1GiB, at least 1")
    return size


def find_files(options: PrepareOptions, problems: list[InputProblem]) -> list[ForumFile]:
    """Find the files to cut; raises UsageError."""
    sources = {kind: source for kind, source in SOURCES.items() if isinstance(source, FileSource)}
    specs: dict[str, list[str]] = {}
    for entry in options.input:
        kind, separator, path = entry.partition("=")
        if not separator or kind not in sources or not path:
            kinds = ", ".join(sources)
            hint = f"; {kind} is read in parallel as it is" if kind in SOURCES else ""
            raise UsageError(f"{entry!r} is not KIND=PATH with KIND one of {kinds}{hint}")
        if kind != "reddit" and options.subreddits is not None:
            raise UsageError(f"{entry}: --subreddits is for reddit only")
        if not is_remote(path) and not Path(path).exists() and not glob.glob(path):  # noqa: PTH207
            raise UsageError(f"{entry}: there is no such file or folder")
        specs.setdefault(kind, []).append(path)
    files = [
        file
        for kind, paths in sorted(specs.items())
        for file in sources[kind].list_files(paths, problems)
    ]
    seen: dict[tuple[str, str, str], str] = {}
    for file in files:
        key = (file.kind, file.site, part_name(file.name, 0))
        other = seen.setdefault(key, file.path)
        if other is not file.path:
            raise UsageError(f"{other} and {file.path} would have parts of the same names")
    return files


def advise(files: Sequence[ForumFile], options: PrepareOptions) -> str | None:
    """Say why cutting these files does not pay; None: it may, or a choice of subreddits does."""
    if options.subreddits is not None:
        return None
    largest = max(file.bytes_to_hold for file in files)
    if largest < 2 * options.part_bytes:
        return (
            f"this does not pay: the largest file holds about {_size(largest)}, less than two "
            f"parts of {_size(options.part_bytes)}; curate reads these files as they are"
        )
    if largest * BUSY_WORKERS <= sum(file.bytes_to_hold for file in files):
        return (
            f"this hardly pays: {len(files)} files of which none is more than 1/{BUSY_WORKERS} of "
            f"all keep {BUSY_WORKERS} workers busy as they are"
        )
    return None


def _size(size: float) -> str:
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size:.0f} bytes"


def prepare_files(files: Sequence[ForumFile], options: PrepareOptions) -> list[PreparedFile]:
    """Cut all files that are not finished from an earlier run, several at a time.

    Each finished file is written down in ``prepare.json`` at once, and its parts have their names
    from then on. Raises UsageError, OSError and WorkerDiedError.
    """
    output = options.output.resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    with locked(output):
        finished = load_prepared(output, options.part_bytes, options.subreddits)
        output.mkdir(exist_ok=True)
        done: dict[FileKey, PreparedFile] = {}
        to_do: list[ForumFile] = []
        for file in sorted(files, key=lambda file: (-file.size, file.path)):
            earlier = finished.get(file_key(file))
            if earlier is not None and is_whole(output, earlier, file):
                done[file_key(file)] = earlier
            else:
                to_do.append(file)
        others = {key: file for key, file in finished.items() if key not in map(file_key, to_do)}
        save = functools.partial(save_prepared, output, options.part_bytes, options.subreddits)
        save(others)
        for file in to_do:
            remove_parts(output, file)
        for file, result in _run(to_do, output, options):
            done[file_key(file)] = PreparedFile(
                kind=file.kind, site=file.site, name=file.name, bytes=file.size, result=result
            )
            save(others | done)
    return [done[key] for key in sorted(done)]


def _run(
    files: Sequence[ForumFile], output: Path, options: PrepareOptions
) -> Iterator[tuple[ForumFile, PartsResult]]:
    """Cut files in worker processes; yields each file when it is finished."""
    if not files:
        return
    for file in files:
        parts_folder(output, file).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="forumprefs-workers-") as folder:
        os.environ[PROGRESS_DIR_VARIABLE] = folder
        # Not a fork: threads of Beam and gRPC may be running here.
        children = set(multiprocessing.active_children())
        executor = ProcessPoolExecutor(
            min(options.workers, len(files)), multiprocessing.get_context("spawn")
        )
        progress = ProgressLine(
            sum(file.size for file in files), folder=Path(folder), quiet=options.quiet
        )
        try:
            with progress:
                waiting = {
                    executor.submit(make_parts, _job(file, output, options)): file for file in files
                }
                while waiting:
                    ended, _ = wait(waiting, POLL_S, FIRST_COMPLETED)
                    progress.tick()
                    for future in ended:
                        yield waiting.pop(future), future.result()
        except BrokenProcessPool:
            raise WorkerDiedError(
                "a worker process died; the usual cause is memory: use fewer --workers"
            ) from None
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            for child in set(multiprocessing.active_children()) - children:
                child.terminate()
            os.environ.pop(PROGRESS_DIR_VARIABLE, None)


def _job(file: ForumFile, output: Path, options: PrepareOptions) -> PartsJob:
    return PartsJob(
        path=file.path,
        folder=str(parts_folder(output, file)),
        part_bytes=options.part_bytes,
        communities=options.subreddits,
    )


def summary(prepared: Sequence[PreparedFile], options: PrepareOptions) -> list[str]:
    """Lines for people: counts of each file, and what to do next."""
    lines = []
    for file in prepared:
        result = file.result
        parts: Sequence[PreparedPart] = result.parts
        text = (
            f"{file.name}: {_size(result.content_bytes)}, {result.lines_in:,} lines in, "
            f"{result.lines_out:,} out"
        )
        if result.lines_unreadable is not None:
            text += f", {result.lines_unreadable:,} unreadable"
        text += f"; {len(parts):,} parts, {_size(sum(part.bytes for part in parts))}"
        if len(parts) == 1 and options.subreddits is None:
            text += "; no gain, curate reads the file as it is just as fast"
        lines.append(text)
    if any(file.result.parts for file in prepared):
        kinds = sorted({file.kind for file in prepared if file.result.parts})
        inputs = " ".join(f"--input {kind}={options.output / kind}" for kind in kinds)
        lines.append(f"next: forumprefs curate {inputs} --output …")
    return lines
