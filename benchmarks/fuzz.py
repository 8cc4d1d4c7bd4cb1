"""Damaged files through every reader and command: no traceback, no hang, no silent drop.

    python -m benchmarks.fuzz [--seed 0] [--cases 2000] [--only small,rows,folders] [--jobs 1]

`small`: manifests, reports, cards, recipes, lists, benchmark files and so on, damaged, through
their readers in this process: each gives a value or an error of ours, and takes under SECONDS of
processor time. `rows`: one line of a forum's dump is damaged: whatever the reader makes of it,
every post of the other lines is still there, and the line itself is accounted for. `folders`: files
of a finished dataset folder are damaged, and commands get the folder in processes of their own,
with MEMORY_MB of address space: no traceback, an exit code of `schemas.exit_codes`, an end within
COMMAND_SECONDS, and nothing written outside of the folder that the command was given for output.

Each case has a generator of its own, seeded by (seed, kind, number): a finding names them, and
`--only KIND --first NUMBER --cases 1` repeats it. `tests/test_fuzz.py` runs a few hundred cases of
the first two kinds. Ends with 1 where anything was found.
"""

import argparse
import contextlib
import hashlib
import multiprocessing
import multiprocessing.context
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks._mutations import mutate_bytes, mutate_folder, mutate_json
from pipeline import cli
from pipeline.curate import benchmark_files, prepared, recipe, takedown
from pipeline.dataset.checks import card_faults
from pipeline.dataset.report_layout import decode_report
from pipeline.dataset.run_metadata import load_run_metadata
from pipeline.errors import RecipeError, UsageError
from schemas.audit import Rejected
from schemas.command import ENTRY_POINTS, Command
from schemas.exit_codes import ExitCode
from schemas.manifest import ManifestError, decode_manifest
from schemas.post import Post
from schemas.small_files import SmallFileError
from transforms.readers.base import InputProblem, ReadRules
from transforms.readers.registry import SOURCES
from transforms.readers.source import FileSource
from transforms.readers.stackexchange.rows import parse_post
from transforms.readers.stackexchange.xml_rows import read_rows

SAMPLES: Final = Path(__file__).parents[1] / "samples"
SECONDS: Final = 20.0
"""Processor time of a case in this process; the slowest take two where nothing else runs."""
COMMAND_SECONDS = 180
MEMORY_MB: Final = 12_000
"""Of address space, most of which libraries only reserve."""

Change = Callable[[bytes, random.Random], bytes]


class Finding(NamedTuple):
    """What a case showed."""

    kind: str
    case: int
    target: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.case} {self.target}: {self.what}"


class Target(NamedTuple):
    """A reader of a small file, with a file that is right."""

    name: str
    content: bytes
    read: Callable[[Path], object]
    """Reads the file at a path of its usual name."""
    errors: tuple[type[Exception], ...]
    """What it may raise."""
    change: Change = mutate_bytes
    file: str = "file"


def generator(seed: int, kind: str, case: int) -> random.Random:
    """The generator of one case."""
    return random.Random(f"{seed}/{kind}/{case}")


