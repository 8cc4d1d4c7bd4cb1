"""Heads on frozen features: what they learn, how they are judged, and what the figures claim."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.text_world import World, as_thread, make_threads, make_words, write_world
from schemas.ablation import FORUM, SuiteJob
from training.ablation.features import Features, Matrix, Text, WordReader, read_features
from training.ablation.heads import (
    HeadPairs,
    choose_ridge,
    draw_weights,
    fit_head,
    reweighted,
    tossed,
)
from training.ablation.judge import Judged
from training.ablation.measure import holm, suite_figures
from training.ablation.run import load_cell, save_cell
from training.console import ProgressDisplay, make_console
from training.errors import ConfigError
from training.evaluation.comparisons import Comparisons
from training.evaluation.style import without_style
from training.losses.settings import LossConfig
from transforms.pairing.vote_model import compare, fit_vote_model, response_quality


def head_pairs(n: int, features: int, *, flips: float = 0.0, seed: int = 0) -> Any:
    """(matrix, pairs, weights): labels by a planted linear reward, a share of them flipped."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(3 * n, features)).astype(np.float32)
    planted = rng.normal(size=features)
    left, right = rng.integers(0, 3 * n, size=(2, n))
    wins = (matrix[left] @ planted > matrix[right] @ planted) ^ (rng.random(n) < flips)
    one = np.ones(n)
    pairs = HeadPairs(
        chosen=np.where(wins, left, right),
        rejected=np.where(wins, right, left),
        question=np.array([f"q{number // 2}" for number in range(n)]),
        split=np.array(["train"] * n),
        site=np.zeros(n, np.int64),
        weight=one,
        confidence=np.full(n, 1 - flips),
        margin=one,
        chosen_length=one,
        rejected_length=one,
    )
    return matrix, pairs, planted


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize(
    "loss",
    [
        {},
        {"name": "soft"},
        {"name": "robust", "label_noise": 0.2},
        {"name": "margin"},
        {"name": "scaled"},
        {"name": "lcpo"},
        {"name": "length"},
        {"centring": 0.01},
        {"label_smoothing": 0.2},
    ],
)
def test_a_head_finds_the_planted_reward_with_every_loss(loss: dict[str, Any]) -> None:
    matrix, pairs, planted = head_pairs(600, 8, flips=0.1)
    found = fit_head(matrix, pairs, LossConfig(**loss), 1e-2)
    assert cosine(found, planted) > 0.93
    assert np.array_equal(found, fit_head(matrix, pairs, LossConfig(**loss), 1e-2))


def test_the_fit_is_that_of_a_plain_newton_method() -> None:
    from training.validation.logistic import fit

    matrix, pairs, _ = head_pairs(300, 5, flips=0.2)
    sides = [matrix[column].astype(np.float64) for column in (pairs.chosen, pairs.rejected)]
    scale = np.concatenate(sides).std(axis=0)
    wanted = fit((sides[0] - sides[1]) / scale, pairs.weight, ridge=0.1)
    assert np.allclose(fit_head(matrix, pairs, LossConfig(), 0.1) * scale, wanted, atol=1e-4)


def test_a_noisier_label_asks_for_more_penalty() -> None:
    matrix, pairs, _ = head_pairs(150, 100, flips=0.35)
    clean, certain, _ = head_pairs(900, 4)
    assert choose_ridge(matrix, pairs, LossConfig()) > choose_ridge(clean, certain, LossConfig())


def test_seeds_draw_the_same_questions_for_all_arms() -> None:
    names = [f"site:{number}" for number in range(4000)]
    drawn = draw_weights(names, 3)
    assert np.array_equal(draw_weights(names[::-1], 3)[::-1], drawn)
    assert not np.array_equal(draw_weights(names, 4), drawn)
    assert abs(drawn.mean() - 1) < 0.06 and abs(drawn.var() - 1) < 0.12  # Poisson of mean 1
    _, pairs, _ = head_pairs(100, 3)
    kept = reweighted(pairs, 1)
    assert 0 < len(kept) < len(pairs) and (kept.weight > 0).all()


