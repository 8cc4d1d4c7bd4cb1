"""Uncertainty: the Bayesian last layer, intervals for shares of votes, and what is kept of them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from tests.preference_data import make_model, make_pairs, write_dataset
from tests.suite_files import write_lines
from tests.test_models import bert, load
from training.commands import main
from training.data.collate import micro_batches
from training.data.prompt_groups import PairOfGroup, PromptGroup
from training.errors import ConfigError
from training.evaluation.models import find_model, open_scorer
from training.model.checksums import find_damage
from training.uncertainty.fit import PairReader, Uncertainty, fit_uncertainty, posterior_of
from training.uncertainty.head_inputs import check_last_linear, head_inputs, last_linear
from training.uncertainty.intervals import interval_score, measure_intervals
from training.uncertainty.posterior import PrecisionSum, fit_posterior, prior_precision
from training.uncertainty.saved import load_uncertainty, save_uncertainty
from training.uncertainty.vote_shares import (
    VotedPairs,
    conformal_quantile,
    coverage_error,
    fit_shares,
    moments,
    share_intervals,
    threads_for,
    vote_shares,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on votes that differ, with its dataset and its uncertainty beside it."""
    folder = tmp_path_factory.mktemp("uncertainty")
    rng = np.random.default_rng(0)
    pairs = []
    for split, prompts in (("train", 40), ("validation", 40), ("test", 60)):
        for pair in make_pairs(prompts, split):
            votes = sorted(rng.integers(0, 9, size=2))
            chosen, rejected = float(votes[1] + 1), float(votes[0])
            pairs.append(
                msgspec.structs.replace(
                    pair,
                    chosen_score=chosen,
                    rejected_score=rejected,
                    vote_margin=chosen - rejected,
                )
            )
    write_dataset(folder / "data", pairs)
    make_model(folder / "model")
    arguments = ["train", "--dataset", str(folder / "data"), "--model", str(folder / "model")]
    arguments += ["--output", str(folder / "run"), "--quiet", "--device", "cpu"]
    for setting in ("data.max_length=96", "data.batch_pairs=16", "optim.lr=1e-3"):
        arguments += ["--set", setting]
    assert main([*arguments, "--set", "run.tensorboard=false"]) == 0
    assert main(["uncertainty", str(folder / "run"), "--quiet", "--device", "cpu"]) == 0
    return folder


def reader(run: Path) -> PairReader:
    scorer: Any = open_scorer(find_model(str(run / "run")), device=CPU)
    return PairReader(str(run / "data"), scorer.loaded, CPU, 512)


def test_the_posterior_is_that_of_plain_numpy_over_all_pairs(run: Path) -> None:
    """Features by transformers alone, one text at a time; the sums by loops; a dense inverse."""
    import pyarrow.parquet as pq
    from transformers import AutoModelForSequenceClassification

    found = reader(run)
    posterior, prior, count = posterior_of(found)
    model = AutoModelForSequenceClassification.from_pretrained(run / "run" / "model").eval()
    seen: list[np.ndarray] = []
    model.score.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0, -1].numpy()))

    def feature(prompt: str, response: str) -> np.ndarray:
        ids = found.loaded.tokens.sequence(prompt, response)
        with torch.no_grad():
            model(torch.from_numpy(ids.astype(np.int64))[None])
        return seen[-1].astype(np.float64)

    rows = [
        row
        for path in sorted((run / "data" / "data").glob("train-*"))
        for row in pq.read_table(path).to_pylist()
    ]
    of_prompt: dict[str, int] = {}
    for row in rows:
        of_prompt[row["prompt"]] = of_prompt.get(row["prompt"], 0) + 1
    w = model.score.weight.detach()[0].double().numpy()
    hessian, mean, weights = np.zeros((len(w), len(w))), np.zeros(len(w)), 0.0
    for row in rows:
        a, b = (feature(row["prompt"], row[side]) for side in ("chosen", "rejected"))
        p, weight = 1 / (1 + np.exp(-w @ (a - b))), 1 / of_prompt[row["prompt"]]
        hessian += weight * p * (1 - p) * np.outer(a - b, a - b)
        mean += weight * (a + b) / 2
        weights += weight
    assert count == len(rows)
    covariance = np.linalg.inv(hessian + prior * np.eye(len(w)))
    np.testing.assert_allclose(posterior.reference.numpy(), mean / weights, rtol=1e-4, atol=1e-5)
    ours = (posterior.factor.double() @ posterior.factor.double().T).numpy()
    np.testing.assert_allclose(ours, covariance, rtol=1e-3, atol=1e-4 * np.abs(covariance).max())
    one, other = feature("Why?", "warm flour thank"), feature("Why?", "cold")
    difference = one - other
    found_deviation = posterior.deviation_of_difference(
        torch.from_numpy(one).float()[None], torch.from_numpy(other).float()[None]
    )
    assert float(found_deviation) == pytest.approx(
        np.sqrt(difference @ covariance @ difference), rel=1e-3
    )
    from_reference = one - mean / weights
    assert float(posterior.deviation(torch.from_numpy(one).float()[None])) == pytest.approx(
        np.sqrt(from_reference @ covariance @ from_reference), rel=1e-3
    )


