"""The whole comparison: curate, cut, choose what is judged on, train, judge, and show it."""

import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from pipeline.ablate.arms import Curation, curation_of, input_state, make_arms, make_suite
from pipeline.ablate.page import make_page
from pipeline.ablate.plan import Plan
from pipeline.ablate.steps import Steps, ours, run_logged, run_shown
from pipeline.dataset import locked
from schemas.ablation import (
    FORUM,
    JOB_NAME,
    RESULTS_NAME,
    AblationJob,
    AblationResults,
    ArmJob,
    SuiteJob,
)
from schemas.checksums import sha256_of_file
from schemas.manifest import MANIFEST_NAME
from schemas.small_files import SmallFileError, decode_json, read_small

PAGE_NAME = "index.html"
Say = Callable[[str], None]


def run_study(plan: Plan, output: Path, say: Say, *, quiet: bool = False) -> AblationResults:
    """Do all that is not done yet, and return the results, which stand in ``output``, too.

    Raises PipelineError for a command that failed, and UsageError for a plan that gives nothing.
    """
    output.mkdir(parents=True, exist_ok=True)
    with locked(output.resolve()):
        steps = Steps(output, _count(plan), say)
        curated = _curate(plan, output, steps)
        arms = _arms(plan, output, steps, curated)
        suites = _suites(plan, output, steps, curated)
        runs = _runs(plan, output, steps, arms) if plan.how == "full" else {}
        job = make_job(plan, output, runs)
        content = msgspec.json.format(msgspec.json.encode(job)) + b"\n"
        (output / JOB_NAME).write_bytes(content)
        command = [sys.executable, "-m", "training.ablation.run", str(output)]
        steps.step(
            "compare",
            [msgspec.to_builtins(job), arms, suites],
            output / RESULTS_NAME,
            lambda: run_shown("comparing", [*command, *(["--quiet"] if quiet else [])]),
        )
        results = decode_json(read_small(output / RESULTS_NAME), AblationResults)
        page = make_page(plan, results)
        (output / PAGE_NAME).write_text(page, encoding="utf-8")
    return results


def needed(plan: Plan) -> dict[str, Curation]:
    """What has to be curated, by name; arms and suites of one recipe share it."""
    forum = [suite for suite in plan.suites if suite.path is None]
    found = [*(curation_of(plan, arm) for arm in plan.arms)]
    found += [curation_of(plan, suite) for suite in forum]
    return {one.name: one for one in found}


def _count(plan: Plan) -> int:
    runs = len(plan.arms) * plan.train.seeds if plan.how == "full" else 0
    return len(needed(plan)) + 1 + sum(one.path is None for one in plan.suites) + runs + 1


def _curate(plan: Plan, output: Path, steps: Steps) -> dict[str, str]:
    """Digests of the manifests, by name."""
    state = input_state(plan)
    found = {}
    for name, one in needed(plan).items():
        folder = output / "curated" / name
        command = ours(
            "curate", *one.flags, "--output", str(folder), "--overwrite", "--quiet", "--no-report"
        )
        log = output / "logs" / f"curate-{name}.log"

        def make(
            name: str = name, command: list[str] = command, log: Path = log, folder: Path = folder
        ) -> str:
            folder.parent.mkdir(parents=True, exist_ok=True)
            run_logged(f"curating {name}", command, log)
            return _digest(folder)

        found[name] = steps.step(f"curate {name}", [one.flags, state], folder, make)
    return found


def _digest(folder: Path) -> str:
    return sha256_of_file(folder / MANIFEST_NAME)


def _arms(plan: Plan, output: Path, steps: Steps, curated: Mapping[str, str]) -> dict[str, str]:
    folders = {arm.name: output / "curated" / curation_of(plan, arm).name for arm in plan.arms}
    made_from = [
        [[arm.name, arm.control, curated[folders[arm.name].name]] for arm in plan.arms],
        [plan.equal, plan.seed],
    ]
    return dict(
        steps.step(
            "make the arms equal" if plan.equal else "make the arms",
            made_from,
            output / "arms",
            lambda: _make_arms(plan, folders, output / "arms"),
        )
    )


