"""``forumprefs promote``: registers an evaluated model, and promotes it unless it is worse.

A registry is a folder: ``models/NAME.json`` for every model that was judged, and ``promoted.json``,
a copy of the entry that stands for the best so far. Files appear whole.
"""

import argparse
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from schemas.fields import doc
from training.evaluation.figures import Estimate
from training.evaluation.results import RESULTS_NAME, Difference, Results
from training.registry_arguments import EXIT_REFUSED, MAX_DROP

EXIT_USAGE = 2

REGISTRY_VERSION = "1.0.0"
"""Semantic version of the layout of an entry."""
PROMOTED_NAME = "promoted.json"
MODELS_NAME = "models"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class PromotionError(Exception):
    """What a person has to mend; the message says how."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A model that was judged."""

    version: Annotated[str, doc("of this layout")] = REGISTRY_VERSION
    name: str
    model: Annotated[str, doc("run folder, as given to `evaluate`")]
    fingerprint: Annotated[str, doc("of the weights and of how texts are read")]
    dataset: Annotated[str | None, doc("what it was trained on, e.g. acme/prefs@v1.2.0")]
    commit: Annotated[str | None, doc("of the dataset's version; null: not given")]
    figures: Annotated[dict[str, Estimate], doc("headline with its 95 % interval, by suite")]
    compared_with: Annotated[str | None, doc("name of the model that was promoted then")]
    differences: Annotated[dict[str, Estimate], doc("this − that model, headlines, by suite")]
    max_drop: float
    verdict: Literal["first", "better", "no worse", "worse"]
    reasons: Annotated[tuple[str, ...], doc("a sentence per suite that decided; empty for others")]


