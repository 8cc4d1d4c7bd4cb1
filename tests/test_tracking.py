"""Trackers watch a run and cannot end it; TensorBoard's files are read back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from training.config import convert, load_config
from training.errors import ConfigError
from training.tracking.trackers import MAX_FAILURES, Trackers, open_trackers

pytest.importorskip("tensorboard")


class Failing:
    """A service whose network went away; ``works``: steps at which it does not."""

    def __init__(self, works: set[int]) -> None:
        self.works, self.called = works, list[int]()

    def log(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        self.called.append(step)
        if step not in self.works:
            raise OSError(f"no route at step {step}\nand a second line")

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        raise RuntimeError("nor now")


def test_a_tracker_that_fails_is_told_of_once_and_left_alone_in_the_end() -> None:
    told: list[str] = []
    failing, fine = Failing({1, 4}), Failing(set(range(99)))
    trackers = Trackers({"wandb": failing, "mlflow": fine}, told.append)
    for step in range(1, 11):
        trackers.log("train", step, {"loss": 1.0})
    assert failing.called == [1, 2, 3, 4, *range(5, 5 + MAX_FAILURES)]
    assert fine.called == list(range(1, 11))
    (line,) = told
    assert line.startswith("tracker wandb: no route at step 2 (the run goes on")
    trackers.finish({})
    assert len(told) == 2  # of the other one


def test_a_client_that_is_not_installed_is_told_with_the_way(tmp_path: Path) -> None:
    for name in ("wandb", "mlflow"):
        try:
            __import__(name)
        except ModuleNotFoundError:
            told: list[str] = []
            open_trackers([name], tmp_path, {}, first_step=0, warn=told.append)
            assert told == [
                f"tracker {name}: {name} is not installed; pip install 'forumprefs[{name}]' (the "
                "run goes on; metrics.jsonl has all figures)"
            ]


def test_tensorboard_gets_numbers_by_kind_and_step(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first_step, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        trackers = open_trackers(
            ["tensorboard"], tmp_path, {}, first_step=first_step, warn=pytest.fail
        )
        for step in steps:
            trackers.log("train", step, {"loss": 1 / step, "baselines": {"x": 2}, "name": "no"})
        trackers.finish()
    found = EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert set(found.Tags()["scalars"]) == {"train/loss", "train/baselines/x"}
    values = {one.step: one.value for one in found.Scalars("train/loss")}
    assert values == pytest.approx({step: 1 / step for step in (1, 2, 3, 4)})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ("tensorboard",)),
        ({"tensorboard": False}, ()),
        ({"tensorboard": True}, ("tensorboard",)),
        ({"tensorboard": False, "trackers": ["wandb", "tensorboard"]}, ("wandb",)),
        ({"tensorboard": True, "trackers": ["mlflow"]}, ("tensorboard", "mlflow")),
        ({"trackers": []}, ()),
    ],
)
def test_the_setting_of_earlier_releases_is_understood(
    values: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert convert({"run": values}).run.trackers == expected
    assert load_config(None, ["run.tensorboard=false"]).run.trackers == ()
    with pytest.raises(ConfigError, match=r"now one of run\.trackers"):
        convert({"run": {"tensorboard": "yes"}})
    with pytest.raises(ConfigError):
        convert({"run": {"trackers": ["comet"]}})
