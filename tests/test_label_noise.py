"""Shares of flipped labels: estimated where they were planted, and what the losses do with them."""

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from schemas.pair import Pair
from tests.preference_data import make_model, make_pairs, one_pair, write_dataset
from training.commands import main
from training.config import convert
from training.data.dataset import PairDataset
from training.data.selection import Selection
from training.errors import ConfigError
from training.labels import (
    LabelNoise,
    clusters_of,
    cross_fitted_differences,
    flip_rates,
    settle_label_noise,
)
from training.labels.flip_rates import FlipRate
from training.labels.settle import instead_of_wide
from training.losses import LCPO, Labels, LossConfig, make_objective
from training.validation.logistic import fit
from training.validation.metrics import Floats

PER_QUESTION = 3


def planted(
    flips: float, *, pairs: int = 2400, size: int = 8, sharp: float = 3.0, seed: int = 0
) -> tuple[Floats, Any]:
    """Features [P, F] of chosen minus rejected, and the question of each pair.

    The better response wins by Bradley–Terry, then labels are flipped.
    """
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((pairs, size))
    direction = rng.standard_normal(size)
    reward = features @ (direction * sharp / np.linalg.norm(direction))
    first_wins = rng.random(pairs) < 1 / (1 + np.exp(-reward))
    first_wins ^= rng.random(pairs) < flips
    return features * np.where(first_wins, 1, -1)[:, None], np.arange(pairs) // PER_QUESTION


ONE_SITE = np.zeros(2400, dtype=np.int64)


@pytest.mark.parametrize("flips", [0.0, 0.1, 0.2, 0.4])
def test_planted_flips_are_within_the_interval(flips: float) -> None:
    features, question = planted(flips)
    differences = cross_fitted_differences(features, question)
    (found,) = flip_rates(differences, ONE_SITE, question, 1, draws=60)
    assert found.low is not None
    assert found.high is not None
    assert found.low - 1e-9 <= flips <= found.high
    assert found.high - found.low < 0.3
    assert found.value == pytest.approx(flips, abs=0.08)


def test_the_fit_to_the_same_pairs_sees_no_flips_and_other_folds_do() -> None:
    """The reason for the folds: a large model explains flipped labels, too."""
    features, question = planted(0.2, pairs=1500, size=200, sharp=8.0)
    site = np.zeros(1500, dtype=np.int64)
    trained = features @ fit(features, np.ones(1500))
    (of_training,) = flip_rates(trained, site, question, 1, draws=20)
    differences = cross_fitted_differences(features, question)
    (of_others,) = flip_rates(differences, site, question, 1, draws=20)
    assert of_training.high is not None
    assert of_training.high < 0.05
    assert of_others.low is not None
    assert of_others.high is not None
    assert of_others.low <= 0.2 <= of_others.high
    assert of_others.value > 0.05


def test_the_update_of_the_paper_stays_where_it_began() -> None:
    """η after one epoch says about the same, whatever is planted; the estimate beside it does not
    (:func:`test_planted_flips_are_within_the_interval`)."""
    etas = [eta_after_an_epoch(planted(flips)[0]) for flips in (0.0, 0.2, 0.4)]
    assert all(0.85 < eta < 0.97 for eta in etas)


def eta_after_an_epoch(features: Floats) -> float:
    """η of the paper's update, where a linear reward is trained in steps of 48 pairs."""
    z = torch.tensor(features, dtype=torch.float32)
    weight = torch.zeros(z.shape[1], requires_grad=True)
    loss = LCPO(1, decay=0.99)
    optimizer = torch.optim.Adam([weight], lr=0.05)
    for batch in z.split(48):
        optimizer.zero_grad()
        loss(batch @ weight, torch.zeros(len(batch)), known(len(batch))).mean().backward()
        optimizer.step()
        loss.end_step()
    return float(loss.eta)


