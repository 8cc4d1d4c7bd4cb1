"""What starting costs: no module, parser or view of options that a command does not need."""

import argparse
import copy
import json
import os
import pickle
import subprocess
import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions, TypeOptions, WorkerOptions

from pipeline import commands as table
from pipeline.cli import find_commands, main, make_parser
from pipeline.errors import UsageError
from pipeline.runners.beam_options import BeamOptions
from pipeline.runners.unused_packages import UNUSED_PACKAGES
from schemas.command import ENTRY_POINTS, Command

ROOT = Path(__file__).parents[1]
COMMANDS = sorted(getattr(table, name).name for name in table.__all__)

RUN = """
import contextlib, io, json, sys
from pipeline.cli import main
heavy = set(json.loads(sys.argv[2]))
for arguments in json.loads(sys.argv[1]):
    before = heavy & sys.modules.keys()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = main(arguments)
        except SystemExit as left:  # argparse's own
            code = left.code
    print(json.dumps([code, sorted((heavy & sys.modules.keys()) - before)]))
"""


HEAVY = ("apache_beam", "datasketch", "scipy", "pandas", "torch", "transformers")
"""What takes a second or more."""
LIBRARIES = (
    *HEAVY, "fsspec", "grpc", "huggingface_hub", "jinja2", "markdown_it", "numpy", "pyarrow",
    "pyarrow.compute", "rich", "scipy.integrate", "yaml",
)  # fmt: skip


def loaded_by(*commands: list[str], heavy: tuple[str, ...] = HEAVY) -> list[tuple[int, set[str]]]:
    """Exit codes of commands, and the heavy packages that each of them loaded.

    They run in a process of their own, one after another: what one has loaded stays.
    """
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands), json.dumps(heavy)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return [(code, set(loaded)) for code, loaded in map(json.loads, done.stdout.splitlines())]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    output = tmp_path_factory.mktemp("budget") / "set"
    sample = f"stackexchange={ROOT / 'samples/sourdough.example.com'}"
    given = ["curate", "--input", sample, "--output", str(output), "--quiet"]
    assert main(given) == 0
    return str(output)


LIGHT = [
    (["--help"], 0),
    (["--version"], 0),
    ([], 2),
    (["nothing"], 2),
    (["train", "--help"], 0),
    (["validate-threads", str(ROOT / "samples/threads"), "--limit", "0"], 1),
    (["validate-threads", "--example"], 0),
    (["verify", "--help"], 0),
    (["diff", "--help"], 0),
    (["report", "--help"], 0),
    (["publish", "--help"], 0),
    (["inspect", "DATASET", "--limit", "1"], 0),
    (["verify", "DATASET"], 0),
    (["diff", "DATASET", "DATASET"], 0),
    (["report", "DATASET", "--output", "DATASET.page.html"], 0),
]


def test_beam_is_loaded_only_by_what_needs_it(dataset: str) -> None:
    """Also a local dataset is read without it."""
    commands = [[word.replace("DATASET", dataset) for word in words] for words, _ in LIGHT]
    loaded = loaded_by(*commands, heavy=("apache_beam", "datasketch", "torch"))
    wrong = [
        (words, found)
        for words, found, (_, code) in zip(commands, loaded, LIGHT, strict=True)
        if found != (code, set())
    ]
    assert not wrong


LOADED_BY_HELP = {
    "curate": set(),
    "export-model": set(),
    "hydrate": set(),
    "promote": set(),
    "scaling": set(),
    "score": set(),
    "train": set(),
    "uncertainty": set(),
    "validate-threads": {"rich"},
}
"""Of LIBRARIES; the other commands may load what they all use, but for HEAVY."""


@pytest.mark.parametrize(
    "words", [[], ["--help"], ["--version"], *([name, "--help"] for name in LOADED_BY_HELP)]
)
def test_help_waits_for_no_library(words: list[str]) -> None:
    ((code, loaded),) = loaded_by(words, heavy=LIBRARIES)
    assert code == (0 if words else 2)
    assert loaded == LOADED_BY_HELP.get(words[0] if words else "", set())


def test_help_of_no_command_waits_for_a_heavy_library() -> None:
    names = sorted(command.name for command in find_commands(entry_points(group=ENTRY_POINTS)))
    assert set(names) > {*COMMANDS, *LOADED_BY_HELP} - {""}
    loaded = dict(zip(names, loaded_by(*([name, "--help"] for name in names)), strict=True))
    assert loaded == dict.fromkeys(names, (0, set()))


