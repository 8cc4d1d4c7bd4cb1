"""The datasets of a plan: what is curated, and how arms and held-out pairs are made of it."""

import glob
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa

from pipeline.ablate.controls import ABOUT, no_votes, shuffled_labels
from pipeline.ablate.equal_pairs import PairSize, equal_pairs, unordered
from pipeline.ablate.fair_pairs import FairRules, fair_pairs
from pipeline.ablate.made_folder import read_table, write_made
from pipeline.ablate.plan import Arm, Plan, Suite
from pipeline.errors import UsageError
from schemas.words import count_words_and_signs

CONTROLS: Final = {"no_votes": no_votes, "shuffled_labels": shuffled_labels}


class Curation(msgspec.Struct, frozen=True, kw_only=True):
    """One run of ``forumprefs curate``, which several arms may share."""

    name: str
    """Of its folder."""
    flags: tuple[str, ...]
    """Of the command, without ``--output``."""


def curation(plan: Plan, votes: str, own: Mapping[str, Any]) -> Curation:
    """What has to be curated for a label: the plan's recipe, and ``own`` options over it."""
    options = {**plan.curate, **own}
    flags = [
        *(part for place in plan.input for part in ("--input", place)),
        *(f"--votes={votes}", f"--split={plan.shares}", f"--seed={plan.seed}"),
        *(_flag(name, value) for name, value in sorted(options.items())),
    ]
    digest = hashlib.sha256("\0".join(flags).encode()).hexdigest()
    return Curation(name=f"{votes}-{digest[:8]}", flags=tuple(flags))


def curation_of(plan: Plan, what: Arm | Suite) -> Curation:
    """The curation of an arm, or of a suite of held-out pairs."""
    return curation(plan, what.votes, what.curate if isinstance(what, Arm) else {})


def _flag(name: str, value: Any) -> str:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    if isinstance(value, list):
        return f"--{flag}={','.join(map(str, value))}"
    return f"--{flag}={value}"


def input_state(plan: Plan) -> list[list[Any]]:
    """Paths, sizes and times of the local inputs: what changes where somebody changed them."""
    found: list[list[Any]] = []
    for entry in plan.input:
        place = entry.partition("=")[2]
        for name in sorted(glob.glob(place)) or [place]:  # noqa: PTH207 absolute ones, too
            for path in sorted(_files(Path(name))):
                state = path.stat()
                found.append([str(path), state.st_size, state.st_mtime_ns])
    return found


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in names)


def arm_table(arm: Arm, folder: Path, seed: int) -> pa.Table:
    """The pairs of an arm before they are cut, made from those that were curated for it."""
    table = read_table(folder)
    if not table.num_rows:
        raise UsageError(f"arm {arm.name}: {folder} has no pairs")
    return CONTROLS[arm.control](table, seed) if arm.control else table


def sizes_of(table: pa.Table) -> list[PairSize]:
    """What the cut looks at, of each pair."""
    names = ("thread_id", "chosen_id", "rejected_id", "split", "prompt", "chosen", "rejected")
    columns = [table[name].to_pylist() for name in names]
    return [
        PairSize(
            unordered(thread, chosen_id, rejected_id),
            split,
            sum(map(count_words_and_signs, texts)),
        )
        for thread, chosen_id, rejected_id, split, *texts in zip(*columns, strict=True)
    ]


def make_arms(plan: Plan, folders: Mapping[str, Path], output: Path) -> dict[str, str]:
    """Write all arms below ``output``; returns the digest of each one's manifest.

    ``folders`` are the curated ones by arm. Memory: the pairs of one arm, and the sizes of all.
    Raises UsageError where nothing is left of an arm.
    """
    sizes = {arm.name: sizes_of(arm_table(arm, folders[arm.name], plan.seed)) for arm in plan.arms}
    if plan.equal:
        kept = equal_pairs(sizes, plan.seed)
    else:
        kept = {name: list(range(len(pairs))) for name, pairs in sizes.items()}
    if not all(kept.values()):
        raise UsageError(
            "the arms have no pairs of equal length in common; give more threads, leave the "
            "smallest arm out, or say equal = false"
        )
    digests = {}
    for arm in plan.arms:
        table = arm_table(arm, folders[arm.name], plan.seed).take(pa.array(kept[arm.name]))
        why = (
            ABOUT[arm.control]
            if arm.control
            else "pairs that were chosen so that ways of labelling can be compared; the whole "
            "dataset is the one that they come from"
        )
        digests[arm.name] = write_made(table, folders[arm.name], output / arm.name, why)
    return digests


def make_suite(suite: Suite, source: Path, output: Path) -> tuple[str, int]:
    """Write the pairs of a suite; returns the digest of its manifest and how many there are.

    Raises UsageError where there are none.
    """
    rules = FairRules(suite.same_day, suite.min_votes, suite.min_confidence)
    table = fair_pairs(read_table(source), rules)
    if not table.num_rows:
        raise UsageError(
            f"suites, {suite.name}: no pair passes its thresholds ({rules}); lower them"
        )
    why = "held-out pairs that models are judged on; trained on, they would judge nothing"
    return write_made(table, source, output, why), table.num_rows