def test_sites_have_rates_of_their_own_and_one_without_pairs_that_of_all() -> None:
    clean, question = planted(0.02, seed=1)
    noisy, _ = planted(0.35, seed=1)
    site = np.arange(2400) % 2
    features = np.where((site == 0)[:, None], clean, noisy)
    question = question * 2 + site  # no question is of two sites
    differences = cross_fitted_differences(features, question)
    first, second, empty = flip_rates(differences, site, question, 3, draws=60)
    for rate, flips in ((first, 0.02), (second, 0.35)):
        assert rate.low is not None
        assert rate.high is not None
        assert rate.low <= flips <= rate.high
        assert rate.pairs == 1200
    assert first.high < second.low  # type: ignore[operator]
    assert first.value < empty.value < second.value


def test_where_features_tell_nothing_the_interval_says_so() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((600, 8))
    (found,) = flip_rates(
        cross_fitted_differences(features, np.arange(600)),
        np.zeros(600, dtype=np.int64),
        np.arange(600),
        1,
        draws=40,
    )
    assert found.is_wide


def test_a_copy_in_another_thread_does_not_tell_the_label() -> None:
    """Labels drawn at random can be learned by heart alone: copies must be in one fold."""
    rng = np.random.default_rng(0)
    features = np.tile(rng.standard_normal((60, 30)), (6, 1))
    keys = [(f"thread {row}", f"text {row % 60}") for row in range(360)]
    differences = cross_fitted_differences(features, clusters_of(keys))
    assert (differences > 0).mean() < 0.65
    leaking = cross_fitted_differences(features, np.arange(360))
    assert (leaking > 0).mean() > 0.8


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3), max_size=12))
def test_clusters_are_the_connected_components(keys: list[list[str]]) -> None:
    found = clusters_of(keys)
    together = [set(of_pair) for of_pair in keys]
    for _ in keys:
        together = [set().union(*(b for b in together if a & b)) for a in together]
    for i, first in enumerate(together):
        for j, second in enumerate(together):
            assert (found[i] == found[j]) == bool(first & second)


# What the losses do with it


def known(pairs: int, site: Any = 0) -> Labels:
    ones = torch.ones(pairs)
    sites = (
        torch.as_tensor(site).expand(pairs) if not isinstance(site, list) else torch.tensor(site)
    )
    return Labels(ones, 0.9 * ones, 3 * ones, sites, ones, ones)


def test_robust_by_site_is_the_formula_of_each_site() -> None:
    objective = make_objective(LossConfig(name="robust", label_noise="votes"), sites=3)
    rates = torch.tensor([0.0, 0.1, 0.4])
    objective.set_flip_rates(rates)
    d, site = torch.tensor([1.5, -0.5, 2.0, -3.0]), [0, 1, 2, 2]
    found = objective(d, torch.zeros(4), known(4, site))
    softplus = torch.nn.functional.softplus
    noise = rates[torch.tensor(site)]
    expected = ((1 - noise) * softplus(-d) - noise * softplus(d)) / (1 - 2 * noise)
    torch.testing.assert_close(found, expected)
    assert objective.state_dict()["loss.noise"].tolist() == pytest.approx([0.0, 0.1, 0.4])
    again = make_objective(LossConfig(name="robust", label_noise="votes"), sites=3)
    again.load_state_dict(objective.state_dict())
    torch.testing.assert_close(again(d, torch.zeros(4), known(4, site)), expected)


@given(rates=st.tuples(*[st.floats(0, 0.45)] * 2), d=st.floats(-8, 8))
def test_robust_by_site_is_unbiased_at_each_site(rates: tuple[float, float], d: float) -> None:
    objective = make_objective(LossConfig(name="robust", label_noise="cross_fitted"), sites=2)
    objective.double().set_flip_rates(torch.tensor(rates, dtype=torch.float64))
    x = torch.full((2,), d, dtype=torch.float64)
    zeros = torch.zeros_like(x)
    site = known(2, [0, 1])
    share = torch.tensor(rates, dtype=torch.float64)
    mean = (1 - share) * objective(x, zeros, site) + share * objective(zeros, x, site)
    torch.testing.assert_close(mean, torch.nn.functional.softplus(-x))


