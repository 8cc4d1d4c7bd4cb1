"""``forumprefs scaling``: its arguments; what it computes with waits until it runs."""

import argparse

EPILOG = """\
Fits  loss = E + A·N^-α + B·D^-β  (N parameters, D training pairs) to finished runs, holds
out the largest one and predicts it. Writes scaling.json, scaling.md, scaling.png and scaling.svg
into --output, and says when the data do not support the fit. docs/scaling.md tells how to read it.

examples:
  forumprefs scaling runs/ --output scaling
  forumprefs scaling --dataset out/beer --models small,medium,large \\
      --grid data.max_pairs=1000,3000,10000,30000 --output scaling
  forumprefs scaling --dataset out/beer --models small,medium,large --output scaling \\
      --grid data.max_pairs=1000,3000,10000,30000 \\
      --launch 'torchrun --nproc-per-node 8 --shutdown-timeout 540 -m training.train'

A grid that was interrupted continues where it stopped: run the same command again.
exit codes: 0 finished (whether or not the fit is supported), 1 a run of the grid failed,
2 usage error
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``forumprefs scaling``."""
    parser.epilog = EPILOG
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="finished run folder, or a folder of them"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="where the results go")
    grid = parser.add_argument_group("training a grid")
    grid.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=A,B,...",
        help="values of a setting to train with, e.g. data.max_pairs=1000,3000,10000,30000; "
        "several --grid are crossed",
    )
    grid.add_argument("--models", metavar="M1,M2,...", help="models to train, as for train --model")
    grid.add_argument("--dataset", metavar="DATASET", help="as for train --dataset")
    grid.add_argument("--config", metavar="FILE", help="as for train --config")
    grid.add_argument(
        "--set",
        action="append",
        default=[],
        dest="settings",
        metavar="KEY=VALUE",
        help="a setting of all runs, as for train --set; may be repeated",
    )
    grid.add_argument(
        "--launch",
        metavar="COMMAND",
        help="what trains one run (default: this Python, -m training.train)",
    )
    fit = parser.add_argument_group("the fit")
    fit.add_argument(
        "--hold-out",
        metavar="RUN",
        help="run folder that is predicted instead of fitted, or 'none' (default: the run with "
        "the largest N·D, where the others suffice)",
    )
    fit.add_argument(
        "--bootstrap",
        type=int,
        default=300,
        metavar="N",
        help="resamples of the runs behind each interval (default: 300)",
    )
    fit.add_argument("--seed", type=int, default=0, help="of the resamples (default: 0)")
    fit.add_argument("--json", action="store_true", help="print scaling.json, for programs")


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs scaling``; returns the exit code."""
    from training.scaling.fit_runs import fit_runs

    return fit_runs(arguments)