def _make_arms(plan: Plan, folders: Mapping[str, Path], output: Path) -> dict[str, str]:
    output.mkdir(parents=True, exist_ok=True)
    return make_arms(plan, folders, output)


def _suites(plan: Plan, output: Path, steps: Steps, curated: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for suite in plan.suites:
        if suite.path is not None:
            continue
        source = output / "curated" / curation_of(plan, suite).name
        folder = output / "suites" / suite.name
        folder.parent.mkdir(parents=True, exist_ok=True)
        found[suite.name] = steps.step(
            f"choose {suite.name}",
            [msgspec.to_builtins(suite), curated[source.name]],
            folder,
            partial(make_suite, suite, source, folder),
        )
    return found


def _runs(
    plan: Plan, output: Path, steps: Steps, arms: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Train a whole model for each arm and seed; returns their run folders, by arm."""
    launch = list(plan.train.launch) or ours("train")
    found: dict[str, tuple[str, ...]] = {}
    for number, arm in enumerate(plan.arms):
        folders = []
        for seed in range(plan.train.seeds):
            folder = output / "runs" / arm.name / str(seed)
            settings = {
                "data.max_length": plan.train.max_length,
                **plan.train.settings,
                **{f"loss.{name}": value for name, value in arm.loss.items()},
                "run.seed": plan.seed + seed,
            }
            sets = [part for item in settings.items() for part in ("--set", "{}={}".format(*item))]
            dataset = str(output / "arms" / arm.name)
            start = ["--dataset", dataset, "--model", plan.train.model, *sets]

            def make(
                folder: Path = folder,
                start: list[str] = start,
                arm: str = arm.name,
                seed: int = seed,
            ) -> None:
                folder.parent.mkdir(parents=True, exist_ok=True)
                begun = (folder / "run.json").is_file() and _same_start(folder, start)
                if not begun:
                    shutil.rmtree(folder, ignore_errors=True)
                    begun_with = folder.with_name(f"{folder.name}.start.json")
                    begun_with.write_bytes(msgspec.json.encode(start))
                rest = ["--resume"] if begun else start
                log = output / "logs" / f"train-{arm}-{seed}.log"
                run_logged(
                    f"training {arm}, seed {seed}",
                    [*launch, "--output", str(folder), *rest],
                    log,
                )

            label = f"train arm {number + 1} of {len(plan.arms)}, {arm.name}, seed {seed}"
            steps.step(label, [arms[arm.name], start, launch], folder / "summary.json", make)
            folders.append(str(folder))
        found[arm.name] = tuple(folders)
    return found


def _same_start(folder: Path, start: list[str]) -> bool:
    """Whether an unfinished run was begun with the same command, on the same dataset."""
    try:
        known = decode_json(read_small(folder.with_name(f"{folder.name}.start.json")), list[str])
    except (OSError, SmallFileError):
        return False
    return known == start


def make_job(plan: Plan, output: Path, runs: Mapping[str, tuple[str, ...]]) -> AblationJob:
    """What the trainer is asked for."""
    return AblationJob(
        arms=tuple(
            ArmJob(
                name=arm.name,
                dataset=str(output / "arms" / arm.name),
                loss=arm.loss,
                toss=arm.control == "shuffled_labels",
                runs=runs.get(arm.name, ()),
            )
            for arm in plan.arms
        ),
        reference=plan.compared_with,
        suites=tuple(
            SuiteJob(
                name=suite.name,
                kind=FORUM if suite.path is None else suite.benchmark or suite.name,
                location=suite.path or str(output / "suites" / suite.name),
                limit=suite.limit,
            )
            for suite in plan.suites
        ),
        features=plan.train.model,
        seeds=plan.train.seeds,
        rotate=plan.rotates,
        max_length=plan.train.max_length,
        bootstrap=plan.train.bootstrap,
        seed=plan.seed,
    )
