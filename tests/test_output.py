"""Output that fails is not work that failed; what is for its output says so when it fails."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import main
from pipeline.commands import verify
from pipeline.console.output import GuardedStream, OutputError, ReaderGoneError, guarded_output
from tests.publishing import SAMPLES

TITLE = "Crème brûlée 😀 日本語"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose texts few encodings have."""
    folder = tmp_path_factory.mktemp("output")
    responses = [
        {"id": str(number), "text": f"{TITLE}: whisk it for {number} minutes.", "score": number}
        for number in (2, 3)
    ]
    row = {
        "format": "forumprefs.thread/1",
        "site": "f.example.org",
        "id": "1",
        "license": "CC0-1.0",
        "title": TITLE,
        "text": "How long do I have to whisk the eggs?",
        "responses": responses,
    }
    (folder / "threads.jsonl").write_text(json.dumps(row) + "\n")
    given = ["--input", f"threads={folder / 'threads.jsonl'}", "--languages", "all", "--quiet"]
    assert main(["curate", *given, "--output", str(folder / "out")]) == 0
    return folder / "out"


def forumprefs(
    *arguments: str | Path, shell: str = "", **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command in a shell that adds ``shell``, such as a redirection, to it."""
    words = [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]
    return subprocess.run(
        ["bash", "-c", f'"$@" {shell}', "bash", *words],
        capture_output=True,
        cwd=Path(__file__).parents[1],
        env=os.environ | environment,
    )


def printed(
    monkeypatch: pytest.MonkeyPatch, encoding: str, *arguments: str | Path
) -> tuple[int, str]:
    """Exit code and output of a command whose stdout has an encoding."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        code = main(list(map(str, arguments)))
    assert stream.errors == "strict"  # as it was
    stream.flush()
    return code, raw.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "utf-16", "cp437"])
def test_what_a_terminal_cannot_show_is_replaced(
    dataset: Path, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for flags in ((), ("--raw",)):
        code, shown = printed(monkeypatch, encoding, "inspect", dataset, *flags)
        assert code == 0 and "minutes" in shown
    code, shown = printed(monkeypatch, encoding, "inspect", dataset, "--json")
    assert code == 0 and TITLE in json.loads(shown)["prompt"]  # for programs nothing is lost
    code, shown = printed(monkeypatch, encoding, "diff", dataset, dataset, "--json")
    assert code == 0 and json.loads(shown)["pairs_old"] == 1
    assert printed(monkeypatch, encoding, "diff", dataset, dataset)[0] == 0
    assert printed(monkeypatch, encoding, "verify", dataset)[0] == 0


def test_the_c_locale_without_utf_8(dataset: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = forumprefs("inspect", dataset, PYTHONIOENCODING="", **plain)
    assert done.returncode == 0 and b"Traceback" not in done.stderr and b"minutes" in done.stdout


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")


@FULL
@pytest.mark.parametrize("shell", [">/dev/full", ">&-"])
@pytest.mark.parametrize("command", ["inspect", "--version"])
def test_what_is_for_its_output_fails_with_it(dataset: Path, command: str, shell: str) -> None:
    done = forumprefs(command, *([dataset] if command == "inspect" else ()), shell=shell)
    said = done.stderr.decode()
    assert done.returncode == 1
    why = "it is closed" if shell == ">&-" else "No space left on device"
    assert f"error: the output could not be written: {why}" in said
    assert "Traceback" not in said and "Exception ignored" not in said


@FULL
@pytest.mark.parametrize("shell", [">/dev/full"])
def test_a_finished_dataset_is_no_failure(tmp_path: Path, shell: str) -> None:
    given = ("--input", f"stackexchange={SAMPLES / 'sourdough.example.com'}", "--no-report")
    done = forumprefs("curate", *given, "--output", tmp_path / "out", shell=shell)
    assert done.returncode == 0
    assert main(["verify", str(tmp_path / "out"), "--quiet"]) == 0
    assert "stdout could not be written" in done.stderr.decode()


def test_whoever_has_seen_enough_is_no_failure(dataset: Path) -> None:
    done = forumprefs("inspect", dataset, shell="| true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (0, b"")


def test_errors_are_said_where_stdout_is_closed(dataset: Path) -> None:
    done = forumprefs("inspect", dataset / "nothing", shell=">&-")
    assert done.returncode == 2 and b"is it a finished dataset?" in done.stderr


class Failing:
    """A stream that takes nothing."""

    encoding = "utf-8"

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.number = os.open(os.devnull, os.O_WRONLY)

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self.number


@pytest.mark.parametrize("command", ["inspect", "diff", "verify"])
@pytest.mark.parametrize(
    ("error", "code"), [(OSError(28, "full"), 1), (BrokenPipeError(32, "gone"), 0)]
)
def test_commands_whose_stdout_fails(
    dataset: Path,
    command: str,
    error: Exception,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = [str(dataset)] * (2 if command == "diff" else 1)
    for flags in ((), ("--json",)):
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", Failing(error))
            assert main([command, *folders, *flags]) == code
        assert ("could not be written: full" in capsys.readouterr().err) is bool(code)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(28, "full"), OutputError),
        (BrokenPipeError(32, "gone"), ReaderGoneError),
        (ValueError("I/O operation on closed file"), OutputError),
    ],
)
def test_a_failure_is_kept_or_raised(error: Exception, raised: type[Exception]) -> None:
    stream = GuardedStream(Failing(error))  # type: ignore[arg-type]
    assert stream.write("text") == 4 and stream.failure
    stream.flush()
    stream.strict = True
    with pytest.raises(raised):
        stream.write("more")


def test_the_streams_are_put_back() -> None:
    before = sys.stdout, sys.stderr
    with pytest.raises(KeyError), guarded_output() as output:
        assert sys.stdout is output
        raise KeyError
    assert (sys.stdout, sys.stderr) == before


@pytest.mark.parametrize(
    "error",
    [MemoryError(), ImportError("x.so: failed to map segment from shared object")],
    ids=["for data", "for a library"],
)
def test_too_little_memory_is_said_in_a_sentence(
    dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    def exhausted(_: object) -> None:
        raise error

    monkeypatch.setattr(verify, "find_leaks", exhausted)
    assert main(["verify", str(dataset)]) == 1
    said = capsys.readouterr().err
    assert "not enough memory" in said and "Traceback" not in said