def test_shuffled_labels_teach_nothing() -> None:
    matrix, pairs, planted = head_pairs(800, 8)
    heads = [fit_head(matrix, tossed(pairs, seed), LossConfig(), 1e-2) for seed in range(12)]
    near = [cosine(head, planted) for head in heads]
    assert abs(np.mean(near)) < 0.3 and np.std(near) > 0.1


def test_an_unknown_loss_is_refused() -> None:
    matrix, pairs, _ = head_pairs(20, 3)
    with pytest.raises(ConfigError, match="did you mean soft"):
        fit_head(matrix, pairs, LossConfig(name="sofd"), 1.0)


class CountingReader(WordReader):
    def __init__(self, fail_after: int = 10**9) -> None:
        super().__init__()
        self.read_texts = 0
        self.fail_after = fail_after

    def read(self, texts: Any) -> Matrix:
        if self.read_texts >= self.fail_after:
            raise KeyboardInterrupt
        self.read_texts += len(texts)
        return super().read(texts)


def progress() -> ProgressDisplay:
    return ProgressDisplay(make_console(quiet=True), "")


def test_features_are_read_once_and_a_stopped_run_goes_on(tmp_path: Path) -> None:
    texts = [Text(f"prompt {n % 50}", f"answer {n % 30} of words") for n in range(300)]
    whole = CountingReader()
    wanted = read_features(texts, whole, tmp_path / "whole", progress())
    assert whole.read_texts == len({text.key for text in texts}) < 300
    stopped = CountingReader(fail_after=60)
    with pytest.raises(KeyboardInterrupt):
        read_features(texts, stopped, tmp_path / "parts", progress())
    rest = CountingReader()
    found = read_features(texts, rest, tmp_path / "parts", progress())
    assert stopped.read_texts + rest.read_texts == whole.read_texts and rest.read_texts
    assert np.array_equal(found.matrix[found.rows(texts)], wanted.matrix[wanted.rows(texts)])
    damaged = next((tmp_path / "parts").rglob("*.npz"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    again = CountingReader()
    read_features(texts, again, tmp_path / "parts", progress())
    assert 0 < again.read_texts < whole.read_texts


def test_words_say_whether_a_response_fits_its_prompt() -> None:
    rows = WordReader().read([Text("how to bake bread", "bake it hot"), Text("how", "bake it hot")])
    assert rows[0, -2] == pytest.approx(0.25) and rows[1, -2] == 0
    assert np.array_equal(rows[0, :-2], rows[1, :-2])
    assert np.linalg.norm(rows[0, :-2]) == pytest.approx(1)


def test_cells_of_another_job_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "cells" / "a-0.npz"
    save_cell(path, "one", [0.1], [np.arange(3.0), np.zeros(0)])
    ridges, (first, second) = load_cell(path, "one", 2)
    assert ridges == [0.1] and first.tolist() == [0, 1, 2] and not len(second)
    assert load_cell(path, "other", 2) is None
    path.write_bytes(path.read_bytes()[:50])
    assert load_cell(path, "one", 2) is None


def judged(questions: int, each: int = 2, seed: int = 0) -> Judged:
    rng = np.random.default_rng(seed)
    rows = questions * each
    unit = np.arange(rows) // each
    table = Comparisons(
        item=unit, better=np.zeros(rows, np.int64), worse=np.ones(rows, np.int64),
        weight=np.full(rows, 1 / each), unit=unit, margin=np.ones(rows),
        confidence=np.full(rows, 0.9),
    )  # fmt: skip
    style = np.stack([rng.uniform(-1, 1, rows), *np.zeros((3, rows))], axis=1)
    return Judged(
        job=SuiteJob(name="s", kind=FORUM, location=""), items=(), table=table,
        fold=np.full(rows, "test"), style=style, length=style[:, 0], ceiling=None,
    )  # fmt: skip


def scores_of(suite: Judged, quality: float, seed: int, seeds: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return quality + rng.normal(size=(seeds, len(suite.fold)))


def test_a_planted_difference_is_found_and_none_is_not() -> None:
    suite = judged(400)
    base = scores_of(suite, 0.2, 1)
    arms = {
        "base": base,
        "better": base + 0.4,
        "same": base.copy(),
        "other": scores_of(suite, 0.2, 2),
    }
    found = suite_figures(suite, arms, "base", bootstrap=400, seed=0)
    by_arm = {one.arm: one for one in found.differences if one.figure == "accuracy"}
    assert by_arm["better"].p_holm < 0.01 and by_arm["better"].difference.low > 0.05
    assert by_arm["same"].p_holm == 1 and by_arm["same"].detectable == 0
    assert by_arm["other"].p_holm > 0.05
    assert by_arm["other"].difference.low < 0 < by_arm["other"].difference.high
    # Two arms that go together are told apart more finely than two that do not.
    assert by_arm["better"].detectable < by_arm["other"].detectable
    accuracy = {one.arm: one.accuracy for one in found.arms}
    assert accuracy["base"].low < 0.58 < accuracy["base"].high  # Φ(0.2)


def test_the_detectable_difference_is_found_four_times_in_five() -> None:
    suite = judged(300, each=1)
    detectable, hits = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        right = rng.random((2, 1, len(suite.fold))) < np.array([0.5, 0.616])[:, None, None]
        arms = {"base": right[0] - 0.5, "better": right[1] - 0.5}
        (one, *_) = suite_figures(suite, arms, "base", bootstrap=200, seed=seed).differences
        detectable.append(one.detectable)
        hits.append(one.p_holm < 0.05)
    assert np.mean(detectable) == pytest.approx(0.116, abs=0.01)
    assert 0.65 < np.mean(hits) < 0.93


def test_questions_are_drawn_whole() -> None:
    narrow, wide = (
        suite_figures(
            judged(60, each),
            {arm: np.repeat(scores_of(judged(60, 1), 0.3, n, 1), each, 1) for n, arm in pairs},
            "a", bootstrap=300, seed=0,
        ).arms[0].accuracy
        for each in (1, 8)
        for pairs in (list(enumerate("ab")),)
    )  # fmt: skip
    # Eight copies of a comparison are no more evidence than one.
    assert wide.high - wide.low == pytest.approx(narrow.high - narrow.low, abs=0.02)


def test_style_is_taken_out_of_the_scores() -> None:
    suite = judged(500, 1)
    length, content = suite.style[:, 0], scores_of(suite, 0.0, 5, 1)[0]
    left = without_style(3 * length + content, suite.style, suite.table.weight, suite.table.unit)
    assert abs(np.corrcoef(left, length)[0, 1]) < 0.1
    assert np.corrcoef(left, content)[0, 1] > 0.98
    arms = {"longer": np.array([length]), "coin": scores_of(suite, 0.0, 3, 1)}
    found = suite_figures(suite, arms, "coin", bootstrap=200, seed=0)
    longer = next(one for one in found.arms if one.arm == "longer")
    assert longer.chosen_longer is not None and longer.chosen_longer.value == 1
    assert longer.chosen_shorter is not None and longer.chosen_shorter.value == 0


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def scores_by(label: str, threads: list[Any]) -> list[dict[tuple[int, int], float]]:
    """By thread, how far answer i is ahead of answer j < i by a label."""
    found: list[dict[tuple[int, int], float]] = []
    whole = [as_thread(number, *thread) for number, thread in enumerate(threads)]
    model = fit_vote_model(whole) if label == "debiased" else None
    for thread, (_, answers, votes) in zip(whole, threads, strict=True):
        place = {post.text: number for number, post in enumerate(thread.responses)}
        quality = None if model is None else response_quality(thread, model)
        ahead = {}
        for i in range(len(answers)):
            for j in range(i):
                if quality is not None:
                    at = [place[answers[one].text] for one in (i, j)]
                    ahead[i, j] = compare(quality, at[0], at[1]).margin
                else:
                    since = max(answers[i].day, answers[j].day) + 1
                    score = votes[:, since if label == "common_window" else 0 :].sum(1)
                    ahead[i, j] = float(score[i] - score[j])
        found.append(ahead)
    return found


def world_pairs(label: str, threads: list[Any], reader: WordReader) -> tuple[Matrix, HeadPairs]:
    """The pairs of a world under a label."""
    texts: list[Text] = []
    chosen, rejected, question = [], [], []
    scores = scores_by(label, threads)
    for number, ((asked, answers, _), of_thread) in enumerate(zip(threads, scores, strict=True)):
        first = len(texts)
        texts += [Text(asked, answer.text) for answer in answers]
        for (i, j), ahead in of_thread.items():
            if ahead:
                up, down = (i, j) if ahead > 0 else (j, i)
                chosen.append(first + up)
                rejected.append(first + down)
                question.append(f"q{number}")
    rows = len(chosen)
    one = np.ones(rows)
    return reader.read(texts), HeadPairs(
        chosen=np.array(chosen), rejected=np.array(rejected), question=np.array(question),
        split=np.array(["train"] * rows), site=np.zeros(rows, np.int64), weight=one,
        confidence=one, margin=one, chosen_length=one, rejected_length=one,
    )  # fmt: skip


def right_by_truth(world: World, labels: tuple[str, ...]) -> dict[str, np.ndarray]:
    """By label, whether the head that it trains orders other questions by their true quality."""
    words = make_words(np.random.default_rng([world.seed, 9]))
    reader = WordReader(512)
    threads = list(make_threads(world, words, stream=0, count=world.threads))
    judged_on = [
        (asked, sorted(answers[:2], key=lambda answer: -answer.quality))
        for asked, answers, _ in make_threads(world, words, stream=1, count=300)
    ]
    found = {}
    for label in labels:
        head = fit_head(*world_pairs(label, threads, reader), LossConfig(), 10.0)
        better, worse = (
            reader.read([Text(asked, pair[side].text) for asked, pair in judged_on]) @ head
            for side in (0, 1)
        )
        found[label] = (better > worse).astype(float)
    return found


def test_in_an_unfair_world_fairer_labels_train_truer_models() -> None:
    """Fails where words do not show quality, votes do not favour who came first, or the vote
    model does not correct for it."""
    right = right_by_truth(World(threads=250), ("net_votes", "common_window", "debiased"))
    for fair in ("common_window", "debiased"):
        gain = right[fair] - right["net_votes"]
        error = gain.std() / np.sqrt(len(gain))
        assert gain.mean() >= 0.03 and gain.mean() - 1.96 * error > 0, (fair, gain.mean(), error)
    assert right["net_votes"].mean() > 0.5


def test_in_a_fair_world_net_votes_lose_nothing() -> None:
    fair = World(threads=250, eta=0.0, late=0.0)
    right = right_by_truth(fair, ("net_votes", "common_window"))
    assert right["net_votes"].mean() >= right["common_window"].mean() - 0.02
    assert right["net_votes"].mean() > 0.7


def test_the_world_is_written_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_world(tmp_path / name, World(threads=5), judged=3)
    for name in ("threads.jsonl", "truth.jsonl"):
        first, second = ((tmp_path / folder / name).read_bytes() for folder in "ab")
        assert first == second and first


def test_features_by_key_do_not_mix_prompts() -> None:
    features = Features([Text("a", "x").key, Text("b", "x").key], np.eye(2, dtype=np.float32))
    assert features.rows([Text("b", "x"), Text("a", "x")]).tolist() == [1, 0]
