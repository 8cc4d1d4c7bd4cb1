"""Trains and judges every arm of a job, keeps what is done, and says what the differences are.

    python -m training.ablation.run FOLDER

does what FOLDER/job.json asks, and writes FOLDER/results.json. ``forumprefs ablate`` starts it.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
from rich.console import Console

from schemas.ablation import (
    FORUM,
    JOB_NAME,
    RESULTS_NAME,
    WORDS,
    AblationJob,
    AblationResults,
    ArmJob,
    ArmSize,
)
from schemas.exit_codes import ExitCode
from schemas.pair import SPLITS
from schemas.small_files import SmallFileError, decode_json, fault_of, read_small
from training.ablation.features import (
    DAMAGED,
    Features,
    ModelReader,
    Reader,
    Text,
    WordReader,
    read_features,
)
from training.ablation.heads import HeadPairs, choose_ridge, fit_head, reweighted, tossed
from training.ablation.judge import ANY_FOLD, Judged, load_judged
from training.ablation.measure import suite_figures
from training.console import ProgressDisplay, make_console
from training.data.dataset import PairDataset, PairRows, concatenate
from training.durable_files import new_file, write_file
from training.errors import ConfigError, SuiteError, TemplateError, TrainingDatasetError
from training.losses.settings import LossConfig
from training.validation.bootstrap import FEW_UNITS
from training.validation.length import response_length
from training.validation.metrics import Floats

LAYOUT: Final = "1"
"""Of what cells hold; another one makes them anew."""


@dataclass(frozen=True)
class ArmPairs:
    """The pairs of an arm, as they were read."""

    job: ArmJob
    manifest: str
    """Digest."""
    rows: PairRows
    split: npt.NDArray[np.str_]

    def texts(self) -> Iterator[tuple[Text, Text]]:
        """(chosen, rejected) of each pair."""
        rows = self.rows
        for prompt, chosen, rejected in zip(rows.prompt, rows.chosen, rows.rejected, strict=True):
            yield Text(prompt, chosen), Text(prompt, rejected)


def read_arm(job: ArmJob) -> ArmPairs:
    """Read all splits of an arm's dataset; raises TrainingDatasetError."""
    parts, splits, manifest = [], [], ""
    for split in SPLITS:
        dataset = PairDataset(job.dataset, split)
        manifest = dataset.manifest_sha256
        for number in range(len(dataset.rows)):
            parts.append(dataset.read(number))
            splits += [split] * len(parts[-1])
    if not parts:
        raise TrainingDatasetError(f"{job.dataset}: has no pairs")
    return ArmPairs(job, manifest, concatenate(parts), np.array(splits, dtype=np.str_))


def size_of(arm: ArmPairs, ridges: Sequence[float]) -> ArmSize:
    """What an arm is trained on, in numbers."""
    rows = arm.rows
    lengths = np.array(
        [[response_length(text) for text in column] for column in (rows.chosen, rows.rejected)]
    )
    words = sum(map(response_length, rows.prompt)) + int(lengths.sum())
    longer = np.where(lengths[0] > lengths[1], 1.0, np.where(lengths[0] == lengths[1], 0.5, 0.0))
    return ArmSize(
        arm=arm.job.name,
        pairs=len(rows),
        questions=len(set(rows.thread_id)),
        words=words,
        longer=round(float(longer.mean()), 4),
        ridges=tuple(ridges),
    )


def head_pairs(arm: ArmPairs, features: Features) -> HeadPairs:
    """The pairs by their rows of the features."""
    rows = arm.rows
    texts = list(arm.texts())
    sites = {name: number for number, name in enumerate(sorted(set(rows.site)))}
    lengths = [
        np.array([response_length(text) for text in column], dtype=np.float64)
        for column in (rows.chosen, rows.rejected)
    ]
    return HeadPairs(
        chosen=features.rows(chosen for chosen, _ in texts),
        rejected=features.rows(rejected for _, rejected in texts),
        question=np.array(rows.thread_id, dtype=np.str_),
        split=arm.split,
        site=np.array([sites[name] for name in rows.site], dtype=np.int64),
        weight=1.0 / rows.prompt_pairs,
        confidence=rows.confidence,
        margin=rows.vote_margin,
        chosen_length=lengths[0],
        rejected_length=lengths[1],
    )