def test_the_posterior_is_as_wide_as_refitted_weights_scatter() -> None:
    """The covariance against that of maximum a posteriori fits to redrawn labels."""
    rng = np.random.default_rng(1)
    features, pairs, prior = 4, 400, 1.0
    x = torch.from_numpy(rng.normal(size=(pairs, features)))
    w = torch.tensor([1.0, -0.5, 0.3, 0.0], dtype=torch.float64)
    fits = []
    for _ in range(300):
        y = torch.from_numpy((rng.random(pairs) < torch.sigmoid(x @ w).numpy()) * 2.0 - 1.0)
        guess = w.clone()
        for _ in range(8):  # Newton
            p = torch.sigmoid(-y * (x @ guess))
            gradient = -(x * (y * p)[:, None]).sum(0) + prior * guess
            curvature = (x * (p * (1 - p))[:, None]).T @ x + prior * torch.eye(features)
            guess = guess - torch.linalg.solve(curvature, gradient)
        fits.append(guess.numpy())
    scatter = np.cov(np.array(fits).T)
    sums = PrecisionSum(features)
    both = torch.cat([x, torch.zeros_like(x)])
    index = torch.arange(pairs)
    sums.add(both, index, index + pairs, torch.ones(pairs), x @ w)
    covariance = torch.linalg.inv(sums.hessian + prior * torch.eye(features)).numpy()
    np.testing.assert_allclose(np.diag(scatter) / np.diag(covariance), 1.0, atol=0.3)


def test_the_prior_is_the_one_of_largest_evidence() -> None:
    eigenvalues = np.array([50.0, 10.0, 3.0, 0.5, 0.0])
    squared = 2.0

    def evidence(prior: float) -> float:  # up to what does not depend on it
        inside = len(eigenvalues) * np.log(prior) - np.log(eigenvalues + prior).sum()
        return float(inside - prior * squared) / 2

    grid = np.geomspace(1e-3, 1e3, 20_001)
    best = grid[np.argmax([evidence(one) for one in grid])]
    assert prior_precision(eigenvalues, squared) == pytest.approx(best, rel=1e-3)


def test_more_pairs_make_it_surer_and_a_part_of_them_is_scaled_up() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2000, 6, generator=generator)
    w = torch.ones(6)

    def fitted(pairs: int, scale: float) -> torch.Tensor:
        sums = PrecisionSum(6)
        chosen = torch.arange(pairs)
        d = (features[chosen] - features[chosen + 1000]) @ w
        sums.add(features, chosen, chosen + 1000, torch.ones(pairs), d)
        return fit_posterior(sums, w, scale=scale)[0].deviation(features)

    few, part, whole = fitted(100, 1.0), fitted(100, 10.0), fitted(1000, 1.0)
    assert float((whole / few).mean()) < 0.5
    assert float((part / whole).mean()) == pytest.approx(1.0, abs=0.2)


