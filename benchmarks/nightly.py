"""Run a fixed generated dump and compare counts, bytes and throughput with what is pinned.

    make bench-nightly
    python -m benchmarks.nightly --update

benchmarks/nightly.json has the pins. Counts must be equal: rows read, posts by stage and reason,
duplicates by rule, pairs and threads by split. So must the sha256 of every shard, on the versions
of the libraries that are pinned with them; on others they are not compared, and a line says so.
All of it holds for the job in one process and with two workers.
Throughput is that of the job in one process, relative to the bare loop over the same functions in
the same minutes (benchmarks/throughput.py), in posts per processor second; it must not fall below
the pinned minimum.

Exit code 0: all as pinned. 1: not, and each difference is a line. After a change that is meant,
`--update` writes what was found; the minimum stays as it is unless `--minimum` gives another.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.throughput import cpu, generate, median, take_turns

PINS = Path(__file__).with_name("nightly.json")
MODES = ("loop", "beam1", "beam2")
SEED = 1
COUNTED = (
    *("posts_read", "posts_kept", "duplicates", "rejected"),
    *("pairs", "threads", "stages", "other_records"),
)
"""Of the manifest's accounting."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one run found, or what it has to find."""

    posts: int
    """Size of the dump."""
    seed: int
    """Of the dump."""
    inputs: dict[str, str]
    """sha256 of each table, by name."""
    counts: dict[str, int]
    """By dotted name, such as ``stages.language.rejected.language``."""
    versions: dict[str, str]
    """Of Python and the packages that can change a byte, as the manifest names them."""
    shards: dict[str, str]
    """sha256, by path."""


class Pins(Figures, frozen=True, kw_only=True):
    """``nightly.json``."""

    minimum: float
    """Posts per CPU second, job in one process / bare loop."""