def pipeline_targets(dataset: Path) -> list[Target]:
    """Readers of the pipeline; ``dataset`` is a finished dataset folder, whose files are taken."""
    manifest, report, card = (
        (dataset / name).read_bytes() for name in ("manifest.json", "report.json", "README.md")
    )
    shards = decode_manifest(manifest).shards
    threads = (SAMPLES / "threads" / "threads.jsonl").read_bytes()
    yaml = (
        b"input: [threads=x, reddit=y]\nlanguages: en,fr\nmin_margin: 3\ncreated_before: 2024-01-01"
        b"\nsplit: 90/5/5\ndrop_bots: true\nseed: &s 7\nmax_responses: *s\n"
        b"licenses:\n  - a=CC0-1.0\n"
    )
    listed = b"# ids\nbeer.stackexchange.com:12\na.example:u3\nhttps://a.example/questions/1/x#4\n"
    timings = b'{"manifest_sha256": "x", "steps": [{"step": "a", "began": 0.5, "ended": 1}]}'
    made = b'{"part_bytes": 5, "subreddits": ["a"], "files": []}'

    def config(path: Path) -> object:
        return recipe.resolve(recipe.make(recipe.load(path)))

    def of_run(path: Path) -> object:
        return load_run_metadata(path.with_name("x"), "x")

    def of_prepare(path: Path) -> object:
        return prepared.load_prepared(path.parent, 5, ("a",))

    texts = [
        Target(f"benchmark{end}", content, lambda path: list(benchmark_files.texts_of(path)),
               (UsageError,), change, f"file{end}")
        for end, content, change in (
            (".jsonl", threads, mutate_bytes),
            (".json", b"[" + threads.splitlines()[0] + b"]", mutate_json),
            (".jsonl.gz", _gzipped(threads), mutate_bytes),
            (".parquet", (dataset / shards[0].path).read_bytes(), mutate_bytes),
        )
    ]  # fmt: skip
    return [
        Target("manifest", manifest, lambda path: decode_manifest(path.read_bytes()),
               (ManifestError,), mutate_json),
        Target("manifest bytes", manifest, lambda path: decode_manifest(path.read_bytes()),
               (ManifestError,)),
        Target("report", report, lambda path: decode_report(path.read_bytes()),
               (SmallFileError,), mutate_json),
        Target("card", card, lambda path: card_faults(path.read_bytes(), "README.md", shards), ()),
        Target("recipe.yaml", yaml, config, (RecipeError,), mutate_bytes, "r.yaml"),
        Target("recipe.json", manifest, config, (RecipeError,), mutate_json, "r.json"),
        Target("takedown", listed, takedown.read_takedown, (UsageError,)),
        Target("timings", timings, of_run, (), mutate_json, ".x.run/timings.notes"),
        Target("prepare.json", made, of_prepare, (UsageError,), mutate_json, "prepare.json"),
        *texts,
    ]  # fmt: skip


def training_targets() -> list[Target]:
    """Readers of the trainer."""
    from training.config import load_config
    from training.errors import ConfigError, RegistryError, ScalingError, SuiteError
    from training.evaluation.suites.rows import read_rows as suite_rows
    from training.registry import read_promoted, read_results
    from training.scaling.runs import read_run

    toml = b"[optim]\nlr = 3e-6\nwarmup = 0.1\n[data]\nmax_length = 512\ntemplate = 'plain'\n"
    as_json = b'{"optim": {"lr": 3e-06}, "data": {"max_length": 512}, "dataset": "x"}'
    entry = (
        b'{"version": "2.0.0", "name": "a", "model": "m", "fingerprint": "f", "dataset": null,'
        b'"commit": null, "figures": {"s": [0.5, 0.4, 0.6]}, "compared_with": null,'
        b'"differences": {}, "max_drop": 0.02, "decision": "first", "reasons": []}'
    )
    summary = (
        b'{"model": {"parameters": 9, "name": "m"}, "pairs": 5, "validation": {"loss": 0.6},'
        b'"dataset": {"manifest_sha256": "x"}, "config": {"optim": {"lr": 1e-5}}}'
    )
    rows = b'{"id": 1, "prompt": "p", "chosen": ["c"], "rejected": ["r"]}\n' * 3
    return [
        Target("train.toml", toml, lambda path: load_config(str(path)), (ConfigError,),
               mutate_bytes, "c.toml"),
        Target("train.json", as_json, lambda path: load_config(str(path)), (ConfigError,),
               mutate_json, "c.json"),
        Target("promoted.json", entry, lambda path: read_promoted(path.parent), (RegistryError,),
               mutate_json, "promoted.json"),
        Target("results.json", b'{"version": "1.0.0"}', lambda path: read_results(path.parent),
               (RegistryError,), mutate_json, "results.json"),
        Target("summary.json", summary, lambda path: read_run(path.parent), (ScalingError,),
               mutate_json, "summary.json"),
        Target("suite.jsonl", rows, lambda path: list(suite_rows(path)), (SuiteError,),
               mutate_bytes, "s.jsonl"),
        Target("suite.json", b'{"a": [{"prompt": "p"}]}', lambda path: list(suite_rows(path)),
               (SuiteError,), mutate_json, "s.json"),
    ]  # fmt: skip


def _gzipped(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content, mtime=0)