def test_what_the_last_layer_reads_comes_with_the_reward(tmp_path: Path) -> None:
    for name, layout in (("bert", "padded"), ("qwen", "shared")):
        folder = bert(tmp_path) if name == "bert" else make_model(tmp_path / name)
        loaded = load(folder, layout)
        (prompt,) = loaded.tokens.prompts(["a b?"])
        responses = tuple(loaded.tokens.responses(["c d e", "f"], len(prompt)))
        group = PromptGroup(prompt, responses, (PairOfGroup(0, 1, 0, 1.0, 1.0, 1.0, ""),))
        (batch,) = micro_batches(
            [group], loaded.model.layout, tokens=512, pad_id=loaded.tokens.pad_id, sites={}
        )
        hooks = len(last_linear(loaded.model)._forward_pre_hooks)
        with torch.no_grad(), head_inputs(loaded.model) as read:
            rewards, features = read(batch)
            layer = last_linear(loaded.model)
            made = (features @ layer.weight.T)[:, 0] + (0.0 if layer.bias is None else layer.bias)
            assert torch.allclose(made, rewards, atol=1e-6)
            check_last_linear(loaded.model, rewards, features)
            with pytest.raises(ConfigError, match="something follows"):
                check_last_linear(loaded.model, rewards + 1, features)
        assert len(layer._forward_pre_hooks) == hooks


def voted(threads: int, seed: int, *, dispersion: float = 0.1, scale: float = 0.7) -> VotedPairs:
    """Pairs whose votes are drawn as the model says: beta-binomial round sigmoid(c·D)."""
    rng = np.random.default_rng(seed)
    thread = np.repeat(np.arange(threads), 2)
    difference = rng.normal(size=len(thread)) * 2
    variance = rng.uniform(0.1, 1.0, size=len(thread))
    votes = rng.integers(3, 40, size=len(thread)).astype(float)
    true = difference + rng.normal(size=len(thread)) * np.sqrt(variance)
    p = 1 / (1 + np.exp(-scale * true))
    concentration = 1 / dispersion - 1
    drawn = rng.beta(p * concentration, (1 - p) * concentration)
    share = rng.binomial(votes.astype(int), drawn) / votes
    return VotedPairs(thread, difference, variance, share, votes)


def test_shares_and_moments_are_those_of_a_simulation() -> None:
    share, votes = vote_shares(np.array([3.0, 5.0, 0.0, -1.0]), np.array([1.0, -2.0, -3.0, -4.0]))
    assert votes.tolist() == [4.0, 5.0, 0.0, 0.0]
    assert share[:2].tolist() == [0.75, 1.0] and np.isnan(share[2:]).all()
    many = voted(100_000, 3)
    same = VotedPairs(
        many.thread, np.full_like(many.difference, 0.8), np.full_like(many.variance, 0.6),
        many.share, np.full_like(many.votes, 7.0),
    )  # fmt: skip
    rng = np.random.default_rng(4)
    p = 1 / (1 + np.exp(-0.7 * (0.8 + rng.normal(size=len(same.share)) * np.sqrt(0.6))))
    drawn = rng.binomial(7, rng.beta(p * 9, (1 - p) * 9)) / 7
    mean, deviation = moments(same, 0.7, 0.1)
    assert mean[0] == pytest.approx(drawn.mean(), abs=0.003)
    assert deviation[0] == pytest.approx(drawn.std(), abs=0.003)


def test_the_fit_finds_what_the_votes_were_drawn_with() -> None:
    found = fit_shares(voted(1500, 5))
    assert found.scale == pytest.approx(0.7, rel=0.1)
    assert found.dispersion == pytest.approx(0.1, abs=0.03)


