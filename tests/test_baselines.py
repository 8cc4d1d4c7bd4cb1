import re
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.test_metrics import scored
from training.validation.baselines import (
    ValidationReport,
    earlier,
    longer,
    longer_and_earlier,
    report,
    resampled_accuracy,
)
from training.validation.bootstrap import Interval, interval
from training.validation.display import conclusions, line, summary
from training.validation.metrics import ScoredPairs, correctness


def forum(size: int = 1200, *, per_prompt: int = 3, seed: int = 0) -> ScoredPairs:
    """Pairs whose labels follow length and order, as votes do, with an oracle as the model."""
    rng = np.random.default_rng(seed)
    length = rng.integers(20, 400, (2, size))
    created = rng.integers(1, 10**6, (2, size))
    pull = 1.5 * (np.log1p(length[0]) - np.log1p(length[1])) + np.sign(created[1] - created[0])
    first = rng.random(size) < 1 / (1 + np.exp(-pull))
    return scored(
        np.ones(size),
        prompt=[f"p{number // per_prompt}" for number in range(size)],
        weight=np.full(size, 1 / per_prompt),
        site=np.where(np.arange(size) % 3 == 0, "ai", "beer"),
        chosen_length=np.where(first, length[0], length[1]),
        rejected_length=np.where(first, length[1], length[0]),
        chosen_created_at=np.where(first, created[0], created[1]),
        rejected_created_at=np.where(first, created[1], created[0]),
    )


FORUM = forum()


def accuracy(pairs: ScoredPairs, scores: Any) -> float:
    return float(np.average(correctness(scores), weights=pairs.weight))


def shuffled(pairs: ScoredPairs, seed: int) -> ScoredPairs:
    order = np.random.default_rng(seed).permutation(len(pairs.weight))
    return ScoredPairs(*(column[order] for column in pairs))


def test_the_two_rules_by_hand() -> None:
    pairs = scored(
        np.zeros(4),
        chosen_length=[9, 3, 5, 7],
        rejected_length=[3, 9, 5, 0],
        chosen_created_at=[10, 30, 20, 0],
        rejected_created_at=[20, 20, 20, 50],
    )
    assert correctness(longer(pairs)).tolist() == [1.0, 0.0, 0.5, 1.0]
    # An unknown time decides nothing: it is not the earliest of all.
    assert correctness(earlier(pairs)).tolist() == [1.0, 0.0, 0.5, 0.5]


def test_both_together_beat_each_alone_where_both_matter() -> None:
    both = accuracy(FORUM, longer_and_earlier(FORUM))
    assert both > accuracy(FORUM, longer(FORUM)) + 0.02
    assert both > accuracy(FORUM, earlier(FORUM)) + 0.02


def test_swapping_the_responses_mirrors_the_score() -> None:
    scores = longer_and_earlier(FORUM)
    swapped = FORUM._replace(
        chosen_length=FORUM.rejected_length,
        rejected_length=FORUM.chosen_length,
        chosen_created_at=FORUM.rejected_created_at,
        rejected_created_at=FORUM.chosen_created_at,
    )
    # Where all labels are turned, the fit turns, too, and says the same of the *label*.
    np.testing.assert_allclose(longer_and_earlier(swapped), scores, atol=1e-4)


def test_a_pair_is_never_scored_by_a_fit_that_saw_its_prompt() -> None:
    # The longer wins in every prompt but one, which outweighs all the others.
    size = 60
    pairs = scored(
        np.zeros(size),
        prompt=["odd", "odd", *(f"p{number}" for number in range(size - 2))],
        weight=[1e6, 1e6, *np.ones(size - 2)],
        chosen_length=[10, 10, *np.full(size - 2, 30)],
        rejected_length=[30, 30, *np.full(size - 2, 10)],
        chosen_created_at=np.zeros(size),
    )
    correct = correctness(longer_and_earlier(pairs))
    assert correct[:2].tolist() == [0.0, 0.0]  # the rest say "longer", so it is misjudged
    # Prompts of other folds have learned from it; those of its own fold have not.
    assert 0 < correct[2:].mean() < 0.5


def test_cross_fitting_does_not_find_a_rule_in_noise() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(60):
        values = rng.integers(1, 99, (4, 24))
        noise = scored(
            np.zeros(24),
            chosen_length=values[0],
            rejected_length=values[1],
            chosen_created_at=values[2],
            rejected_created_at=values[3],
        )
        found.append(accuracy(noise, longer_and_earlier(noise)))
    # Fitted and scored on the same pairs it would say 0.6.
    assert np.mean(found) < 0.53


def test_a_rule_that_decides_everything_stays_finite() -> None:
    size = 50
    pairs = scored(np.zeros(size), chosen_length=[30] * size, rejected_length=[10] * size)
    scores = longer_and_earlier(pairs)
    assert np.isfinite(scores).all()
    assert accuracy(pairs, scores) == pytest.approx(1.0)


def test_one_prompt_cannot_be_cross_fitted() -> None:
    pairs = scored(np.ones(4), prompt=["p"] * 4)
    assert longer_and_earlier(pairs).tolist() == pytest.approx([0.0] * 4)
    assert accuracy(pairs, longer_and_earlier(pairs)) == pytest.approx(0.5)


def intervals(correct: Any, weight: Any, prompt: Any, *, n: int = 1000, seed: int = 0) -> Interval:
    return interval(resampled_accuracy(correct[None], weight, prompt, n=n, seed=seed)[0])


