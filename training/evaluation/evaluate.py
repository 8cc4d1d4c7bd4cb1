"""``forumprefs evaluate``: scores models on suites and writes what the scores mean."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.text import Text

from schemas.exit_codes import ExitCode
from training.checkpoints.checkpoint import checkpoints, find_checkpoint_damage, load_trainer_state
from training.console import ProgressDisplay, make_console
from training.durable_files import write_file
from training.errors import ConfigError, MemoryShortageError, SuiteError, TemplateError
from training.evaluation.contamination import contamination_warnings
from training.evaluation.items import Scores
from training.evaluation.markdown import as_markdown
from training.evaluation.models import (
    DEFAULT_BETA,
    ModelLocation,
    Scored,
    find_model,
)
from training.evaluation.open_model import check_model_options, model_settings, open_model
from training.evaluation.policy_scores import variants
from training.evaluation.results import (
    RESULTS_NAME,
    CheckpointPoint,
    Comparison,
    ModelResult,
    Results,
    SuiteResult,
)
from training.evaluation.score_cache import ScoreCache, ask_of_items, count_cut, rewards_of
from training.evaluation.stability import stability
from training.evaluation.suite_results import (
    PreparedSuite,
    group_results,
    paired_differences,
    prepare,
    suite_result,
)
from training.evaluation.suites.registry import load_suite
from training.evaluation.terminal import summary
from training.evaluation.uncertainty import HELD_OUT, vote_intervals
from training.memory_errors import batch_remedy, memory_errors
from training.model.source import ModelSource
from training.run.folder import CHECKPOINTS_NAME, why_unfinished
from training.uncertainty.intervals import IntervalFigures
from training.validation.bootstrap import FEW_UNITS

MARKDOWN_NAME = "results.md"
PAGE_NAME = "index.html"


@dataclass(frozen=True)
class _Scored:
    """A model's scores on every suite."""

    name: str
    found: ModelLocation
    fingerprint: str
    commit: str | None
    ran_its_code: bool
    reads: str
    scores: list[Scores]
    cut: list[int]
    """Responses of each suite that were not read whole."""


