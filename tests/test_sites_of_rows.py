"""Sites that only rows name: a subreddit, a community, the forum of an own thread."""

from pathlib import Path

import msgspec
import pytest
import torch

from tests.preference_data import make_model, make_pairs, write_dataset
from training.config import TrainConfig, load_config
from training.losses import LossConfig
from training.parallel.distributed import DistributedContext
from training.run.options import TrainOptions
from training.run.setup import set_up
from training.train import train_step


@pytest.mark.parametrize("loss", ["bt", "lcpo"])
def test_a_run_takes_pairs_of_sites_that_the_manifest_does_not_name(
    tmp_path: Path, loss: str
) -> None:
    pairs = make_pairs(4, "train", site="reddit.com/r/a") + make_pairs(
        4, "train", seed=1, site="reddit.com/r/b"
    )
    write_dataset(tmp_path / "data", pairs)
    make_model(tmp_path / "model")
    base = load_config(None, ["data.batch_pairs=8", "data.max_length=128"])
    config: TrainConfig = msgspec.structs.replace(base, loss=LossConfig(name=loss))  # type: ignore[arg-type]
    options = TrainOptions(
        str(tmp_path / "data"), str(tmp_path / "model"), tmp_path / "run", config, quiet=True
    )
    run = set_up(options, DistributedContext(0, 1, torch.device("cpu")))
    sums = train_step(run, run.loader.batch(0))
    assert sums.pairs == len(run.loader.batch(0).micro[0].rows)
    assert sums.loss > 0