def test_intervals_are_seeded_hold_the_value_and_resample_prompts() -> None:
    rng = np.random.default_rng(2)
    correct = (rng.random(600) < 0.7).astype(np.float64)
    weight, prompt = np.ones(600), np.arange(600)
    found = intervals(correct, weight, prompt, n=1000, seed=5)
    assert found == intervals(correct, weight, prompt, n=1000, seed=5)
    assert found != intervals(correct, weight, prompt, n=1000, seed=6)
    se = np.sqrt(0.7 * 0.3 / 600)
    assert found.low == pytest.approx(correct.mean() - 1.96 * se, abs=0.01)
    assert found.high == pytest.approx(correct.mean() + 1.96 * se, abs=0.01)
    # Ten copies of each prompt's pair are no new evidence; as prompts of their own they would be.
    copied = intervals(np.repeat(correct, 10), np.ones(6000), np.repeat(prompt, 10), seed=5)
    assert (copied.low, copied.high) == pytest.approx((found.low, found.high))
    pretended = intervals(np.repeat(correct, 10), np.ones(6000), np.arange(6000), seed=5)
    assert pretended.high - pretended.low < 0.5 * (found.high - found.low)


def test_scorers_are_compared_on_the_same_resamplings() -> None:
    correct = np.stack([correctness(longer(FORUM)), correctness(longer(FORUM))])
    draws = resampled_accuracy(correct, FORUM.weight, FORUM.prompt, n=50)
    assert draws.shape == (2, 50)
    assert np.array_equal(draws[0], draws[1])
    assert draws.std() > 0


def with_model(rewards: Any) -> ValidationReport:
    return report(FORUM._replace(chosen=np.asarray(rewards)), n=300)


def test_the_report_is_the_same_in_any_order_of_pairs() -> None:
    one, other = report(FORUM, n=50), report(shuffled(FORUM, 1), n=50)
    assert other.interval.low == pytest.approx(one.interval.low)
    for ours, theirs in zip(one.baselines, other.baselines, strict=True):
        assert ours.name == theirs.name
        assert ours.accuracy.value == pytest.approx(theirs.accuracy.value)
        assert ours.ahead.high == pytest.approx(theirs.ahead.high)


def test_baselines_are_beside_the_model_in_every_group() -> None:
    found = report(FORUM, n=50)
    assert [one.name for one in found.baselines] == ["longer", "earlier", "longer + earlier"]
    by_length = found.baselines[0].groups
    assert by_length["chosen longer"].value == pytest.approx(1.0)
    assert by_length["chosen shorter"].value == pytest.approx(0.0)
    assert by_length["site ai"].pairs == found.figures.by_site["ai"].pairs == 400
    assert found.prompts == 400


def test_an_oracle_beats_every_rule() -> None:
    sentences = conclusions(with_model(np.ones(1200)))
    assert len(sentences) == 4
    assert "above the noise ceiling" in sentences.pop()
    assert all(sentence.startswith("The model beats") for sentence in sentences)


def test_the_words_follow_the_interval_of_the_difference() -> None:
    same = conclusions(with_model(longer_and_earlier(FORUM)))
    assert same[2].startswith('The model does not beat "longer + earlier"')
    assert same[2].endswith("difference +0.000 [+0.000, +0.000].")
    assert same[0].startswith('The model beats "longer"')
    worse = conclusions(with_model(np.full(1200, -1.0)))
    assert "the noise ceiling" in worse.pop()
    assert all(sentence.startswith("The model is worse than") for sentence in worse)
    # A difference that is there but smaller than its interval is no win.
    rng = np.random.default_rng(0)
    close = with_model(longer_and_earlier(FORUM) + rng.normal(0, 0.1, 1200))
    assert close.figures.accuracy.value is not None
    assert close.baselines[2].accuracy.value is not None
    assert close.figures.accuracy.value > close.baselines[2].accuracy.value
    assert conclusions(close)[2].startswith('The model does not beat "longer + earlier"')


def test_few_prompts_and_diverged_rewards_are_said() -> None:
    few = report(scored(np.ones(30)), n=20)
    assert any("Only 30 prompts" in sentence for sentence in conclusions(few))
    assert not any("Only" in sentence for sentence in conclusions(with_model(np.ones(1200))))
    diverged = with_model(np.full(1200, np.nan))
    assert any("1,200 pairs" in sentence for sentence in conclusions(diverged))
    assert "1,200 pairs without finite rewards" in line(diverged)


def test_a_validation_without_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="no validation pairs"):
        report(scored([]))


def test_the_line_and_the_table_show_the_baselines() -> None:
    found = with_model(np.ones(1200))
    one = line(found)
    assert "accuracy 1.000 [1.000, 1.000]" in one
    assert re.search(r"longer 0\.\d{3} · earlier 0\.\d{3} · longer \+ earlier 0\.\d{3}", one)
    out = StringIO()
    Console(file=out, width=100).print(summary(found))
    shown = out.getvalue()
    for row in ("chosen longer", "chosen shorter", "margin 1–2", "site ai", "site beer"):
        assert re.search(rf"^{row} +[\d,]+ +1\.000 ", shown, re.MULTILINE), row
    assert 'The model beats "longer + earlier"' in shown.replace("\n", " ")
    assert "calibration error" in shown


def test_many_sites_are_cut_and_counted() -> None:
    many = FORUM._replace(site=np.array([f"s{number % 11}" for number in range(1200)]))
    out = StringIO()
    Console(file=out, width=100).print(summary(report(many, n=20)))
    assert "and 3 more sites" in out.getvalue()
