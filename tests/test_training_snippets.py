"""The blocks of code in the pages about training and serving run as they stand, on tiny models."""

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_planning import encoder, folder  # noqa: F401 - fixtures
from training.commands import main

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/training.md", "docs/serving.md")
OURS = re.compile(r"^forumprefs train (.*)$", re.MULTILINE)
FAST = ("--set", "run.max_steps=2", "--set", "run.eval_pairs=20", "--quiet", "--device", "cpu")
"""What is added to a command, so that it takes a second."""
QUICK = (*FAST[2:], "--set", "data.batch_pairs=100")
"""The same, of a run that is to be finished."""
PLACES = {
    "Qwen/Qwen2.5-0.5B": "models/small",
    "Qwen/Qwen2.5-72B": "models/small",
    "acme/prefs@v1.2.0": "out/beer",
    "out/mix": "out/beer",
    "out/mine": "out/beer",
}
"""What stands on the pages, and what is there."""


def blocks(page: str, language: str) -> Iterator[str]:
    begun: tuple[str, list[str]] | None = None
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.startswith("```"):
            if begun is not None:
                begun[1].append(line)
        elif begun is None:
            begun = line[3:].strip(), []
        else:
            if begun[0] == language:
                yield "".join(begun[1])
            begun = None
    assert begun is None


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in blocks(page, ""):
            for line in OURS.findall(block.replace("\\\n", " ")):
                found.append((page, " ".join(line.partition("#")[0].split())))
    return found


def test_the_pages_have_what_is_tested_here() -> None:
    assert len(commands()) >= 5
    assert {page for page, _ in commands()} >= {"README.md", "docs/training.md"}
    assert any("AutoModelForSequenceClassification" in b for b in blocks(PAGES[1], "python"))
    assert any("pipeline(" in block for block in blocks(PAGES[2], "python"))


@pytest.fixture
def place(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A folder that looks as the pages say: out/beer, models/small, train.toml."""
    shutil.copytree(folder / "data", tmp_path / "out" / "beer")
    shutil.copytree(folder / "decoder", tmp_path / "models" / "small")
    (toml,) = [block for block in blocks(PAGES[1], "toml") if "[optim]" in block]
    (tmp_path / "train.toml").write_text(toml)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("page", "command"), commands())
def test_commands_run(
    place: Path, page: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [PLACES.get(word, word) for word in shlex.split(command)]
    # The tiny model reads 512 tokens, which the pages' data.max_length=1024 is over.
    limit = ("--set", "data.max_length=256") if "max_length" in command or "toml" in command else ()
    if "runs/mix/model" in arguments:  # of a finished run
        first = ["train", "--dataset", "out/beer", "--model", "models/small", *QUICK]
        assert main([*first, "--output", "runs/mix"]) == 0
    if "--resume" in arguments:
        first = ["train", "--dataset", "out/beer", "--model", "models/small", *FAST]
        assert main([*first, "--output", arguments[arguments.index("--output") + 1]]) == 0
    assert main(["train", *arguments, *FAST, *limit]) == 0, f"{page}: {command}"
    if "--dry-run" in arguments:
        assert "tokens a pair" in capsys.readouterr().out


@pytest.fixture(params=["decoder", "encoder"])
def trained(
    request: pytest.FixtureRequest,
    place: Path,
    folder: Path,  # noqa: F811
    encoder: Path,  # noqa: F811
) -> str:
    """A finished run in runs/beer, of a model of either kind."""
    model = folder / "decoder" if request.param == "decoder" else encoder
    command = ["train", "--dataset", "out/beer", "--model", str(model), "--output", "runs/beer"]
    assert main([*command, *QUICK]) == 0
    assert Path("runs/beer/curves.png").stat().st_size > 10_000
    assert Path("runs/beer/curves.svg").read_text().count("<svg") == 1
    return str(request.param)


def test_python_runs_for_decoders_and_encoders(trained: str) -> None:
    known: dict[str, object] = {}
    ran = 0
    for page in PAGES[1:]:
        for block in blocks(page, "python"):
            of_encoders = "text_pair" in block or "of_encoder" in block
            if of_encoders and trained == "decoder":
                continue
            if trained == "encoder":  # which has no chat template: the model of the block alone
                block = re.split(r"^\w+ = [\w.]+apply_chat_template", block, flags=re.MULTILINE)[0]
            exec(compile(block, page, "exec"), known)
            ran += bool(block)
    assert ran >= 3
    rewards = known["rewards"]
    assert isinstance(rewards, list)
    assert len(rewards) == 2
    assert isinstance(known["scores"], list)
