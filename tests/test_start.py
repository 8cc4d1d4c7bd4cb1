"""What starting costs: no module, parser or view of options that a command does not need."""

import copy
import pickle
import subprocess
import sys

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, TypeOptions, WorkerOptions

from pipeline.cli import COMMANDS, make_parser
from pipeline.runners.beam_options import BeamOptions

IMPORTED = """
import contextlib, io, sys
from pipeline.cli import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main({arguments})
print(*sorted({{"apache_beam", "datasketch", "torch"}} & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    ("arguments", "imported"),
    [
        (["--help"], []),
        (["--version"], []),
        ([], []),
        (["train", "--help"], []),
        (["nothing"], []),
        (["verify", "--help"], ["apache_beam"]),
    ],
)
def test_a_command_imports_only_what_it_needs(arguments: list[str], imported: list[str]) -> None:
    code = IMPORTED.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == imported


@pytest.mark.parametrize("name", ["curate", *COMMANDS])
def test_a_parser_of_one_command_takes_what_the_parser_of_all_takes(name: str) -> None:
    def options(only: str | None) -> set[str]:
        [commands] = [a for a in make_parser(only)._actions if isinstance(a.choices, dict)]
        assert set(commands.choices) >= {"curate", *COMMANDS}
        return {option for a in commands.choices[name]._actions for option in a.option_strings}

    assert options(name) == options(None) > options("")


def test_a_view_of_the_options_is_made_once_and_shares_their_values() -> None:
    options = BeamOptions(["--num_workers=3", "--no_pipeline_type_check"])
    view = options.view_as(WorkerOptions)
    assert options.view_as(WorkerOptions) is view
    assert not options.view_as(TypeOptions).pipeline_type_check
    assert view.num_workers == 3
    view.num_workers = 4
    assert options.view_as(WorkerOptions).num_workers == 4
    plain = PipelineOptions(["--num_workers=4", "--no_pipeline_type_check"])
    assert options.get_all_options() == plain.get_all_options()


@pytest.mark.parametrize("again", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_of_the_options_is_independent(again) -> None:
    options = BeamOptions(["--num_workers=3"])
    view = options.view_as(WorkerOptions)
    assert "_views" not in options.__getstate__()
    copied = again(options)
    copied.view_as(WorkerOptions).num_workers = 5
    assert (view.num_workers, copied.view_as(WorkerOptions).num_workers) == (3, 5)
    assert isinstance(copied, BeamOptions)
