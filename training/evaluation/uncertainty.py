"""Uncertainty of a model: fitted to its dataset, and held against votes that it has not seen."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.text import Text

from schemas.exit_codes import ExitCode
from schemas.small_files import SmallFileError, decode_json, read_small
from training.console import ProgressDisplay, make_console
from training.data.dataset import PairDataset
from training.errors import (
    ConfigError,
    MemoryShortageError,
    TemplateError,
    TrainingDatasetError,
)
from training.evaluation.models import (
    ModelLocation,
    TemplateScorer,
    choose_device,
    find_model,
    open_scorer,
)
from training.memory_errors import batch_remedy, memory_errors
from training.run.folder import RUN_NAME, why_unfinished
from training.uncertainty.fit import (
    PairReader,
    check_scores_are_votes,
    fit_uncertainty,
    voted_pairs,
)
from training.uncertainty.intervals import IntervalFigures, measure_intervals
from training.uncertainty.saved import (
    POSTERIOR_NAME,
    UNCERTAINTY_NAME,
    has_uncertainty,
    load_uncertainty,
    save_uncertainty,
    weights_of,
)
from training.uncertainty.vote_shares import (
    coverage_error,
    share_intervals,
    threads_for,
)

HELD_OUT = "held-out"
"""The suite whose votes no uncertainty was fitted to."""
WANTED_ERROR = 0.02
"""Of the coverage, by the number of threads that were calibrated on."""


class _Data(msgspec.Struct):
    prompt_weights: Literal["prompt", "pair"] = "prompt"
    min_confidence: float = 0.0
    max_margin: float | None = None
    max_pairs: int | None = None


class _Started(msgspec.Struct):
    """What is read of ``run.json``."""

    data: _Data


def put_beside(arguments: argparse.Namespace) -> int:
    """Fit an uncertainty and put it beside the model; returns the exit code."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        with memory_errors(lambda: batch_remedy(arguments.batch_tokens, "nothing was written")):
            said = _put_beside(arguments, make_console(quiet=arguments.quiet))
    except (ConfigError, TemplateError, TrainingDatasetError) as error:
        errors.print(Text(f"forumprefs uncertainty: {error}"))
        return ExitCode.USAGE
    except MemoryShortageError as error:
        errors.print(Text(f"forumprefs uncertainty: {error}"))
        return ExitCode.FAILED
    except OSError as error:  # a full disk
        errors.print(Text(f"forumprefs uncertainty: {error}"))
        return ExitCode.FAILED
    except KeyboardInterrupt:
        errors.print(Text("forumprefs uncertainty: interrupted; nothing was written"))
        return ExitCode.INTERRUPTED
    if not arguments.quiet:
        make_console(sys.stdout).print(said, markup=False, soft_wrap=True)
    return ExitCode.FINISHED


def _put_beside(arguments: argparse.Namespace, console: Console) -> str:
    for name, minimum in (("max_pairs", 1), ("batch_tokens", 16)):
        if getattr(arguments, name) < minimum:
            raise ConfigError(f"--{name.replace('_', '-')}: at least {minimum}")
    found = find_model(arguments.model)
    folder = Path(found.path)
    if not folder.is_dir():
        raise ConfigError(
            f"model {arguments.model}: no such folder; its uncertainty lies beside a model"
        )
    location = arguments.dataset or found.dataset
    if location is None:
        raise ConfigError(f"model {arguments.model}: no run says its dataset; name it (--dataset)")
    weights_of(folder)  # before hours of reading
    if not os.access(folder, os.W_OK):
        raise ConfigError(
            f"model {folder}: may not be written, and its uncertainty lies beside a model"
        )
    if (unfinished := why_unfinished(folder)) is not None:
        console.print(f"warning: {unfinished}", style="yellow", markup=False, soft_wrap=True)
    with console.status(f"loading {arguments.model}"):
        scorer = _open(
            found,
            device=choose_device(arguments.device),
            max_length=arguments.max_length,
            precision=arguments.precision,
            batch_tokens=arguments.batch_tokens,
        )
    progress = ProgressDisplay(console, arguments.model, unit="pairs", transient=True)
    reader = _reader(scorer, location, found, progress)
    try:
        bars = fit_uncertainty(reader, max_pairs=arguments.max_pairs)
    finally:
        progress.end()
    save_uncertainty(
        folder,
        bars,
        dataset=location,
        manifest_sha256=PairDataset(location, "train").manifest_sha256,
        reads=scorer.reads,
    )
    shares = bars.shares
    error = coverage_error(shares.threads, shares.level)
    more = (
        ""
        if error <= WANTED_ERROR
        else (
            f"; about {threads_for(WANTED_ERROR, shares.level):,} would fix it to "
            f"{100 * WANTED_ERROR:.0f} (curate with a larger validation split)"
        )
    )
    return (
        f"posterior of {bars.train_pairs:,} training pairs, prior precision "
        f"{bars.prior_precision:.3g}\n"
        f"{shares.level:.0%} intervals of vote shares: ±{shares.quantile:.2f} standard deviations, "
        f"from {shares.pairs:,} pairs of {shares.threads:,} validation threads (scale "
        f"{shares.scale:.3g}, dispersion {shares.dispersion:.2f})\n"
        f"so many threads fix what the intervals hold of new threads to {shares.level:.0%} ± "
        f"{100 * error:.1f} points{more}\n"
        f"written: {POSTERIOR_NAME}, {UNCERTAINTY_NAME} in {folder}"
    )


def _open(found: ModelLocation, **settings: Any) -> TemplateScorer:
    scorer = open_scorer(found, **settings)
    if not isinstance(scorer, TemplateScorer):
        raise ConfigError(
            f"model {found.path}: is read with {scorer.reads}; an uncertainty is of models "
            "that forumprefs train has written"
        )
    return scorer


def _reader(
    scorer: TemplateScorer, location: str, found: ModelLocation, progress: ProgressDisplay | None
) -> PairReader:
    begun = [False]

    def report(done: int, total: int) -> None:
        if progress is None:
            return
        if not begun[0]:
            progress.begin(total)
            begun[0] = True
        progress.update(done)
        if done == total:  # the next split counts from the beginning
            progress.end()
            begun[0] = False

    trained = _trained_with(found)
    return PairReader(
        location=location,
        loaded=scorer.loaded,
        device=scorer.device,
        batch_tokens=scorer.batch_tokens,
        prompt_weights=trained.prompt_weights,
        min_confidence=trained.min_confidence,
        max_margin=trained.max_margin,
        trained_pairs=trained.max_pairs,
        report=report,
    )


def _trained_with(found: ModelLocation) -> _Data:
    """Which pairs were trained on, and with which weights, as the run says."""
    if found.run is not None:
        try:
            return decode_json(read_small(found.run / RUN_NAME), _Started).data
        except (OSError, SmallFileError):
            pass
    return _Data()


def vote_intervals(
    found: ModelLocation, location: str, *, seed: int, **settings: Any
) -> IntervalFigures | None:
    """How many votes of the test split the model's intervals hold; None where it has none.

    ``settings`` are those of :func:`open_scorer`. Raises ConfigError, or TrainingDatasetError.
    """
    folder = Path(found.path)
    if not folder.is_dir() or not has_uncertainty(folder):
        return None
    check_scores_are_votes(location)
    posterior, record = load_uncertainty(folder)
    scorer = _open(found, intervals=True, **settings)
    pairs = voted_pairs(_reader(scorer, location, found, None), posterior, "test")
    if not len(pairs.share):
        return None
    low, high = share_intervals(pairs, record.shares)
    return measure_intervals(pairs, low, high, record.shares.level, seed=seed)