def loaded_in_own_process(command: list[str], cwd: Path) -> set[str]:
    """Modules that a command has loaded at its end, run as a user runs it."""
    report = "import atexit, sys; atexit.register(lambda: open('modules', 'w').write(' '.join("
    report += "name for name, module in sys.modules.items() if module)));"
    report += "from pipeline.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", report, *command],
        capture_output=True, text=True, cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set((cwd / "modules").read_text().split())


def test_inspect_loads_arrow_and_no_more(dataset: str, tmp_path: Path) -> None:
    loaded = loaded_in_own_process(["inspect", dataset, "--limit", "1"], tmp_path)
    assert loaded & {*LIBRARIES} == {"numpy", "pyarrow", "rich", "markdown_it"}
    loaded = loaded_in_own_process(
        ["inspect", dataset, "--site", "sourdough.example.com"], tmp_path
    )
    assert "pyarrow.dataset" in loaded and "pandas" not in loaded


def test_a_run_loads_nothing_because_it_is_installed(tmp_path: Path) -> None:
    sample = f"stackexchange={ROOT / 'samples/sourdough.example.com'}"
    given = ["curate", "--input", sample, "--output", str(tmp_path / "set"), "--quiet"]
    loaded = loaded_in_own_process(given, tmp_path)
    assert {"apache_beam", "pyarrow"} <= loaded
    unwanted = {*UNUSED_PACKAGES, "torch", "huggingface_hub", "py7zr"}
    assert not loaded & unwanted


@pytest.mark.parametrize("name", UNUSED_PACKAGES)
def test_a_package_that_is_skipped_is_not_found(name: str) -> None:
    skip = "from pipeline.runners.unused_packages import skip_packages; skip_packages()"
    done = subprocess.run(
        [sys.executable, "-c", f"{skip}; import {name}"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1 and f"ModuleNotFoundError: {name}" in done.stderr


def test_a_process_that_calls_main_keeps_its_packages() -> None:
    code = (
        "import sys; from pipeline.cli import main; before = list(sys.meta_path);"
        "main(['validate-threads', '--example']); assert sys.meta_path == before"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_a_parser_of_one_command_takes_what_the_parser_of_all_takes(name: str) -> None:
    def options(only: str | None) -> set[str]:
        [commands] = [a for a in make_parser(only)._actions if isinstance(a.choices, dict)]
        assert set(commands.choices) >= set(COMMANDS)
        return {option for a in commands.choices[name]._actions for option in a.option_strings}

    assert options(name) == options(None) > options("")


def test_every_command_of_the_table_is_installed() -> None:
    found = find_commands(entry_points(group=ENTRY_POINTS))
    assert {command.name for command in found} >= set(COMMANDS)
    assert len({command.name for command in found}) == len(found)
    for command in found:
        module = command.load()
        assert callable(module.add_arguments) and callable(module.run)


def test_a_command_is_added_by_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "guest.py").write_text(
        "from schemas.command import Command\n"
        "GREET = Command('greet', 'say hello', 'guest')\n"
        "def add_arguments(parser):\n    parser.add_argument('name')\n"
        "def run(arguments):\n    print('hello', arguments.name)\n    return 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("greet", "guest:GREET", ENTRY_POINTS)
    monkeypatch.setattr("pipeline.cli.entry_points", lambda group: [entry])
    assert main(["greet", "world"]) == 0
    assert capsys.readouterr().out == "hello world\n"
    with pytest.raises(SystemExit):
        main(["greet", "--help"])
    assert "Say hello." in capsys.readouterr().out


@pytest.mark.parametrize("value", ["nowhere:X", "schemas.command:X", "schemas.command:Command"])
def test_an_entry_point_of_other_sources_is_refused_with_what_to_do(value: str) -> None:
    with pytest.raises(UsageError, match=r"the command x .* pip install -e \."):
        find_commands([EntryPoint("x", value, ENTRY_POINTS)])
    with pytest.raises(UsageError, match="not installed"):
        find_commands([])


def test_a_command_is_listed_without_its_module() -> None:
    parser = argparse.ArgumentParser()
    command = Command("x", "do x", "no.such.module")
    command.add_to(parser.add_subparsers(), with_arguments=False)
    assert parser.parse_args(["x"]).command is command


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