def evaluate(arguments: argparse.Namespace) -> int:
    """Score what is asked for, write and print the results; returns the exit code."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    console = make_console(quiet=arguments.quiet)
    try:
        with memory_errors(lambda: batch_remedy(arguments.batch_tokens, "figures stay the same")):
            results = _evaluate(arguments, console)
    except (ConfigError, SuiteError, TemplateError) as error:
        errors.print(Text(f"forumprefs evaluate: {error}"))
        return ExitCode.USAGE
    except MemoryShortageError as error:
        errors.print(Text(f"forumprefs evaluate: {error}"))
        return ExitCode.FAILED
    except KeyboardInterrupt:
        errors.print(Text("forumprefs evaluate: interrupted; the same command continues from here"))
        return ExitCode.INTERRUPTED
    output = Path(arguments.output)
    content = msgspec.json.format(msgspec.json.encode(results)) + b"\n"
    write_file(output / RESULTS_NAME, content)
    write_file(output / MARKDOWN_NAME, as_markdown(results).encode())
    written = [RESULTS_NAME, MARKDOWN_NAME]
    from training.evaluation.page import as_page  # matplotlib, which the rest does not need

    write_file(output / PAGE_NAME, as_page(results).encode())
    written.append(PAGE_NAME)
    if arguments.json:
        sys.stdout.write(content.decode())
    elif not arguments.quiet:
        screen = make_console(sys.stdout)
        screen.print(summary(results))
        screen.print(f"\nwritten: {', '.join(written)} in {output}", markup=False, soft_wrap=True)
    return ExitCode.FINISHED


def _evaluate(arguments: argparse.Namespace, console: Console) -> Results:
    for name, minimum in (("bootstrap", 20), ("seed", 0), ("last", 2)):
        if getattr(arguments, name) < minimum:
            raise ConfigError(f"--{name.replace('_', '-')}: at least {minimum}")
    if arguments.limit is not None and arguments.limit < 1:
        raise ConfigError("--limit: at least 1")
    if not arguments.output:
        raise ConfigError("--output is empty; name a folder")
    check_model_options(arguments)
    if arguments.kind != "reward" and arguments.checkpoints:
        raise ConfigError("--checkpoints are of a reward model's run (--kind reward)")
    if arguments.kind == "density-ratio" and arguments.reference is None:
        raise ConfigError("--kind density-ratio needs a weaker model: --reference MODEL")
    asked = [entry.partition("=")[0].lower().replace("_", "-") for entry in arguments.benchmark]
    if twice := {name for name in asked if asked.count(name) > 1}:
        raise SuiteError(f"{twice.pop()} is named twice; give a folder or a pattern of its files")
    if arguments.revision is not None:
        ModelSource.of(arguments.model, revision=arguments.revision)  # of a model on the Hub only
        arguments.model = f"{arguments.model}@{arguments.revision}"
    found, *others_found = map(find_model, (arguments.model, *arguments.compare))
    saved = _whole_checkpoints(found, arguments) if arguments.checkpoints else []
    output = Path(arguments.output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output {output}: {error.strerror}") from None
    suites = []
    for entry in arguments.benchmark:
        name, _, location = entry.partition("=")
        with console.status(f"reading {name}"):
            loaded = load_suite(name, location, arguments.limit)
            suites.append(prepare(loaded, n=arguments.bootstrap, seed=arguments.seed))
    needed = others_found if arguments.reference is None else [found, *others_found]
    for place in needed:  # a model that cannot be read must not cost the scores of others
        open_model(place, arguments)
    reference = None
    if arguments.reference is not None:
        name, place = arguments.reference, find_model(arguments.reference)
        reference = _ask(name, place, suites, arguments, console, option="--reference")
    main, *others = _score(arguments.model, found, suites, arguments, console, reference)
    for name, place in zip(arguments.compare, others_found, strict=True):
        others += _score(name, place, suites, arguments, console, reference)
    compared = [
        Comparison(
            result=_model_result(other, suites, arguments),
            differences=tuple(
                difference
                for suite, mine, theirs in zip(suites, main.scores, other.scores, strict=True)
                for difference in paired_differences(suite, mine, theirs)
            ),
        )
        for other in others
    ]
    result = _model_result(main, suites, arguments)
    points = _checkpoint_points(saved, suites, arguments, console)
    headlines = {
        suite.name: [
            one.headline.value
            for comparison in compared
            for one in comparison.result.suites
            if one.name == suite.name
        ]
        for suite in suites
    }
    return Results(
        kind=arguments.kind,
        seed=arguments.seed,
        bootstrap=arguments.bootstrap,
        limit=arguments.limit,
        result=result,
        compared=tuple(compared),
        checkpoints=points,
        stability=stability(points, arguments.last, headlines),
        warnings=_warnings(arguments.limit, [result, *(one.result for one in compared)]),
    )


class _Answers(NamedTuple):
    """What a model says of the items of every suite."""

    name: str
    fingerprint: str
    commit: str | None
    reads: str
    suites: list[list[list[Scored]]]
    cut: list[int]


def _ask(
    name: str,
    found: ModelLocation,
    suites: Sequence[PreparedSuite],
    arguments: argparse.Namespace,
    console: Console,
    option: str = "--model",
) -> _Answers:
    with console.status(f"loading {name}"):
        scorer = open_model(found, arguments, option)
    answers, cut = [], []
    with ScoreCache(Path(arguments.output) / "scores", scorer.fingerprint) as cache:
        for suite in suites:
            progress = ProgressDisplay(
                console, f"{name} on {suite.name}", unit="responses", transient=True
            )
            try:
                answers.append(ask_of_items(scorer, suite.items, cache, progress))
            finally:
                progress.end()
            cut.append(count_cut(suite.items, answers[-1]))
    return _Answers(name, scorer.fingerprint, scorer.commit, scorer.reads, answers, cut)


def _score(
    name: str,
    found: ModelLocation,
    suites: Sequence[PreparedSuite],
    arguments: argparse.Namespace,
    console: Console,
    reference: _Answers | None = None,
) -> list[_Scored]:
    """A model's scores; of a language model each form of them, that of its kind first."""
    answers = _ask(name, found, suites, arguments, console)
    whole = _Scored(
        name,
        found,
        answers.fingerprint,
        answers.commit,
        arguments.trust_remote_code,
        answers.reads,
        [rewards_of(suite) for suite in answers.suites],
        answers.cut,
    )
    if arguments.kind == "reward":
        return [whole]
    other = None if reference is None else reference.suites
    beta = DEFAULT_BETA if arguments.beta is None else arguments.beta
    return [
        replace(
            whole,
            name=f"{name} ({variant.label})",
            reads=f"{variant.about}: {_read_by(answers.reads, reference)}",
            scores=variant.scores,
            cut=variant.cut,
        )
        for variant in variants(
            arguments.kind, [suite.items for suite in suites], answers.suites, other, beta
        )
    ]


def _read_by(reads: str, reference: _Answers | None) -> str:
    if reference is None or reference.reads == reads:
        return reads
    return f"{reads}; {reference.name} with {reference.reads}"


def _model_result(
    scored: _Scored, suites: Sequence[PreparedSuite], arguments: argparse.Namespace
) -> ModelResult:
    warnings = contamination_warnings(scored.found.dataset, [suite.loaded for suite in suites])
    return ModelResult(
        model=scored.name,
        fingerprint=scored.fingerprint,
        commit=scored.commit,
        ran_its_code=scored.ran_its_code,
        reads=scored.reads,
        trained_on=scored.found.dataset,
        unfinished=why_unfinished(Path(scored.found.path)),
        warnings=(warnings[""],) if warnings else (),
        groups=group_results(suites, scored.scores),
        suites=tuple(
            _suite_result(
                scored,
                suite,
                scores,
                cut,
                [warnings[suite.name]] if suite.name in warnings else [],
                arguments,
            )
            for suite, scores, cut in zip(suites, scored.scores, scored.cut, strict=True)
        ),
    )


