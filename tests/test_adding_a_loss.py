"""docs/adding_a_loss.md, done as it says: the loss is in the help and trains by the command."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from docs.generate import PAGES
from tests.preference_data import make_model, make_pairs, write_dataset
from training.commands import main
from training.losses.base import Loss
from training.losses.registry import LOSSES

PAGE = Path(__file__).parents[1] / "docs" / "adding_a_loss.md"


def code_of(page: Path) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return str(code)


@pytest.fixture
def hinge(monkeypatch: pytest.MonkeyPatch) -> Loss:
    """The loss of the page, registered."""
    module = ModuleType("hinge")
    exec(code_of(PAGE), module.__dict__)
    loss = module.HINGE
    assert isinstance(loss, Loss)
    monkeypatch.setitem(LOSSES, loss.name, loss)
    return loss


def test_it_is_in_the_help_and_on_the_page_of_losses(
    hinge: Loss, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert f"hinge: {hinge.summary}" in capsys.readouterr().out
    assert f"| `hinge` | {hinge.formula} | {hinge.source} |" in PAGES["losses.md"]()
    assert f"hinge: {hinge.summary}" in PAGES["training_settings.md"]()


def test_it_trains_through_the_command(hinge: Loss, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", make_pairs(8, "train") + make_pairs(4, "validation"))
    make_model(tmp_path / "model", layers=1)
    command = ["train", "--dataset", str(tmp_path / "data"), "--model", str(tmp_path / "model")]
    command += ["--output", str(tmp_path / "run"), "--device", "cpu", "--quiet"]
    for setting in (
        "loss.name=hinge", "run.max_steps=1", "data.batch_pairs=4", "data.max_length=128",
        "run.tensorboard=false", "model.head_init_std=0",
    ):  # fmt: skip
        command += ["--set", setting]
    assert main(command) == 0
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[1])
    # All rewards of a head of zeros are 0: the hinge loss is 1, Bradley–Terry's would be log 2.
    assert first["kind"] == "train"
    assert first["loss"] == pytest.approx(1, abs=1e-6)
    assert first["gradient_norm"] > 0


def test_without_it_the_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--dataset", "d", "--model", "m", "--output", "o", "--set",
                 "loss.name=hinge"]) == 2  # fmt: skip
    assert "loss.name hinge" in capsys.readouterr().err


def test_losses_are_known_without_torch() -> None:
    code = (
        "import sys, training.config, training.losses.registry; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