def try_small(target: Target, rng: random.Random, folder: Path) -> str | None:
    """Read one damaged small file; says what is wrong with how that went."""
    shutil.rmtree(folder, ignore_errors=True)
    path = folder / target.file
    path.parent.mkdir(parents=True)
    path.write_bytes(target.change(target.content, rng))
    started = time.process_time()
    try:
        target.read(path)
    except target.errors as error:
        if not str(error).strip():
            return f"{type(error).__name__} without a word"
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.200} at {_last_place(error)}"
    if (took := time.process_time() - started) > SECONDS:
        return f"took {took:.1f} s"
    return None


def _last_place(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


class Lines(NamedTuple):
    """A dump whose lines are read one by one, and the posts of each."""

    kind: str
    name: str
    """Path below a folder, as the source wants it."""
    lines: tuple[bytes, ...]
    ids: tuple[frozenset[str], ...]


def dumps() -> list[Lines]:
    """The samples that have a record a line."""
    import bz2

    import zstandard

    def unpacked(path: Path) -> bytes:
        if path.suffix == ".bz2":
            return bz2.decompress(path.read_bytes())
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            return stream.read()

    comments = unpacked(SAMPLES / "reddit" / "RC_2019-06.bz2")
    submissions = unpacked(SAMPLES / "reddit" / "RS_2019-05.zst")
    found = [
        ("reddit", "RC_2019-06.jsonl", comments),
        ("reddit", "RS_2019-05.jsonl", submissions),
        ("threads", "threads.jsonl", (SAMPLES / "threads" / "threads.jsonl").read_bytes()),
    ]
    for kind, place in (
        ("discourse", "discourse/forum.ferns.example/topics.jsonl"),
        ("lemmy", "lemmy/lemmy.example/posts.jsonl"),
        ("lemmy", "lemmy/lemmy.example/comments.jsonl"),
    ):
        found.append((kind, place.partition("/")[2], (SAMPLES / place).read_bytes()))
    made = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, name, content in found:
            lines = tuple(content.splitlines(keepends=True))[:60]
            ids = tuple(frozenset(_read_posts(kind, name, line, Path(folder))) for line in lines)
            made.append(Lines(kind, name, lines, ids))
    return made


def _read_posts(kind: str, name: str, content: bytes, folder: Path) -> Iterator[str]:
    """Ids of all posts of a file, kept or rejected."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    source = SOURCES[kind]
    assert isinstance(source, FileSource)
    problems: list[InputProblem] = []
    for file in source.list_files([str(path)], problems):
        for item in source.read_file(file, ReadRules(reply_depth=3)):
            if isinstance(item, Rejected):
                yield item.id if item.record == "post" else f"({item.record})"
            elif isinstance(item, Post):
                yield item.id


def try_rows(dump: Lines, rng: random.Random, folder: Path) -> str | None:
    """Damage one line; the posts of the others must be there, and its own be accounted for."""
    place = rng.randrange(len(dump.lines))
    line = dump.lines[place].rstrip(b"\n")
    change = rng.choice((mutate_json, mutate_json, mutate_bytes))
    damaged = change(line, rng).replace(b"\n", b" ").replace(b"\r", b" ")
    content = b"".join((*dump.lines[:place], damaged + b"\n", *dump.lines[place + 1 :]))
    others = frozenset().union(*dump.ids[:place], *dump.ids[place + 1 :])
    started = time.process_time()
    try:
        found = list(_read_posts(dump.kind, dump.name, content, folder))
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.200} at {_last_place(error)}"
    # Rejects without an id of their own are named by file and line, which are as before.
    lost = {name for name in others if _is_id(name)} - set(found)
    if lost:
        return f"line {place + 1}: posts of other lines are lost: {sorted(lost)[:3]}"
    told = sum(1 for name in found)
    expected = sum(len(ids) for ids in (*dump.ids[:place], *dump.ids[place + 1 :]))
    # A blank line is none, and a list of no posts has none.
    if damaged.strip() not in (b"", b"[]") and told <= expected and dump.ids[place]:
        return f"line {place + 1}: nothing is said of it ({damaged[:60]!r})"
    if (took := time.process_time() - started) > SECONDS:
        return f"took {took:.1f} s"
    return None


def _is_id(name: str) -> bool:
    return ".jsonl" not in name and not name.startswith("(")


def try_xml(rng: random.Random, folder: Path) -> str | None:
    """Damage one row of Posts.xml; rows read = rows kept + rows rejected, and the others stay."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "Posts.xml"
    whole = (SAMPLES / "sourdough.example.com" / "Posts.xml").read_bytes().splitlines(keepends=True)
    place = rng.randrange(2, len(whole) - 1)
    line = mutate_bytes(whole[place].rstrip(b"\r\n"), rng).replace(b"\n", b" ").replace(b"\r", b" ")
    path.write_bytes(b"".join((*whole[:place], line + b"\n", *whole[place + 1 :])))
    kept: list[str] = []
    seen = told = 0
    try:
        with path.open("rb") as stream:
            for batch in read_rows(stream, 0, path.stat().st_size, containing=b""):
                seen += batch.seen
                told += len(batch.rows) + len(batch.bad) + batch.skipped
                for row, offset in zip(batch.rows, batch.offsets, strict=True):
                    parse_post(row, "a.example", True, offset)
                    kept.append(row.get("Id", ""))
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.200} at {_last_place(error)}"
    if seen != told:
        return f"row {place}: {seen} rows were seen, {told} accounted for"
    # An open quote may take the row behind it, which is told as a row that is malformed.
    if len(kept) < len(whole) - 6:
        return f"row {place}: {len(whole) - len(kept)} rows are gone for one"
    return None


