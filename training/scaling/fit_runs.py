"""What ``forumprefs scaling`` does: trains a grid where one is asked for, fits, and writes."""

import argparse
import json
import shlex
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from schemas.exit_codes import ExitCode
from training.errors import ScalingError
from training.scaling.grid import make_grid, train_grid
from training.scaling.planned_sizes import why_no_fit
from training.scaling.report import as_json, as_markdown, as_text
from training.scaling.runs import find_runs
from training.scaling.study import Study, make_study


def fit_runs(arguments: argparse.Namespace) -> int:
    """Train what is asked for, fit, write the results and print them; returns the exit code."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        return _fit_runs(arguments, errors)
    except ScalingError as error:
        errors.print(Text.assemble(("error: ", "red"), str(error)))
        return ExitCode.USAGE


def _fit_runs(arguments: argparse.Namespace, errors: Console) -> int:
    if arguments.bootstrap < 20:
        raise ScalingError(f"--bootstrap {arguments.bootstrap}: intervals need at least 20")
    if arguments.seed < 0:
        raise ScalingError(f"--seed {arguments.seed}: at least 0")
    output = Path(arguments.output)
    paths, failed = list(arguments.runs), 0
    if _wants_grid(arguments):
        grid = make_grid(
            launch=shlex.split(arguments.launch or f"{sys.executable} -m training.train"),
            dataset=arguments.dataset,
            models=[model.strip() for model in arguments.models.split(",") if model.strip()],
            axes=arguments.grid,
            settings=arguments.settings,
            config=arguments.config,
            output=output,
        )
        if why := why_no_fit(grid, find_runs(paths) if paths else []):
            errors.print(Text(f"warning: {why}", style="yellow"))
        unfinished = train_grid(grid, lambda text: errors.print(Text(text)))
        failed = len(unfinished)
        paths += [str(grid.folder(cell)) for cell in grid.cells if cell not in unfinished]
        if not paths:
            errors.print(Text.assemble(("error: ", "red"), "no run of the grid finished"))
            return ExitCode.FAILED
    runs = find_runs(paths)
    with errors.status(f"fitting, {arguments.bootstrap} resamples"):
        found = make_study(
            runs,
            hold_out=arguments.hold_out,
            bootstraps=arguments.bootstrap,
            seed=arguments.seed,
        )
    output.mkdir(parents=True, exist_ok=True)
    result = as_json(found, bootstraps=arguments.bootstrap, seed=arguments.seed)
    text = json.dumps(result, indent=2, ensure_ascii=False)
    (output / "scaling.json").write_text(text + "\n", encoding="utf-8")
    pictures = _plot(found, output, errors)
    (output / "scaling.md").write_text(as_markdown(found, pictures), encoding="utf-8")
    print(text if arguments.json else "\n".join(as_text(found)))
    if not arguments.json:
        print(f"\nwritten: {', '.join(['scaling.md', 'scaling.json', *pictures])} in {output}")
    if failed:
        errors.print(
            Text(f"{failed} of the grid's runs did not finish; run the same command to try again")
        )
    return ExitCode.FAILED if failed else ExitCode.FINISHED


def _wants_grid(arguments: argparse.Namespace) -> bool:
    given = {
        "--grid": bool(arguments.grid),
        "--models": bool(arguments.models),
        "--dataset": bool(arguments.dataset),
    }
    if all(given.values()):
        return True
    beside = {"--config": arguments.config, "--set": arguments.settings}
    beside["--launch"] = arguments.launch
    asked = [name for name, there in {**given, **beside}.items() if there]
    if asked:
        missing = " and ".join(name for name, there in given.items() if not there)
        raise ScalingError(f"{', '.join(asked)}: to train a grid, give {missing}, too")
    if not arguments.runs:
        raise ScalingError("name finished run folders, or --grid, --models and --dataset")
    return False


def _plot(found: Study, output: Path, errors: Console) -> list[str]:
    try:
        from training.scaling.plot import plot
    except ImportError as error:
        errors.print(Text(f"no picture: {error}; pip install 'forumprefs[train]'"))
        return []
    return [path.name for path in plot(found, output)]
