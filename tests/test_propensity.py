"""data.propensity_clip: a pair that was unlikely to be decided stands for those that were not."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.pair import Pair
from tests.preference_data import make_model, make_tokenizer, one_pair, write_dataset
from training.commands import main
from training.data.dataset import PairDataset
from training.data.prompt_groups import group_pairs, prompt_runs
from training.data.propensity import DAY_MS, Propensity, features_of
from training.data.template import choose_template
from training.data.tokenizer import PairTokenizer
from training.labels import fit_propensity
from training.labels.propensity_fit import COLUMNS, candidates

BEGAN = 1_600_000_000_000


def decided(days: float) -> float:
    """Probability that two responses so many days apart are a pair."""
    return float(1 / (1 + np.exp(-(2.0 - 1.2 * np.log1p(days)))))


def threads(count: int, *, always: bool = False, seed: int = 0) -> tuple[list[Pair], list[float]]:
    """Pairs of threads of five responses, and the days between every two of them that are in one,
    whether they became a pair or not."""
    rng = random.Random(seed)
    pairs, days = [], []
    for number in range(count):
        posted = [int(rng.expovariate(1 / 20) * DAY_MS) for _ in range(5)]
        found = []
        for a in range(5):
            for b in range(a):
                apart = abs(posted[a] - posted[b]) / DAY_MS
                if always or rng.random() < decided(apart):
                    found.append((a, b))
        there = sorted({one for both in found for one in both})
        days += [abs(posted[a] - posted[b]) / DAY_MS for a in there for b in there if b < a]
        for a, b in found:
            pairs.append(
                one_pair(
                    f"f:{number}", "train", "f", f"Why {number}?", (a, f"a{a}"), (b, f"b{b}"),
                    chosen_created_at=BEGAN + posted[a], rejected_created_at=BEGAN + posted[b],
                    prompt_created_at=BEGAN,
                )
            )  # fmt: skip
    return pairs, days


def test_weights_give_back_what_all_candidates_are_like(tmp_path: Path) -> None:
    pairs, days = threads(500)
    dataset = PairDataset(str(write_dataset(tmp_path / "data", pairs, row_group=400)), "train")
    apart = np.array([abs(p.chosen_created_at - p.rejected_created_at) / DAY_MS for p in pairs])
    dataset.propensity = fit_propensity(dataset, clip=0.01)
    rows = [dataset.read(number) for number in range(len(dataset.rows))]
    weight = np.concatenate([one.propensity_weight for one in rows])
    gap = np.concatenate([np.abs(r.chosen_created_at - r.rejected_created_at) for r in rows])
    mean = float(weight @ np.log1p(gap / DAY_MS) / weight.sum())
    plain, wanted = float(np.log1p(apart).mean()), float(np.log1p(days).mean())
    assert wanted - plain > 0.3  # late pairs are missing
    assert mean == pytest.approx(wanted, abs=0.08)
    assert weight.mean() == pytest.approx(1.0, abs=0.05)


def test_the_clip_bounds_a_weight() -> None:
    model = Propensity(coefficients=(0.0, -3.0, 0.0, 0.0), decided=0.5, clip=0.1)
    times = np.array([1e12, 1e12, 1e12])
    later = times + np.array([0.0, 1.0, 1000.0]) * DAY_MS
    features = features_of(times, later, times, np.full(3, 2.0))
    chance = 1 / (1 + np.exp(3 * np.log1p([0.0, 1.0, 1000.0])))
    assert model.weights(features) == pytest.approx(0.5 / np.maximum(chance, 0.1))
    assert model.weights(features).max() == pytest.approx(5.0)
    # Which of the two came first is nothing that decides.
    swapped = features_of(later, times, times, np.full(3, 2.0))
    assert np.array_equal(features, swapped)


def test_where_every_two_are_a_pair_all_weigh_the_same(tmp_path: Path) -> None:
    pairs, _ = threads(20, always=True)
    dataset = PairDataset(str(write_dataset(tmp_path / "data", pairs)), "train")
    assert dataset.read(0).propensity_weight.tolist() == [1.0] * dataset.rows[0]
    dataset.propensity = fit_propensity(dataset, clip=0.1)
    assert dataset.propensity.decided == 1.0
    assert dataset.read(0).propensity_weight == pytest.approx(1.0)


def test_candidates_are_counted_once_by_hand(tmp_path: Path) -> None:
    def pair(chosen: int, rejected: int) -> Pair:
        return one_pair(
            "f:1", "train", "f", "Why?", (chosen, f"{chosen}"), (rejected, f"{rejected}")
        )

    dataset = PairDataset(
        str(write_dataset(tmp_path / "data", [pair(0, 1), pair(0, 2), pair(3, 1)])), "train"
    )
    features, is_pair = candidates(dataset.light_columns(COLUMNS))
    assert (len(is_pair), int(is_pair.sum())) == (6, 3)  # 4 responses, each in a pair
    assert features[:, 3] == pytest.approx(np.log(4))


def test_a_pair_weighs_its_share_of_the_prompt_times_that(tmp_path: Path) -> None:
    pairs, _ = threads(8)
    dataset = PairDataset(str(write_dataset(tmp_path / "data", pairs)), "train")
    dataset.propensity = fit_propensity(dataset, clip=0.1)
    tokenizer = make_tokenizer()
    template = choose_template(tokenizer, "auto", encoder=False)
    tokens = PairTokenizer(tokenizer, template, max_length=128)
    rows = dataset.read(0)
    for group in group_pairs(rows, prompt_runs(rows), tokens).groups:
        for one in group.pairs:
            expected = rows.propensity_weight[one.row] / rows.prompt_pairs[one.row]
            assert one.weight == pytest.approx(expected)


def test_a_run_says_what_it_weighs_by(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, _ = threads(12)
    write_dataset(tmp_path / "data", pairs)
    make_model(tmp_path / "model")
    settings: tuple[Any, ...] = (
        "data.propensity_clip=0.2",
        "data.max_length=64",
        "run.trackers=[]",
    )
    command = ["train", "--dataset", str(tmp_path / "data"), "--model", str(tmp_path / "model")]
    command += ["--output", str(tmp_path / "run"), "--device", "cpu"]
    for setting in (*settings, "run.max_steps=1"):
        command += ["--set", setting]
    assert main(command) == 0
    found = json.loads((tmp_path / "run/summary.json").read_text())["propensity"]
    assert found["clip"] == 0.2
    assert 0 < found["decided"] < 1
    assert "by 1 / the probability that they are decided, at least 0.2" in " ".join(
        capsys.readouterr().err.split()
    )