def commands(folder: Path, whole: Path, out: Path, home: Path) -> list[list[str]]:
    """Every command that takes a dataset folder, for a damaged one."""
    hub = ["--endpoint", "http://127.0.0.1:9"]
    return [
        ["inspect", str(folder)],
        ["inspect", str(folder), "--json", "--limit", "1000"],
        ["verify", str(folder)],
        ["verify", str(folder), "--json"],
        ["report", str(folder), "--output", str(out / "r.html")],
        ["diff", str(folder), str(whole)],
        ["diff", str(whole), str(folder), "--json"],
        ["publish", str(folder), "a/b", "--version", "v1.0.0", "--dry-run", *hub],
        ["hydrate", str(folder), "--output", str(out / "h"), "--quiet",
         "--input", f"stackexchange={SAMPLES / 'sourdough.example.com'}"],
        ["curate", "--config", str(folder / "manifest.json"), "--output", str(out / "c"),
         "--dry-run"],
        ["curate", "--input", f"threads={SAMPLES / 'threads'}", "--output", str(folder), "--resume",
         "--dry-run"],
        ["promote", str(home / "run"), "--name", "a", "--results", str(folder), "--registry",
         str(out / "registry")],
        ["train", "--dataset", str(folder), "--model", str(home / "none"), "--output",
         str(out / "t")],
    ]  # fmt: skip


def try_folder(case: int, seed: int, wholes: Sequence[Path], home: Path) -> Finding | None:
    """Damage a copy of a dataset folder, and give it to one command."""
    rng = generator(seed, "folders", case)
    whole = rng.choice(wholes)
    root = home / f"case-{case}"
    folder, out = root / "dataset", root / "out"
    shutil.copytree(whole, folder)
    out.mkdir()
    done = mutate_folder(folder, rng)
    command = rng.choice(commands(folder, whole, out, home))
    before = _state(folder)
    what = run_command(command, root)
    if what is None and _state(folder) != before:
        what = "the folder that it read is changed"
    strays = {path.name for path in root.iterdir()} - {"dataset", "out", ".dataset.lock"}
    if what is None and strays:
        what = f"left {sorted(strays)} beside the folders"
    if what is None:
        shutil.rmtree(root)
        return None
    return Finding("folders", case, command[0], f"{what}\n    {done}\n    {' '.join(command)}")


def _state(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path).encode())
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