def test_lcpo_has_the_gradient_of_the_likelihood_of_flipped_labels_and_holds_its_rates() -> None:
    objective = make_objective(LossConfig(name="lcpo"), sites=2)
    objective.set_flip_rates(torch.tensor([0.1, 0.35]))
    d = torch.tensor([2.0, -1.0, 0.0, 4.0], requires_grad=True)
    site = [0, 1, 1, 0]
    (ours,) = torch.autograd.grad(objective(d, torch.zeros(4), known(4, site)).sum(), d)
    noise = torch.tensor([0.1, 0.35])[torch.tensor(site)]
    p = torch.sigmoid(d)
    (theirs,) = torch.autograd.grad(-torch.log((1 - noise) * p + noise * (1 - p)).sum(), d)
    torch.testing.assert_close(ours, theirs)
    objective.end_step()
    assert objective.state_dict()["loss.eta"].tolist() == pytest.approx([0.9, 0.65])


def test_a_loss_without_noise_takes_no_rates() -> None:
    with pytest.raises(TypeError, match="takes no flip rates"):
        make_objective(LossConfig(name="bt"), 1).set_flip_rates(torch.zeros(1))


@pytest.mark.parametrize("noise", [0, 0.25, {"a": 0.1, "*": 0}, "votes", "cross_fitted", None])
def test_a_share_of_flips_can_be_given_in_each_of_its_forms(noise: Any) -> None:
    loss = convert({"loss": {"name": "robust", "label_noise": noise}}).loss
    assert loss.label_noise == noise
    make_objective(loss, 2)


@pytest.mark.parametrize("noise", [0.5, -0.1, {"a": 0.5}, "vote"])
def test_a_share_that_says_nothing_is_refused(noise: Any) -> None:
    with pytest.raises(ConfigError, match="label_noise"):
        convert({"loss": {"name": "robust", "label_noise": noise}})


# Whole runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites, of one of which 30 % of the labels are flipped; its confidences say 0.7."""
    folder = tmp_path_factory.mktemp("label_noise")
    make_model(folder / "model")
    rng = random.Random(0)
    noisy = [
        flipped(pair) if rng.random() < 0.3 else msgspec.structs.replace(pair, confidence=0.7)
        for pair in make_pairs(160, "train", site="noisy.example", seed=3)
    ]
    clean = make_pairs(160, "train", site="clean.example")
    write_dataset(folder / "data", clean + noisy + make_pairs(10, "validation"))
    return folder


def flipped(pair: Pair) -> Pair:
    return msgspec.structs.replace(pair, chosen=pair.rejected, rejected=pair.chosen, confidence=0.7)


def arguments(folder: Path, output: Path, *settings: str, resume: bool = False) -> list[str]:
    found = ["train", "--dataset", str(folder / "data"), "--model", str(folder / "model")]
    found += ["--output", str(output), "--device", "cpu", *(["--resume"] if resume else [])]
    for setting in (
        *("data.batch_pairs=64", "data.max_length=128", "model.micro_batch_tokens=4000"),
        *("optim.lr=0.003", "optim.eps=0.0001", "run.trackers=[]", "run.eval_pairs=10"),
        *settings,
    ):
        found += ["--set", setting]
    return found


def summary_of(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "summary.json").read_text(encoding="utf-8"))
    return found


