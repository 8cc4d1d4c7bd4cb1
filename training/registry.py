"""The registry of evaluated models: registers one, and promotes it if it is good enough.

A registry is a folder: ``models/NAME.json`` for every model that was judged, and ``promoted.json``,
a copy of the entry of the best so far. Files appear whole.
"""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from schemas.fields import doc
from schemas.manifest import major
from schemas.small_files import SmallFileError, convert, decode_json, fault_of, read_small
from training.durable_files import write_file
from training.errors import RegistryError
from training.evaluation.results import (
    RESULTS_NAME,
    RESULTS_VERSION,
    ModelDifference,
    Results,
    SuiteResult,
)
from training.run.folder import why_unfinished
from training.validation.bootstrap import Estimate

REGISTRY_VERSION = "2.1.0"
"""Semantic version of the layout of an entry."""
PROMOTED_NAME = "promoted.json"
MODELS_NAME = "models"
OF_VOTES = ("held-out", "validation")
"""Suites of the votes that a model was trained for."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

Decision = Literal["first", "better", "no worse", "worse", "below baselines", "unfinished"]
REFUSED: frozenset[Decision] = frozenset({"worse", "below baselines", "unfinished"})
"""Decisions after which a model is not promoted, unless that is forced."""


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
    decision: Decision
    forced: Annotated[bool, doc("promoted in spite of the decision (--force)")] = False
    reasons: Annotated[tuple[str, ...], doc("a sentence per suite that decided; empty for others")]

    @property
    def is_promoted(self) -> bool:
        """Whether it was promoted."""
        return self.forced or self.decision not in REFUSED


def judge_and_register(
    model: str,
    *,
    name: str,
    results: Results,
    registry: Path,
    commit: str | None = None,
    max_drop: float,
    force: bool = False,
) -> Entry:
    """Judge a model by its results, write its entry, and promote it unless that refuses it.

    A model that is promoted already stays so, with its entry as it is. ``force`` promotes it in
    spite of the decision. Raises RegistryError.
    """
    if not _NAME.fullmatch(name):
        raise RegistryError(f"--name {name}: letters, digits, '.', '_' and '-' only")
    if not 0 <= max_drop <= 1:
        raise RegistryError(f"--max-drop {max_drop:g}: between 0 and 1")
    if results.limit is not None:
        raise RegistryError("the results are of a trial (--limit); evaluate without it")
    if not _same_model(results.result.model, model):
        raise RegistryError(f"the results are of {results.result.model}, not of {model}")
    promoted = read_promoted(registry)
    if promoted is not None and promoted.name == name:
        if promoted.fingerprint != results.result.fingerprint:
            raise RegistryError(f"{name} is promoted, and has other weights; choose a new name")
        return promoted
    entry = judge(model, name, results, promoted, commit, max_drop)
    if force and entry.decision in REFUSED:
        entry = msgspec.structs.replace(entry, forced=True)
    _write(registry / MODELS_NAME / f"{name}.json", entry)
    if entry.is_promoted:
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
    unfinished = tuple(filter(None, (results.result.unfinished or why_unfinished(Path(model)),)))
    floor = () if better else tuple(_baselines_not_beaten(suites))
    decision: Decision
    if unfinished:
        decision, reasons = "unfinished", unfinished
    elif worse:
        decision, reasons = "worse", worse
    elif floor:
        decision, reasons = "below baselines", floor
    elif better:
        decision, reasons = "better", better
    else:
        decision, reasons = "first" if promoted is None else "no worse", ()
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
        decision=decision,
        reasons=reasons,
    )


def differences(results: Results, promoted: Entry) -> dict[str, Estimate]:
    """New − promoted by suite, for the headlines.

    Raises RegistryError where the results do not compare with the model that is promoted now.
    """
    matching = [one for one in results.compared if one.result.fingerprint == promoted.fingerprint]
    if not matching:
        raise RegistryError(
            f"the results are not compared with {promoted.name}, which is promoted; run evaluate "
            f"with --compare {promoted.model}"
        )
    # `evaluate` gives the other model minus the first.
    by_figure = {(one.suite, one.figure): one for one in matching[0].differences}
    return {
        suite.name: _turned(by_figure[suite.name, suite.headline.name])
        for suite in results.result.suites
    }


def _turned(found: ModelDifference) -> Estimate:
    other = found.difference
    return Estimate(0 - other.value, 0 - other.high, 0 - other.low)


def _baselines_not_beaten(suites: Sequence[SuiteResult]) -> Iterator[str]:
    """Say which scorers that read no text a model does not beat by its whole interval.

    On held-out votes, where there are any: on a benchmark that was made against such scorers they
    are no floor.
    """
    of_votes = [suite for suite in suites if suite.name in OF_VOTES]
    for suite in of_votes or suites:
        for name, baseline in suite.headline.baselines.items():
            if not baseline.ahead.low > 0:
                yield (
                    f"{suite.name}: {in_points(baseline.ahead)} ahead of {name!r}, which reads no "
                    "text; the whole interval must be above 0"
                )


def _falls(found: dict[str, Estimate], max_drop: float) -> Iterator[str]:
    for suite, one in found.items():
        if not all(map(math.isfinite, (one.value, one.low, one.high))):
            yield f"{suite}: the difference is not a finite number"
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
    stands = {
        "first": "it is the first, and better than every scorer that reads no text",
        "better": f"better{against}",
        "no worse": f"not shown to be worse{against}",
        "worse": f"worse{against}" if entry.compared_with else "its rewards are broken",
        "below baselines": "not shown to be better than scorers that read no text",
        "unfinished": "its run has not finished",
    }[entry.decision]
    if entry.forced:
        yield f"{entry.name} is promoted by --force, although: {stands}"
    else:
        yield f"{entry.name} is {'' if entry.is_promoted else 'not '}promoted: {stands}"
    for suite, figure in entry.figures.items():
        one = entry.differences.get(suite)
        difference = f", {in_points(one)}" if one is not None else ""
        yield f"  {suite}: {100 * figure.value:.1f} %{difference}"
    yield from (f"  because of {reason}" for reason in entry.reasons)


def read_promoted(registry: Path) -> Entry | None:
    """The entry that is promoted; None before the first. Raises RegistryError."""
    path = registry / PROMOTED_NAME
    try:
        return _decode_entry(read_small(path))
    except FileNotFoundError:
        return None
    except (OSError, SmallFileError) as error:
        raise RegistryError(f"{path}: {fault_of(error)}") from None


def _decode_entry(content: bytes) -> Entry:
    """Read an entry, also one of layout 1, whose ``verdict`` is the ``decision`` of today."""
    fields = decode_json(content, dict[str, Any])
    if "verdict" in fields and "decision" not in fields:
        fields["decision"] = fields.pop("verdict")
        fields["version"] = REGISTRY_VERSION
    return convert(fields, Entry)


def read_results(folder: Path) -> Results:
    """Read what ``forumprefs evaluate`` has written; raises RegistryError."""
    path = folder / RESULTS_NAME
    try:
        content = read_small(path)
        version = decode_json(content, _Layout).version
        if major(version) != major(RESULTS_VERSION):
            raise RegistryError(
                f"{path}: layout {version}, but this release reads {RESULTS_VERSION}; run "
                "forumprefs evaluate again (scores are kept, so it takes a moment)"
            )
        return decode_json(content, Results)
    except OSError as error:
        raise RegistryError(f"{path}: {error.strerror}; run forumprefs evaluate first") from None
    except SmallFileError as error:
        raise RegistryError(f"{path}: {error}") from None


class _Layout(msgspec.Struct):
    version: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,9}\.")] = "1.0.0"


def _same_model(first: str, second: str) -> bool:
    return first == second or Path(first).resolve() == Path(second).resolve()


def _write(path: Path, entry: Entry) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, msgspec.json.format(msgspec.json.encode(entry)) + b"\n")
    except OSError as error:
        raise RegistryError(f"{path}: {error.strerror}") from None