def read_figures(folder: Path, posts: int, seed: int) -> Figures:
    """Take from a dataset folder what is pinned of it."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    accounting = {name: manifest["accounting"][name] for name in COUNTED}
    accounting["stages"] = {stage.pop("stage"): stage for stage in accounting["stages"]}
    accounting["duplicates_by_rule"] = report["duplicates_by_rule"]
    accounting["rows"] = {shard["path"]: shard["rows"] for shard in manifest["shards"]}
    return Figures(
        posts=posts,
        seed=seed,
        inputs={file["name"]: file["sha256"] for file in manifest["inputs"]},
        counts=dict(sorted(flatten(accounting).items())),
        versions=manifest["versions"],
        shards={shard["path"]: shard["sha256"] for shard in manifest["shards"]},
    )


def flatten(counts: Mapping[str, Any], prefix: str = "") -> dict[str, int]:
    """Return nested counts by dotted names."""
    flat: dict[str, int] = {}
    for name, value in counts.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def compare_modes(found: Mapping[str, Figures], ratio: float, pins: Pins) -> list[str]:
    """Return the differences of each mode after its name; throughput is told once, where all is.

    Differences that all modes have are told once, too.
    """
    by_mode = {mode: compare(figures, ratio, pins) for mode, figures in found.items()}
    lines = dict.fromkeys(line for differences in by_mode.values() for line in differences)
    return [
        line
        if all(line in differences for differences in by_mode.values())
        else f"{', '.join(mode for mode, others in by_mode.items() if line in others)}: {line}"
        for line in lines
    ]


def compare(found: Figures, ratio: float, pins: Pins) -> list[str]:
    """Return a sentence for everything that is not as pinned; nothing when all is.

    A dump that differs is the only finding then: what comes of it says nothing about the job.
    """
    changed = sorted(
        name
        for name in found.inputs.keys() | pins.inputs.keys()
        if found.inputs.get(name) != pins.inputs.get(name)
    )
    if changed:
        return [
            f"the generated dump is another one ({', '.join(changed)}): numpy or "
            "benchmarks/generate_dump.py has changed; if it is meant to, run with --update"
        ]
    differences = [
        f"{name}: {_count(found.counts.get(name))}, pinned {_count(pins.counts.get(name))}"
        for name in sorted(found.counts.keys() | pins.counts.keys())
        if found.counts.get(name) != pins.counts.get(name)
    ]
    if same_versions(found, pins):
        differences += [
            f"{path}: its sha256 is not the pinned one, with the same libraries"
            for path in sorted(found.shards.keys() & pins.shards.keys())
            if found.shards[path] != pins.shards[path]
        ]
        differences += [
            f"{path}: {'not pinned' if path in found.shards else 'missing'}"
            for path in sorted(found.shards.keys() ^ pins.shards.keys())
        ]
    # A ratio that is not a number must not pass.
    if not ratio >= pins.minimum:
        differences.append(
            f"throughput: {ratio:.3f} of the bare loop's posts per CPU second, "
            f"at least {pins.minimum:.3f} is pinned"
        )
    return differences


def same_versions(found: Figures, pins: Figures) -> bool:
    """Whether equal bytes can be asked for."""
    return found.versions == pins.versions


def other_versions(found: Figures, pins: Figures) -> str:
    """Name the packages whose versions are not the pinned ones."""
    return ", ".join(
        f"{name} {found.versions.get(name, 'missing')} (pinned {pins.versions.get(name, 'none')})"
        for name in sorted(found.versions.keys() | pins.versions.keys())
        if found.versions.get(name) != pins.versions.get(name)
    )


def _count(value: int | None) -> str:
    return "none" if value is None else f"{value:,}"


def measure(posts: int, seed: int, rounds: int) -> tuple[dict[str, Figures], float]:
    """Generate the dump and run it.

    Returns what each mode of the job found, and the throughput of one process relative to the loop.
    """
    with tempfile.TemporaryDirectory() as temporary:
        dump = generate(Path(temporary), posts, seed)
        runs = take_turns(dump, Path(temporary), MODES, rounds)
        figures = {
            mode: read_figures(Path(temporary) / mode / "dataset", posts, seed)
            for mode in MODES
            if mode != "loop"
        }
    return figures, median(runs["loop"], cpu) / median(runs["beam1"], cpu)


def write_pins(path: Path, figures: Figures, minimum: float) -> None:
    """Write ``nightly.json``."""
    pins = Pins(**msgspec.structs.asdict(figures), minimum=minimum)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(pins), indent=1) + b"\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, compare, and say what differs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nightly",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pins", type=Path, default=PINS, help="file of the pins")
    parser.add_argument("--rounds", type=int, default=3, help="of loop and job (default: 3)")
    parser.add_argument("--update", action="store_true", help="pin what is found")
    parser.add_argument("--minimum", type=float, help="with --update: the least throughput")
    parser.add_argument("--posts", type=int, help="with --update: another size of the dump")
    given = parser.parse_args(arguments)
    for name in ("minimum", "posts"):
        if getattr(given, name) is not None and not given.update:
            parser.error(f"--{name} needs --update")
    if given.pins.is_file():
        pins = msgspec.json.decode(given.pins.read_bytes(), type=Pins)
    elif given.minimum is None or given.posts is None:
        parser.error(f"{given.pins} does not exist; make it: --update --posts N --minimum X")
    else:
        none = Figures(posts=0, seed=SEED, inputs={}, counts={}, versions={}, shards={})
        pins = Pins(**msgspec.structs.asdict(none), minimum=given.minimum)
    if given.posts is not None:
        pins = msgspec.structs.replace(pins, posts=given.posts)
    found, ratio = measure(pins.posts, pins.seed, given.rounds)
    figures = next(iter(found.values()))
    print(f"{pins.posts:,} posts: {ratio:.3f} of the bare loop's posts per CPU second")
    if given.update:
        if any(other != figures for other in found.values()):
            print(f"DIFFERENT: {' and '.join(found)} find different figures; nothing is pinned")
            return 1
        minimum = pins.minimum if given.minimum is None else given.minimum
        write_pins(given.pins, figures, minimum)
        print(f"{given.pins} is written")
        return 0
    if not same_versions(figures, pins):
        print(f"sha256 are not compared: {other_versions(figures, pins)}")
    differences = compare_modes(found, ratio, pins)
    for difference in differences:
        print(f"DIFFERENT: {difference}")
    if not differences:
        print(f"{len(pins.counts)} counts and {len(pins.shards)} shards as pinned")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