def test_intervals_hold_nine_tenths_of_shares_that_nothing_was_fitted_to() -> None:
    """Over many draws, also where the model is wrong about how sure it is."""
    for wrong in (1.0, 25.0):
        held = []
        for seed in range(10):
            calibrated, new = voted(150, seed), voted(300, 1000 + seed)
            calibrated = calibrated._replace(variance=calibrated.variance / wrong)
            new = new._replace(variance=new.variance / wrong)
            model = fit_shares(calibrated)
            low, high = share_intervals(new, model)
            held.append(measure_intervals(new, low, high, 0.9, n=20).coverage.value)
        # 10 draws of 150 threads: a standard error of 0.8 points.
        assert np.mean(held) == pytest.approx(0.9, abs=0.025)


def test_intervals_do_not_depend_on_which_response_is_called_chosen() -> None:
    pairs = voted(60, 9)
    turned = pairs._replace(difference=-pairs.difference, share=1 - pairs.share)
    one, other = fit_shares(pairs), fit_shares(turned)
    low, high = share_intervals(pairs, one)
    low_turned, high_turned = share_intervals(turned, other)
    np.testing.assert_allclose(low, 1 - high_turned, atol=1e-6)
    np.testing.assert_allclose(high, 1 - low_turned, atol=1e-6)


def test_the_quantile_counts_threads_and_the_new_one() -> None:
    z = np.arange(1.0, 10.0)
    thread = np.arange(9)
    assert conformal_quantile(z, thread, 0.9) == 9.0  # 9 of 10 with the new one
    assert conformal_quantile(z, thread, 0.8) == 8.0
    many = np.array([0, 0, 0, 1, 2, 3, 4, 5, 6])  # a thread of three counts as one
    assert conformal_quantile(np.array([9.0, 9, 9, 1, 2, 3, 4, 5, 6]), many, 0.7) == 6.0


def test_as_many_threads_as_are_asked_for_fix_the_coverage() -> None:
    """What simulated calibrations hold of new values is as near to the level as promised."""
    threads = threads_for(0.04)
    assert coverage_error(threads) <= 0.04 < coverage_error(threads - 1)
    rng = np.random.default_rng(0)
    number = np.arange(threads)
    # Of a uniform z the quantile is the coverage.
    held = [conformal_quantile(rng.random(threads), number, 0.9) for _ in range(2000)]
    nearer = np.mean(np.abs(np.array(held) - 0.9) <= 0.04)
    assert 0.935 <= nearer <= 0.965


def test_the_interval_score_is_lowest_for_the_true_quantiles() -> None:
    values = np.random.default_rng(0).normal(size=200_000)

    def mean(half: float) -> float:
        low = np.full_like(values, -half)
        return float(interval_score(low, -low, values, 0.9).mean())

    best = min(np.linspace(1.0, 2.4, 141), key=mean)
    assert best == pytest.approx(1.645, abs=0.03)
    one = interval_score(np.array([0.2]), np.array([0.6]), np.array([0.7]), 0.9)
    assert one[0] == pytest.approx(0.4 + 20 * 0.1)