def test_a_run_estimates_before_its_first_step_and_goes_on_with_that(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    settings = ("loss.name=lcpo", "run.max_steps=3")
    assert main(arguments(folder, straight, *settings)) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "flipped labels, cross-fitted on" in said
    noise = summary_of(straight)["label_noise"]
    assert noise["source"] == "cross_fitted"
    rates = {site: FlipRate(**rate) for site, rate in noise["sites"].items()}
    assert set(rates) == {"clean.example", "noisy.example"}
    for site, planted_share in (("clean.example", 0.0), ("noisy.example", 0.3)):
        rate = rates[site]
        assert rate.low is not None
        assert rate.high is not None
        assert rate.low <= planted_share <= rate.high
    assert rates["clean.example"].high < rates["noisy.example"].low  # type: ignore[operator]
    state = json.loads((straight / "checkpoints/step-00000003/trainer.json").read_text())
    eta = [1 - rates[site].value for site in sorted(rates)]
    assert state["loss"]["loss.eta"] == pytest.approx(eta, abs=1e-3)
    assert main(arguments(folder, stopped, "loss.name=lcpo", "run.max_steps=1")) == 0
    assert main(arguments(folder, stopped, *settings, resume=True)) == 0
    first, second = (load_file(one / "model/model.safetensors") for one in (straight, stopped))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert {**summary_of(stopped)["label_noise"], "seconds": 0} == {**noise, "seconds": 0}


def settled(folder: Path, noise: Any, **selected: float) -> LabelNoise:
    """What a run of one process finds, without the run."""
    config = convert({"loss": {"name": "robust", "label_noise": noise}})
    dataset = PairDataset(str(folder / "data"), "train", selection=Selection(**selected))
    nothing: Any = None  # no model is asked
    found = settle_label_noise(config, dataset.sites(), dataset, nothing, OneProcess())  # type: ignore[arg-type]
    assert found is not None
    return found


class OneProcess:
    rank, count, context_degree, is_first = 0, 1, 1, True

    def gather(self, value: Any) -> list[Any]:
        return [value]


def test_rates_come_from_the_votes_of_the_pairs_that_are_used(folder: Path) -> None:
    found = settled(folder, "votes")
    rates = {site: rate.value for site, rate in found.sites.items()}
    assert rates == pytest.approx({"clean.example": 0.1, "noisy.example": 0.3})
    assert found.pairs == sum(PairDataset(str(folder / "data"), "train").rows)
    assert f"1 − mean confidence of {found.pairs:,} pairs" in str(found)
    sure = settled(folder, "votes", min_confidence=0.8)
    assert sure.sites["noisy.example"].pairs == 0
    assert sure.sites["clean.example"].value == pytest.approx(0.1)


def test_where_the_pairs_do_not_tell_the_votes_do_within_the_interval() -> None:
    wide = FlipRate(value=0.49, low=0.15, high=0.49, pairs=9)
    assert instead_of_wide(wide, 0.2) == FlipRate(
        value=0.2, low=0.15, high=0.49, pairs=9, from_votes=True
    )
    assert instead_of_wide(wide, 0.05).value == 0.15
    close = FlipRate(value=0.3, low=0.2, high=0.4, pairs=9)
    assert instead_of_wide(close, 0.05) == close
    told = LabelNoise(source="cross_fitted", sites={"a": wide, "b": close})
    assert "Of 1 of 2 sites the pairs do not tell it" in str(told)


def test_a_table_names_sites_and_the_others(folder: Path) -> None:
    found = settled(folder, {"clean.example": 0.05, "*": 0.4})
    assert found.rates == [0.05, 0.4]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"clean.example": 0.1}, "names no rate for noisy.example"),
        ({"clean.example": 0.1, "*": 0.2, "beer": 0.1}, "names beer, but the training pairs are"),
    ],
)
def test_a_table_has_to_fit_the_sites(folder: Path, table: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settled(folder, table)


def test_one_question_is_too_few_to_estimate_from(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = one_pair("f:t", "train", "f", "Why?", (0, "bread"), (1, "oven"))
    write_dataset(tmp_path / "data", [pair])
    (tmp_path / "model").symlink_to(folder / "model")
    assert main(arguments(tmp_path, tmp_path / "run", "loss.name=lcpo")) == 2
    assert "a single question" in " ".join(capsys.readouterr().err.split())