def _suite_result(
    scored: _Scored,
    suite: PreparedSuite,
    scores: Scores,
    cut: int,
    warnings: list[str],
    arguments: argparse.Namespace,
) -> SuiteResult:
    """Of a suite; an uncertainty that does not belong to what was scored are a warning, no end."""
    intervals = None
    try:
        intervals = _vote_intervals(scored.found, suite, arguments)
    except ConfigError as error:
        warnings = [*warnings, f"no intervals for shares of votes: {error}"]
    result = suite_result(suite, scores, warnings, cut)
    return msgspec.structs.replace(result, vote_intervals=intervals)


def _vote_intervals(
    found: ModelLocation, suite: PreparedSuite, arguments: argparse.Namespace
) -> IntervalFigures | None:
    """Of held-out votes, all of them; they are read once more, since pairs need features."""
    if arguments.kind != "reward" or suite.name != HELD_OUT or arguments.limit is not None:
        return None
    return vote_intervals(
        found, suite.loaded.location, seed=arguments.seed, **model_settings(arguments)
    )


def _whole_checkpoints(found: ModelLocation, arguments: argparse.Namespace) -> list[Path]:
    """Checkpoints of the run, none of them damaged: a curve without one would be another curve."""
    saved = checkpoints(found.run / CHECKPOINTS_NAME) if found.run is not None else []
    if not saved:
        raise ConfigError(f"--checkpoints: {arguments.model} is not a run folder with checkpoints")
    for folder in saved:
        if damage := find_checkpoint_damage(folder):
            raise ConfigError(
                f"--checkpoints: {folder} is damaged ({damage}); remove that folder to score the "
                "others"
            )
    return saved


def _checkpoint_points(
    saved: Sequence[Path],
    suites: Sequence[PreparedSuite],
    arguments: argparse.Namespace,
    console: Console,
) -> tuple[CheckpointPoint, ...]:
    points = []
    for folder in saved:
        state = load_trainer_state(folder)
        (scored,) = _score(str(folder), find_model(str(folder)), suites, arguments, console)
        values = {}
        for suite, scores in zip(suites, scored.scores, strict=True):
            values[suite.name] = suite.headline(scores)
        points.append(CheckpointPoint(step=state.step, pairs=state.pairs, values=values))
    return tuple(points)


def _warnings(limit: int | None, models: Sequence[ModelResult]) -> tuple[str, ...]:
    """What a reader must know; those of other models name them."""
    found = []
    if limit is not None:
        found.append(f"only {limit:,} items of each suite were scored: compare with nothing")
    for suite in models[0].suites:
        if suite.prompts < FEW_UNITS:
            found.append(
                f"{suite.title}: only {suite.prompts:,} prompts; intervals over so few are too "
                "narrow"
            )
    for number, model in enumerate(models):
        name = f"{model.model}: " if number else ""
        found += [f"{name}{one}" for one in _model_warnings(model)]
    return tuple(found)


def _model_warnings(model: ModelResult) -> list[str]:
    """One sentence a kind, however many suites it is about."""
    found = list(model.warnings)
    if model.unfinished is not None:
        found.append(model.unfinished)
    if model.trained_on is None and any(suite.sha256 for suite in model.suites):
        found.append(
            "nothing says what the model was trained on, so it may have seen the suites' texts"
        )
    kinds = (
        (
            "responses were read without a part of them or of their prompt (--max-length): {}",
            lambda suite: f"{suite.cut:,}" if suite.cut else "",
        ),
        (
            "rewards are not finite numbers, and comparisons with them count as wrong: {}",
            lambda suite: f"{suite.non_finite:,}" if suite.non_finite else "",
        ),
        (
            "comparisons that are ties, which published rules count as wrong (bf16 heads make "
            "ties): {}",
            lambda suite: (
                f"{suite.ties / suite.comparisons:.0%}"
                if suite.ties * 20 > suite.comparisons
                else ""
            ),
        ),
        (
            "under style control the model's scores count against themselves, and that figure says "
            "nothing for the model (weight): {}",
            lambda suite: (
                f"{suite.style.model_weight.value:+.2f}"
                if suite.style is not None and suite.style.model_weight.value <= 0
                else ""
            ),
        ),
    )
    for sentence, amount in kinds:
        there = [f"{suite.title} {amount(suite)}" for suite in model.suites if amount(suite)]
        if there:
            found.append(sentence.format(", ".join(there)))
    return found