@dataclass
class HeadTrainer:
    """Trains the heads of a job and keeps what each says of the suites."""

    job: AblationJob
    folder: Path
    console: Console
    suites: Sequence[Judged]
    features: Features
    fingerprint: str
    """Of the features and the suites."""

    def __post_init__(self) -> None:
        self._places = [
            tuple(map(self.features.rows, zip(*suite.texts(), strict=True)))
            for suite in self.suites
        ]
        self._began = time.monotonic()
        self._made = 0

    def folds(self) -> list[str]:
        """Whose heads are needed: one for each split that is held out, and for none."""
        held = [name for suite in self.suites for name in np.unique(suite.fold).tolist()]
        return sorted({*held})

    def train(self, arms: Sequence[ArmPairs]) -> tuple[dict[str, list[list[Floats]]], list[Any]]:
        """By arm, [suite][seed] the differences [P]; and the penalties of each arm."""
        found: dict[str, list[list[Floats]]] = {}
        every_ridge = []
        for number, arm in enumerate(arms):
            by_seed, ridges, pairs = [], None, None
            for seed in range(self.job.seeds):
                path = self.folder / "cells" / f"{arm.job.name}-{seed}.npz"
                fingerprint = self._fingerprint(arm, seed)
                cell = load_cell(path, fingerprint, len(self.suites))
                if cell is None:
                    self._say(number, len(arms), arm, seed, anew=path.is_file())
                    pairs = pairs or head_pairs(arm, self.features)
                    ridges = ridges or self._ridges(arm, pairs)
                    cell = self._cell(arm, pairs, ridges, seed)
                    save_cell(path, fingerprint, ridges, cell)
                    self._made += 1
                else:
                    ridges, cell = cell
                by_seed.append(cell)
            found[arm.job.name] = [list(of_suite) for of_suite in zip(*by_seed, strict=True)]
            every_ridge.append(ridges)
        return found, every_ridge

    def _say(self, number: int, arms: int, arm: ArmPairs, seed: int, *, anew: bool) -> None:
        left = ""
        if self._made:
            each = (time.monotonic() - self._began) / self._made
            rest = (arms - number) * self.job.seeds - seed
            left = f", about {_duration(each * rest)} left"
        again = " (anew: its pairs, its loss or the suites have changed)" if anew else ""
        self.console.print(
            f"arm {number + 1} of {arms}, {arm.job.name}, seed {seed}{left}{again}", soft_wrap=True
        )

    def _fingerprint(self, arm: ArmPairs, seed: int) -> str:
        asked = [LAYOUT, self.fingerprint, arm.manifest, arm.job.loss, seed, self.job.rotate]
        return hashlib.sha256(
            msgspec.json.encode([*asked, self.job.seed], order="sorted")
        ).hexdigest()

    def _loss(self, arm: ArmPairs) -> LossConfig:
        return loss_of(arm.job)

    def _training(self, pairs: HeadPairs, fold: str) -> HeadPairs:
        """What may be trained on where a split is judged."""
        held = fold if fold != ANY_FOLD else ("" if self.job.rotate else "test")
        return pairs.take(pairs.split != held)

    def _ridges(self, arm: ArmPairs, pairs: HeadPairs) -> list[float]:
        return [
            choose_ridge(
                self.features.matrix, self._training(pairs, fold), self._loss(arm), self.job.seed
            )
            for fold in self.folds()
        ]

    def _cell(
        self, arm: ArmPairs, pairs: HeadPairs, ridges: Sequence[float], seed: int
    ) -> list[Floats]:
        matrix = self.features.matrix
        if arm.job.toss:
            pairs = tossed(pairs, seed)
        found = [np.zeros(len(suite.fold)) for suite in self.suites]
        for fold, ridge in zip(self.folds(), ridges, strict=True):
            drawn = reweighted(self._training(pairs, fold), self.job.seed * 1000 + seed)
            head = fit_head(matrix, drawn, self._loss(arm), ridge)
            for suite, (better, worse), column in zip(
                self.suites, self._places, found, strict=True
            ):
                here = suite.fold == fold
                column[here] = matrix[better[here]] @ head - matrix[worse[here]] @ head
        return found


def loss_of(job: ArmJob) -> LossConfig:
    """The loss of an arm; raises ConfigError."""
    from training.losses.registry import check_loss

    try:
        config = msgspec.convert(job.loss, LossConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"arm {job.name}: loss: {error}") from None
    check_loss(config)
    return config


def load_cell(path: Path, fingerprint: str, suites: int) -> Any:
    """(penalties, differences by suite) of a finished cell; None: there is none of this job."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["fingerprint"]) != fingerprint:
                return None
            return stored["ridges"].tolist(), [stored[f"suite{n}"] for n in range(suites)]
    except DAMAGED:
        return None


def save_cell(
    path: Path, fingerprint: str, ridges: Sequence[float], differences: Sequence[Floats]
) -> None:
    """Keep a finished cell, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns: dict[str, Any] = {
        "fingerprint": np.array(fingerprint),
        "ridges": np.array(ridges),
        **{f"suite{number}": column for number, column in enumerate(differences)},
    }
    with new_file(path) as file:
        np.savez(file, **columns)