def forked() -> multiprocessing.context.ForkServerContext:
    """Processes forked from one that has loaded what the commands load, and has run nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([cli.__name__, *(command.module for command in _commands())])
    return context


def _commands() -> list[Command]:
    return cli.find_commands(entry_points(group=ENTRY_POINTS))


def run_command(
    command: Sequence[str], folder: Path, main: Callable[[list[str]], int] = cli.main
) -> str | None:
    """Run a command of ``forumprefs``; says what no command may do, None for the rest.

    ``main``: another function than the command line, found by its module and name.
    """
    log = folder / "log"
    process = forked().Process(target=_run_here, args=(main, list(command), log))
    process.start()
    process.join(COMMAND_SECONDS)
    if process.exitcode is None:
        with contextlib.suppress(ProcessLookupError):  # it has not yet made a group
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.kill()
        process.join()
        return f"did not end within {COMMAND_SECONDS} s"
    text = log.read_text(errors="replace")
    log.unlink()
    if "Traceback" in text:
        lines = text.strip().splitlines()
        places = [line.strip() for line in lines if line.lstrip().startswith("File ")]
        return f"traceback: {lines[-1][:200]} {places[-1] if places else ''}"
    if process.exitcode not in set(ExitCode):
        return f"exit code {process.exitcode}: {text[-200:]}"
    if process.exitcode != ExitCode.FINISHED and not text.strip():
        return f"exit code {process.exitcode} without a word"
    return None


def _run_here(main: Callable[[list[str]], int], command: list[str], log: Path) -> None:
    """Run in this process, which is there for that alone."""
    os.setsid()
    size = MEMORY_MB << 20
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ |= {"HF_TOKEN": "hf_x", "HF_HOME": str(log.parent / "out" / "hf")}
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdin, sys.stdout, sys.stderr = (
        open(place, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
        for place, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    code = main(command)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def fuzz_in_process(
    kind: str, seed: int, cases: Sequence[int], targets: Sequence[Target], folder: Path
) -> Iterator[Finding]:
    """Yield what the cases of `small` or `rows` show."""
    sources: list[Any] = [*dumps(), None] if kind == "rows" else list(targets)
    for case in cases:
        rng = generator(seed, kind, case)
        # In turn, so that few cases see all of them.
        target = sources[case % len(sources)]
        if kind == "small":
            name, what = target.name, try_small(target, rng, folder / "small")
        elif target is None:
            name, what = "stackexchange", try_xml(rng, folder / "xml")
        else:
            name, what = f"{target.kind} {target.name}", try_rows(target, rng, folder / "rows")
        if what is not None:
            yield Finding(kind, case, name, what)


def make_datasets(folder: Path) -> list[Path]:
    """Small dataset folders, with texts and without."""
    made = []
    for name, more in (("texts", ()), ("ids", ("--ids-only",))):
        output = folder / name
        given = f"stackexchange={SAMPLES / 'sourdough.example.com'}"
        code = cli.main(["curate", "--input", given, "--output", str(output), "--quiet", *more])
        assert code == ExitCode.FINISHED
        made.append(output)
    return made


def main() -> int:
    """Run the cases and print what they show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=2_000, help="of each kind")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", default="small,rows,folders", help="kinds")
    parser.add_argument("--jobs", type=int, default=1, help="commands at a time")
    parser.add_argument("--keep", type=Path, help="folder for the inputs of findings")
    arguments = parser.parse_args()
    cases = range(arguments.first, arguments.first + arguments.cases)
    found = 0
    home = Path(tempfile.mkdtemp(prefix="fuzz-", dir=arguments.keep))
    try:
        wholes = make_datasets(home)
        for kind in arguments.only.split(","):
            started = time.monotonic()
            if kind == "folders":
                with ThreadPoolExecutor(arguments.jobs) as pool:
                    results = pool.map(
                        lambda case: try_folder(case, arguments.seed, wholes, home), cases
                    )
                    findings = filter(None, results)
                    for finding in findings:
                        found += 1
                        print(finding, flush=True)
            else:
                targets = [*pipeline_targets(wholes[0]), *training_targets()]
                for finding in fuzz_in_process(kind, arguments.seed, cases, targets, home):
                    found += 1
                    print(finding, flush=True)
            took = time.monotonic() - started
            print(f"{kind}: {len(cases):,} cases in {took:.0f} s", file=sys.stderr, flush=True)
    finally:
        if arguments.keep is None:
            shutil.rmtree(home, ignore_errors=True)
    print(f"{found} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