def test_scores_get_lower_and_upper_ends_in_the_same_pass(run: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    rows = [
        {"prompt": "Why?", "responses": ["warm flour thank", "cold rubbish"]},
        {"prompt": "How?", "responses": ["fold"]},
    ]
    source = write_lines(tmp_path / "rows.jsonl", rows)
    command = ["score", str(source), "--model", str(run / "run"), "--quiet", "--device", "cpu"]
    assert main([*command, "--output", str(tmp_path / "plain")]) == 0
    assert main([*command, "--output", str(tmp_path / "bars"), "--intervals"]) == 0

    def read(name: str) -> list[dict[str, Any]]:
        text = (tmp_path / name / "rows.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    posterior, record = load_uncertainty(run / "run" / "model")
    loaded = reader(run).loaded
    plain_model = AutoModelForSequenceClassification.from_pretrained(run / "run" / "model").eval()
    for plain, bars in zip(read("plain"), read("bars"), strict=True):
        assert bars["model_scores"] == plain["model_scores"]
        assert not any("upper" in name for name in plain)
        for text, score, low, high in zip(
            plain["responses"],
            bars["model_scores"],
            bars["model_scores_lower"],
            bars["model_scores_upper"],
            strict=True,
        ):
            ids = torch.from_numpy(loaded.tokens.sequence(plain["prompt"], text).astype(np.int64))
            with torch.no_grad():
                hidden = plain_model.model(ids[None]).last_hidden_state[0, -1]
            sure = torch.linalg.norm(posterior.factor.T @ (hidden - posterior.reference))
            assert (low + high) / 2 == pytest.approx(score, abs=1e-6)
            assert (high - low) / 2 == pytest.approx(1.6449 * float(sure), rel=1e-3)
    # The same command goes on from the log, which keeps the deviations.
    assert main([*command, "--output", str(tmp_path / "bars"), "--intervals"]) == 0
    assert record.shares.level == 0.9


def test_a_model_with_error_bars_is_whole_and_loads_in_transformers(run: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = run / "run" / "model"
    assert find_damage(folder) is None
    named = json.loads((folder / "checksums.json").read_text())["files"]
    assert {"uncertainty.json", "uncertainty.safetensors", "model.safetensors"} <= named.keys()
    AutoModelForSequenceClassification.from_pretrained(folder)


def test_fitting_again_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    names = ("uncertainty.json", "uncertainty.safetensors", "checksums.json")
    shutil.copytree(run / "run", tmp_path / "run")
    assert main(["uncertainty", str(tmp_path / "run"), "--quiet", "--device", "cpu"]) == 0
    for name in names:
        there = (run / "run" / "model" / name).read_bytes()
        assert (tmp_path / "run" / "model" / name).read_bytes() == there, name


def test_fitting_again_does_not_bless_weights_that_were_damaged_since(
    run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run / "run", tmp_path / "run")
    folder = tmp_path / "run" / "model"
    posterior, record = load_uncertainty(folder)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    save_uncertainty(
        folder,
        Uncertainty(posterior, record.shares, record.prior_precision, record.train_pairs),
        dataset=record.dataset,
        manifest_sha256=record.manifest_sha256,
        reads=record.reads,
    )
    assert "model.safetensors" in (find_damage(folder) or "")


def test_a_model_of_others_cannot_have_error_bars(tmp_path: Path) -> None:
    """An encoder without a template of ours, which its tokenizer's pair of sequences is read by."""
    folder = bert(tmp_path)
    with pytest.raises(ConfigError, match="was not written by forumprefs train"):
        open_scorer(find_model(str(folder)), device=CPU, intervals=True)


def test_evaluate_says_what_the_intervals_hold(run: Path, tmp_path: Path) -> None:
    output = tmp_path / "eval"
    command = ["evaluate", "--model", str(run / "run"), "--quiet", "--device", "cpu"]
    command += ["--benchmark", f"held-out={run / 'data'}", "--output", str(output)]
    assert main([*command, "--bootstrap", "20"]) == 0
    (suite,) = json.loads((output / "results.json").read_text())["result"]["suites"]
    found = suite["vote_intervals"]
    assert found["level"] == 0.9 and found["threads"] == 60
    assert 0.75 <= found["coverage"]["value"] <= 1.0
    assert found["coverage"]["low"] <= found["coverage"]["value"] <= found["coverage"]["high"]
    assert found["width"]["value"] <= found["score"]["value"]
    assert "intervals hold" in (output / "results.md").read_text()


def test_evaluate_goes_on_without_error_bars_of_texts_read_otherwise(
    run: Path, tmp_path: Path
) -> None:
    output = tmp_path / "eval"
    command = ["evaluate", "--model", str(run / "run"), "--quiet", "--device", "cpu"]
    command += ["--benchmark", f"held-out={run / 'data'}", "--output", str(output)]
    assert main([*command, "--bootstrap", "20", "--max-length", "64"]) == 0
    (suite,) = json.loads((output / "results.json").read_text())["result"]["suites"]
    assert suite.get("vote_intervals") is None
    assert any("fitted to texts read with" in warning for warning in suite["warnings"])


def test_the_posterior_counts_the_pairs_that_the_run_saw(run: Path) -> None:
    everything = posterior_of(reader(run))
    fewer = posterior_of(replace(reader(run), trained_pairs=30))
    assert fewer[2] <= 30 < everything[2]
    # A run on thirty pairs is less sure, however many there are.
    deviation = [float(found[0].factor.norm()) for found in (everything, fewer)]
    assert deviation[0] < deviation[1]
    with pytest.raises(ConfigError):  # every pair was left out
        posterior_of(replace(reader(run), min_confidence=1.1))


def test_a_folder_that_may_not_be_written_is_told_before_anything_is_read(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.evaluation import uncertainty

    monkeypatch.setattr(uncertainty.os, "access", lambda *_: False)
    monkeypatch.setattr(uncertainty, "fit_uncertainty", lambda *_, **__: pytest.fail("read"))
    assert main(["uncertainty", str(run / "run"), "--quiet", "--device", "cpu"]) == 2
    assert "may not be written" in capsys.readouterr().err


def test_memory_that_runs_out_is_one_sentence(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.evaluation import uncertainty

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 b")

    monkeypatch.setattr(uncertainty, "fit_uncertainty", fail)
    assert main(["uncertainty", str(run / "run"), "--quiet", "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert "out of memory" in said and "--batch-tokens 8192" in said


def test_uncertainty_that_does_not_belong_is_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_lines(tmp_path / "rows.jsonl", [{"prompt": "Why?", "response": "fold"}])
    shutil.copytree(run / "run", tmp_path / "run")
    folder = tmp_path / "run" / "model"
    command = ["score", str(source), "--model", str(tmp_path / "run"), "--intervals", "--quiet"]
    command += ["--device", "cpu"]

    def refused(*more: str) -> str:
        assert main([*command, "--output", str(tmp_path / "out"), *more]) == 2
        return capsys.readouterr().err

    assert "fitted to texts read with" in refused("--max-length", "64")
    assert "--kind reward" in refused("--kind", "logprob")
    record = json.loads((folder / "uncertainty.json").read_text())
    record["weights"] = dict.fromkeys(record["weights"], "0" * 64)
    (folder / "uncertainty.json").write_text(json.dumps(record))
    assert "uncertainty.json" in refused()  # as its checksum says
    from training.model.checksums import write_checksums

    write_checksums(folder)
    assert "of other weights" in refused()
    (folder / "uncertainty.json").unlink()
    write_checksums(folder)
    assert "forumprefs uncertainty fits one" in refused()


@pytest.mark.parametrize("votes", ["debiased", "log2"])
def test_scores_that_are_no_votes_are_refused_and_evaluate_goes_on(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], votes: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(run / "data", data)
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["recipe"]["votes"] = votes
    (data / "manifest.json").write_text(json.dumps(manifest))
    command = ["uncertainty", str(run / "run"), "--dataset", str(data), "--device", "cpu"]
    assert main([*command, "--quiet"]) == 2
    assert f"no numbers of votes (--votes {votes})" in capsys.readouterr().err
    command = ["evaluate", "--model", str(run / "run"), "--quiet", "--device", "cpu"]
    command += ["--benchmark", f"held-out={data}", "--output", str(tmp_path / "eval")]
    assert main([*command, "--bootstrap", "20"]) == 0
    (suite,) = json.loads((tmp_path / "eval/results.json").read_text())["result"]["suites"]
    assert suite.get("vote_intervals") is None
    assert any("no numbers of votes" in warning for warning in suite["warnings"])


def test_too_few_voted_threads_are_told(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path / "few", make_pairs(8, "train") + make_pairs(4, "validation"))
    before = (run / "run" / "model" / "uncertainty.json").read_bytes()
    command = ["uncertainty", str(run / "run"), "--quiet", "--device", "cpu"]
    assert main([*command, "--dataset", str(tmp_path / "few")]) == 2
    assert "4 threads with votes; 10 are needed" in capsys.readouterr().err
    assert (run / "run" / "model" / "uncertainty.json").read_bytes() == before
    assert main([*command, "--max-pairs", "0"]) == 2
    found = fit_uncertainty(reader(run), max_pairs=20)
    assert found.train_pairs <= 20
