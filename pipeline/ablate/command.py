"""``forumprefs ablate``: its arguments; what it needs waits until it runs."""

import argparse

EPILOG = """\
Trains a model on each way of labelling the same threads, and says which label teaches more, with
intervals, controls, and the difference that could have been found. ARMS is a TOML file:

  input = ["stackexchange=beer.stackexchange.com.7z"]
  [train]
  model = "words"                # or a folder or name of a model, whose weights stay as they are
  seeds = 5
  [[arms]]
  name = "net_votes"             # the first arm is the one that all are compared with
  [[arms]]
  name = "common_window"
  votes = "common_window"
  [[arms]]
  name = "soft"                  # the same pairs as net_votes, with confidence as a soft label
  loss = { name = "soft" }
  [[arms]]
  name = "nothing"               # any answer against an answer to another question
  control = "no_votes"
  [[suites]]
  name = "fair"                  # held-out pairs of one day, with votes that agree
  same_day = true
  min_votes = 6
  min_confidence = 0.95
  [[suites]]
  name = "llmbar"                # any benchmark of forumprefs evaluate
  path = "data/llmbar"

All arms come from the same threads with the same splits, cut to the same number of pairs and words
(equal = false: each keeps its own). docs/ablate.md has every setting and how to read the result.

examples:
  forumprefs ablate samples/ablate.toml --output out/ablate
  forumprefs ablate arms.toml --input stackexchange=beer.stackexchange.com.7z --output out/ablate

Stopped at any time, the same command goes on where it was; where the file has changed, it says what
is done anew. Written are results.json and index.html, and what they come from.
exit codes: 0 finished, whatever was found, 1 a step failed, 2 usage error, 130 interrupted
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``forumprefs ablate``."""
    parser.epilog = EPILOG
    parser.add_argument("arms", metavar="ARMS", help="TOML file of what is compared")
    parser.add_argument("--output", required=True, metavar="DIR", help="where everything goes")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="KIND=PATH",
        help="what to read, as for curate, in place of the file's `input`; repeatable",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and do nothing"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    parser.add_argument("--json", action="store_true", help="print results.json, for programs")


def run(arguments: argparse.Namespace) -> int:
    """Run ``forumprefs ablate``; returns the exit code."""
    import sys
    from pathlib import Path

    import msgspec

    from pipeline.ablate.plan import read_plan
    from pipeline.console import print_text
    from schemas.ablation import RESULTS_NAME
    from schemas.exit_codes import ExitCode

    plan = read_plan(arguments.arms, arguments.input)
    output = Path(arguments.output)

    def say(text: str) -> None:
        if not arguments.quiet:
            print(text, file=sys.stderr, flush=True)

    from pipeline.ablate.study import PAGE_NAME, needed, run_study

    if arguments.dry_run:
        for one in needed(plan).values():
            print_text(f"curate {' '.join(one.flags)}")
        controls = [f"{arm.name} ({arm.control})" for arm in plan.arms if arm.control]
        print_text(f"arms: {', '.join(arm.name for arm in plan.arms)}")
        print_text(f"controls: {', '.join(controls) or 'none'}")
        print_text(f"suites: {', '.join(suite.name for suite in plan.suites)}")
        print_text(f"{plan.how}, {plan.train.model}, {plan.train.seeds} seeds; reference: "
                   f"{plan.compared_with}")  # fmt: skip
        return ExitCode.FINISHED
    results = run_study(plan, output, say, quiet=arguments.quiet)
    if arguments.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(results)).decode() + "\n")
    elif not arguments.quiet:
        from pipeline.ablate.summary import summary

        print_text(summary(results))
        print_text(f"\nwritten: {RESULTS_NAME}, {PAGE_NAME} in {output}")
    return ExitCode.FINISHED
