"""Scores the suites with the finished runs of ``forumprefs train``, a model for each arm and seed.

Each score is kept as ``forumprefs evaluate`` keeps it, so a stopped run goes on where it was.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from schemas.ablation import AblationJob
from training.ablation.judge import Judged
from training.console import ProgressDisplay
from training.errors import ConfigError
from training.evaluation.comparisons import differences
from training.evaluation.models import choose_device, find_model, open_scorer
from training.evaluation.score_cache import ScoreCache, score_items
from training.run.folder import why_unfinished
from training.validation.metrics import Floats


def score_runs(
    job: AblationJob, suites: Sequence[Judged], folder: Path, console: Console
) -> tuple[dict[str, list[list[Floats]]], str]:
    """By arm, [suite][seed] the differences [P] of its models; and how they read, in words.

    Raises ConfigError for a run that is not finished.
    """
    found: dict[str, list[list[Floats]]] = {}
    reads = ""
    for number, arm in enumerate(job.arms):
        found[arm.name] = [[] for _ in suites]
        for seed, run in enumerate(arm.runs):
            if (why := why_unfinished(Path(run))) is not None:
                raise ConfigError(f"arm {arm.name}, seed {seed}: {run}: {why}")
            scorer = open_scorer(
                find_model(run),
                device=choose_device(job.device),
                batch_tokens=job.batch_tokens,
            )
            reads = scorer.reads
            with ScoreCache(folder / "scores", scorer.fingerprint) as cache:
                for suite, column in zip(suites, found[arm.name], strict=True):
                    label = f"arm {number + 1} of {len(job.arms)}, seed {seed}, {suite.job.name}"
                    progress = ProgressDisplay(console, label, unit="responses", transient=True)
                    scores, _ = score_items(scorer, suite.items, cache, progress)
                    progress.end()
                    column.append(np.nan_to_num(differences(suite.table, scores)))
    return found, f"models trained whole, read with {reads}"