def compare_labels(job: AblationJob, folder: Path, console: Console) -> AblationResults:
    """Do a job; raises ConfigError, TrainingDatasetError, SuiteError or TemplateError."""
    check_job(job)
    splits = SPLITS if job.rotate else ("test",)
    suites = []
    for one in job.suites:
        with console.status(f"reading {one.name}"):
            suites.append(load_judged(one, splits))
    arms = [read_arm(arm) for arm in job.arms]
    _check_splits(arms)
    if any(arm.runs for arm in job.arms):
        from training.ablation.finished_runs import score_runs

        differences, about = score_runs(job, suites, folder, console)
        ridges: list[Any] = [() for _ in arms]
    else:
        differences, ridges, about = _heads(job, suites, arms, folder, console)
    figures = []
    for number, suite in enumerate(suites):
        console.print(f"measuring {suite.job.name}", soft_wrap=True)
        of_suite = {arm: np.stack(found[number]) for arm, found in differences.items()}
        figures.append(
            suite_figures(suite, of_suite, job.reference, bootstrap=job.bootstrap, seed=job.seed)
        )
    sizes = tuple(size_of(arm, one) for arm, one in zip(arms, ridges, strict=True))
    return AblationResults(
        reference=job.reference,
        features=about,
        seeds=len(next(iter(differences.values()))[0]),
        rotate=job.rotate,
        bootstrap=job.bootstrap,
        arms=sizes,
        suites=tuple(figures),
        warnings=tuple(_warnings(job, suites, sizes)),
    )


def check_job(job: AblationJob) -> None:
    """Raise ConfigError for a job that cannot be done, before anything is read."""
    names = [arm.name for arm in job.arms]
    if len(set(names)) < len(names) or len(names) < 2:
        raise ConfigError("arms: give two or more, with different names")
    if job.reference not in names:
        raise ConfigError(f"reference: no arm {job.reference!r}; there are {', '.join(names)}")
    if not job.suites:
        raise ConfigError("suites: give at least one to judge on")
    if len({bool(arm.runs) for arm in job.arms}) > 1:
        raise ConfigError("arms: all with finished runs, or none")
    if len({len(arm.runs) for arm in job.arms}) > 1:
        raise ConfigError("arms: as many runs for each, for their seeds are compared in pairs")
    for arm in job.arms:
        loss_of(arm)


def _heads(
    job: AblationJob,
    suites: Sequence[Judged],
    arms: Sequence[ArmPairs],
    folder: Path,
    console: Console,
) -> tuple[dict[str, list[list[Floats]]], list[Any], str]:
    reader = open_reader(job)
    sources: list[Judged | ArmPairs] = [*suites, *arms]
    texts = [text for source in sources for sides in source.texts() for text in sides]
    progress = ProgressDisplay(console, "features of", unit="texts")
    features = read_features(texts, reader, folder / "features", progress)
    digest = hashlib.sha256(reader.fingerprint.encode())
    for suite in suites:
        for sides in suite.texts():
            digest.update("".join(side.key for side in sides).encode())
        digest.update("\0".join(suite.fold.tolist()).encode())
    trainer = HeadTrainer(job, folder, console, suites, features, digest.hexdigest())
    differences, ridges = trainer.train(arms)
    return differences, ridges, reader.about


def open_reader(job: AblationJob) -> Reader:
    """What makes the features of a job; raises ConfigError."""
    if job.features == WORDS:
        return WordReader()
    return ModelReader(
        job.features,
        max_length=job.max_length,
        batch_tokens=job.batch_tokens,
        device=job.device,
    )


def _check_splits(arms: Sequence[ArmPairs]) -> None:
    """A question must lie in one split in all arms, or what is judged was trained on elsewhere."""
    known: dict[str, tuple[str, str]] = {}
    for arm in arms:
        for thread, split in zip(arm.rows.thread_id, arm.split.tolist(), strict=True):
            seen, name = known.setdefault(thread, (split, arm.job.name))
            if seen != split:
                raise ConfigError(
                    f"{thread} is in the split {seen} of the arm {name} and in {split} of "
                    f"{arm.job.name}; curate both from the same threads with the same seed"
                )


def _warnings(
    job: AblationJob, suites: Sequence[Judged], sizes: Sequence[ArmSize]
) -> Iterator[str]:
    for suite in suites:
        if (prompts := len(np.unique(suite.table.unit))) < FEW_UNITS:
            yield (
                f"{suite.job.name}: {prompts} questions are too few for its intervals to be taken "
                "at their word"
            )
    counts = [size.pairs for size in sizes]
    if max(counts) > min(counts):
        yield (
            f"the arms have {min(counts):,} to {max(counts):,} pairs: differences are of label and "
            "amount together"
        )
    if not any(suite.job.kind == FORUM for suite in suites):
        yield "no held-out pairs of the forum are among the suites"


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do the job of a folder; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quiet", action="store_true")
    given = parser.parse_args(arguments)
    console = make_console(quiet=given.quiet)
    errors = make_console()
    try:
        job = decode_json(read_small(given.folder / JOB_NAME), AblationJob)
        results = compare_labels(job, given.folder, console)
    except (OSError, SmallFileError) as error:
        errors.print(f"{given.folder / JOB_NAME}: {fault_of(error)}", markup=False, soft_wrap=True)
        return ExitCode.USAGE
    except (ConfigError, TrainingDatasetError, SuiteError, TemplateError) as error:
        errors.print(str(error), markup=False, soft_wrap=True)
        return ExitCode.USAGE
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    content: Mapping[str, Any] = msgspec.to_builtins(results)
    write_file(
        given.folder / RESULTS_NAME, msgspec.json.format(msgspec.json.encode(content)) + b"\n"
    )
    return ExitCode.FINISHED


if __name__ == "__main__":
    sys.exit(main())