def promote(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs promote``; returns the exit code."""
    try:
        entry = judge_and_register(
            arguments.model,
            name=arguments.name,
            results=read_results(Path(arguments.results)),
            registry=Path(arguments.registry),
            commit=arguments.commit,
            max_drop=arguments.max_drop,
        )
    except PromotionError as error:
        print(f"forumprefs promote: {error}", file=sys.stderr)
        return EXIT_USAGE
    for line in describe(entry):
        print(line)
    return EXIT_REFUSED if entry.verdict == "worse" else 0


def judge_and_register(
    model: str,
    *,
    name: str,
    results: Results,
    registry: Path,
    commit: str | None = None,
    max_drop: float = MAX_DROP,
) -> Entry:
    """Judge a model by its results, write its entry, and promote it unless it is worse.

    A model that is promoted already stays so, with its entry as it is. Raises PromotionError.
    """
    if not _NAME.fullmatch(name):
        raise PromotionError(f"--name {name}: letters, digits, '.', '_' and '-' only")
    if not 0 <= max_drop <= 1:
        raise PromotionError(f"--max-drop {max_drop:g}: between 0 and 1")
    if results.limit is not None:
        raise PromotionError("the results are of a trial (--limit); evaluate without it")
    if not _same_model(results.result.model, model):
        raise PromotionError(f"the results are of {results.result.model}, not of {model}")
    promoted = read_promoted(registry)
    if promoted is not None and promoted.name == name:
        if promoted.fingerprint != results.result.fingerprint:
            raise PromotionError(f"{name} is promoted, and has other weights; choose a new name")
        return promoted
    entry = judge(model, name, results, promoted, commit, max_drop)
    (registry / MODELS_NAME).mkdir(parents=True, exist_ok=True)
    _write(registry / MODELS_NAME / f"{name}.json", entry)
    if entry.verdict != "worse":
        _write(registry / PROMOTED_NAME, entry)
    return entry


def judge(
    model: str,
    name: str,
    results: Results,
    promoted: Entry | None,
    commit: str | None,
    max_drop: float,
) -> Entry:
    """Compare a model with the promoted one, by the rule in ``forumprefs promote --help``."""
    suites = results.result.suites
    broken = tuple(
        f"{suite.name}: {suite.non_finite:,} rewards are not finite numbers"
        for suite in suites
        if suite.non_finite
    )
    found = {} if promoted is None else differences(results, promoted)
    worse = (*broken, *_falls(found, max_drop))
    better = tuple(
        f"{suite}: {in_points(one)}, its whole interval above 0"
        for suite, one in found.items()
        if one.low > 0
    )
    verdict: Literal["first", "better", "no worse", "worse"] = "no worse"
    if worse:
        verdict = "worse"
    elif promoted is None:
        verdict = "first"
    elif better:
        verdict = "better"
    return Entry(
        name=name,
        model=model,
        fingerprint=results.result.fingerprint,
        dataset=results.result.trained_on,
        commit=commit,
        figures={
            suite.name: Estimate(suite.headline.value, suite.headline.low, suite.headline.high)
            for suite in suites
        },
        compared_with=None if promoted is None else promoted.name,
        differences=found,
        max_drop=max_drop,
        verdict=verdict,
        reasons=worse or better,
    )


def differences(results: Results, promoted: Entry) -> dict[str, Estimate]:
    """New − promoted by suite, for the headlines.

    Raises PromotionError where the results do not compare with the model that is promoted now.
    """
    matching = [one for one in results.compared if one.result.fingerprint == promoted.fingerprint]
    if not matching:
        raise PromotionError(
            f"the results are not compared with {promoted.name}, which is promoted; run evaluate "
            f"with --compare {promoted.model}"
        )
    # `evaluate` gives the other model minus the first.
    by_figure = {(one.suite, one.figure): one for one in matching[0].differences}
    return {
        suite.name: _turned(by_figure[suite.name, suite.headline.name])
        for suite in results.result.suites
    }


def _turned(found: Difference) -> Estimate:
    other = found.difference
    return Estimate(0 - other.value, 0 - other.high, 0 - other.low)


def _falls(found: dict[str, Estimate], max_drop: float) -> Iterator[str]:
    for suite, one in found.items():
        if not all(map(math.isfinite, (one.value, one.low, one.high))):
            yield f"{suite}: the difference is no finite number"
        elif one.high < 0:
            yield f"{suite}: {in_points(one)}, its whole interval below 0"
        elif one.value < -max_drop:
            yield f"{suite}: {in_points(one)}, a fall of more than {100 * max_drop:g} points"


def in_points(one: Estimate) -> str:
    """A difference in percentage points with its interval."""
    return f"{100 * one.value:+.1f} points [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"


def describe(entry: Entry) -> Iterator[str]:
    """Say what came of it."""
    against = f" than {entry.compared_with}" if entry.compared_with else ""
    yield {
        "first": f"{entry.name} is promoted: it is the first",
        "better": f"{entry.name} is promoted: better{against}",
        "no worse": f"{entry.name} is promoted: not shown to be worse{against}",
        "worse": f"{entry.name} is not promoted: worse{against}",
    }[entry.verdict]
    for suite, figure in entry.figures.items():
        one = entry.differences.get(suite)
        difference = f", {in_points(one)}" if one is not None else ""
        yield f"  {suite}: {100 * figure.value:.1f} %{difference}"
    yield from (f"  because of {reason}" for reason in entry.reasons)


def read_promoted(registry: Path) -> Entry | None:
    """The entry that is promoted; None before the first. Raises PromotionError."""
    path = registry / PROMOTED_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Entry)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise PromotionError(f"{path}: {error}") from None


def read_results(folder: Path) -> Results:
    """Read what ``forumprefs evaluate`` has written; raises PromotionError."""
    path = folder / RESULTS_NAME
    try:
        return msgspec.json.decode(path.read_bytes(), type=Results)
    except OSError as error:
        raise PromotionError(f"{path}: {error.strerror}; run forumprefs evaluate first") from None
    except msgspec.DecodeError as error:
        raise PromotionError(f"{path}: {error}") from None


def _same_model(first: str, second: str) -> bool:
    return first == second or Path(first).resolve() == Path(second).resolve()


def _write(path: Path, entry: Entry) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(entry)) + b"\n")
    partial.replace(path)
