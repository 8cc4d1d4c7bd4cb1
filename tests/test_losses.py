import copy
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from training.config import LossConfig
from training.errors import ConfigError
from training.losses import (
    LCPO,
    Labels,
    Objective,
    PairLoss,
    bradley_terry,
    centring,
    difference,
    make_objective,
    margin_bradley_terry,
    robust_bradley_terry,
    scaled_bradley_terry,
    smoothed,
    soft_bradley_terry,
    weighted_sum,
)

NAMES = ("bt", "soft", "margin", "scaled", "robust", "lcpo", "length")
REWARDS = st.floats(-30, 30, allow_nan=False, width=32)
SHARES = st.floats(0, 1, width=32)
NOISES = st.floats(0, 0.45)


def labels(
    pairs: int = 1,
    weight: float = 1.0,
    confidence: float = 0.9,
    margin: float = 3.0,
    site: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Labels:
    return Labels(
        weight=torch.full((pairs,), weight, dtype=dtype),
        confidence=torch.full((pairs,), confidence, dtype=dtype),
        margin=torch.full((pairs,), margin, dtype=dtype),
        site=torch.full((pairs,), site, dtype=torch.int64),
        chosen_length=torch.full((pairs,), 20.0, dtype=dtype),
        rejected_length=torch.full((pairs,), 10.0, dtype=dtype),
    )


def at(loss: PairLoss, d: float, **known: float) -> float:
    """The loss of one pair whose rewards differ by d, in fp64."""
    chosen = torch.tensor([d + 0.5], dtype=torch.float64)
    rejected = torch.tensor([0.5], dtype=torch.float64)
    of = labels(1, dtype=torch.float64, **known)  # type: ignore[arg-type]
    return loss(chosen, rejected, of).item()


def softplus(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def every_loss() -> list[tuple[str, Objective]]:
    made = [(name, make_objective(LossConfig(name=name), sites=2)) for name in NAMES]  # type: ignore[arg-type]
    made += [
        (f"{name}, smoothed and centred", make_objective(config, 2))
        for name in ("bt", "soft", "margin", "scaled")
        for config in (LossConfig(name=name, label_smoothing=0.2, centring=0.01),)  # type: ignore[arg-type]
    ]
    return made


LOSSES = every_loss()


@pytest.mark.parametrize(("name", "loss"), LOSSES, ids=[name for name, _ in LOSSES])
def test_gradients_agree_with_finite_differences(name: str, loss: Objective) -> None:
    loss = copy.deepcopy(loss).double().eval()
    generator = torch.Generator().manual_seed(5)
    chosen, rejected = (
        torch.randn(2, 6, dtype=torch.float64, generator=generator).mul(3).requires_grad_()
    )
    known = Labels(
        weight=torch.rand(6, dtype=torch.float64, generator=generator),
        confidence=torch.rand(6, dtype=torch.float64, generator=generator),
        margin=torch.rand(6, dtype=torch.float64, generator=generator) * 20,
        site=torch.tensor([0, 1, 0, 1, 1, 0]),
        chosen_length=torch.rand(6, dtype=torch.float64, generator=generator) * 90,
        rejected_length=torch.rand(6, dtype=torch.float64, generator=generator) * 90,
    )
    if name == "lcpo":
        # Its weights are taken as given, so they are held fixed for the finite differences, too.
        right = torch.sigmoid(math.log(9) + (chosen - rejected)).detach()
        known = known._replace(confidence=right)
        weighted = weighted_sum(loss(chosen, rejected, known), known.weight)
        ours = torch.autograd.grad(weighted, (chosen, rejected))
        theirs = torch.autograd.grad(
            weighted_sum(soft_bradley_terry(chosen, rejected, known), known.weight),
            (chosen, rejected),
        )
        torch.testing.assert_close(ours, theirs)
        return
    assert torch.autograd.gradcheck(
        lambda c, r: weighted_sum(loss(c, r, known), known.weight), (chosen, rejected)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "loss"), LOSSES, ids=[name for name, _ in LOSSES])
def test_extreme_rewards_give_finite_losses_and_gradients(
    name: str, loss: Objective, dtype: torch.dtype
) -> None:
    loss = copy.deepcopy(loss).float().train()
    chosen = torch.tensor([1e4, -1e4, 0.0, 120.0, -120.0], dtype=dtype, requires_grad=True)
    rejected = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0], dtype=dtype, requires_grad=True)
    known = labels(5)
    value = loss(chosen, rejected, known)
    assert value.dtype == torch.float32
    assert value.isfinite().all()
    weighted_sum(value, known.weight).backward()
    for rewards in (chosen, rejected):
        assert rewards.grad is not None
        assert rewards.grad.isfinite().all()
    loss.end_step()
    assert all(state.isfinite().all() for state in loss.state_dict().values())


@pytest.mark.parametrize("d", [-40.0, -3.0, 0.0, 0.7, 40.0])
def test_known_values(d: float) -> None:
    l_plus, l_minus = softplus(-d), softplus(d)
    m = 0.1 * math.log(4)
    assert at(bradley_terry, d) == pytest.approx(l_plus, rel=1e-12)
    assert at(soft_bradley_terry, d) == pytest.approx(0.9 * l_plus + 0.1 * l_minus, rel=1e-12)
    margin = at(lambda *given: margin_bradley_terry(*given, scale=0.1), d)
    assert margin == pytest.approx(softplus(m - d), rel=1e-12)
    scaled = at(lambda *given: scaled_bradley_terry(*given, scale=0.1), d)
    assert scaled == pytest.approx(m * l_plus, rel=1e-12)
    unbiased = at(lambda *given: robust_bradley_terry(*given, noise=0.2), d)
    assert unbiased == pytest.approx((0.8 * l_plus - 0.2 * l_minus) / 0.6, rel=1e-12)
    assert at(bradley_terry, 0.0) == pytest.approx(math.log(2))


@given(chosen=REWARDS, rejected=REWARDS, confidence=SHARES, margin=st.floats(1, 1e6, width=32))
def test_plain_bradley_terry_ignores_what_it_does_not_use(
    chosen: float, rejected: float, confidence: float, margin: float
) -> None:
    c, r = torch.tensor([chosen]), torch.tensor([rejected])
    plain = bradley_terry(c, r, labels())
    assert torch.equal(plain, bradley_terry(c, r, labels(confidence=confidence, margin=margin)))
    # Only the difference counts, and swapping the responses mirrors it.
    assert bradley_terry(c - r, torch.zeros(1), labels()).item() == plain.item()
    assert plain.item() - bradley_terry(r, c, labels()).item() == pytest.approx(
        rejected - chosen, abs=1e-4
    )


@given(d=REWARDS)
def test_a_certain_soft_label_is_bradley_terry(d: float) -> None:
    assert at(soft_bradley_terry, d, confidence=1.0) == at(bradley_terry, d)
    assert at(soft_bradley_terry, d, confidence=0.0) == at(bradley_terry, -d)


@given(confidence=st.floats(0.05, 0.95), step=st.sampled_from([-0.1, 0.1]))
def test_a_soft_label_is_met_by_the_calibrated_model(confidence: float, step: float) -> None:
    best = math.log(confidence / (1 - confidence))
    lowest = at(soft_bradley_terry, best, confidence=confidence)
    assert at(soft_bradley_terry, best + step, confidence=confidence) > lowest


@given(d=REWARDS, smoothing=st.floats(0, 0.49))
def test_smoothing_is_a_soft_label(d: float, smoothing: float) -> None:
    mixed = at(smoothed(bradley_terry, smoothing), d)
    assert mixed == pytest.approx(at(soft_bradley_terry, d, confidence=1 - smoothing), abs=1e-9)
    both = at(smoothed(soft_bradley_terry, smoothing), d, confidence=0.75)
    target = 0.75 * (1 - smoothing) + 0.25 * smoothing
    assert both == pytest.approx(at(soft_bradley_terry, d, confidence=target), abs=1e-9)


@given(d=REWARDS, noise=NOISES)
def test_robust_is_unbiased_under_flips(d: float, noise: float) -> None:
    def corrected(chosen: Tensor, rejected: Tensor, known: Labels) -> Tensor:
        return robust_bradley_terry(chosen, rejected, known, noise=noise)

    expected = (1 - noise) * at(corrected, d) + noise * at(corrected, -d)
    assert expected == pytest.approx(at(bradley_terry, d), abs=1e-9)
    # The same identity read the other way: smoothing with the same share undoes it.
    assert at(smoothed(corrected, noise), d) == pytest.approx(at(bradley_terry, d), abs=1e-9)


def test_robust_without_noise_is_bradley_terry_and_else_unbounded_below() -> None:
    assert at(lambda *given: robust_bradley_terry(*given, noise=0.0), 2.0) == at(bradley_terry, 2.0)
    values = [
        at(lambda *given: robust_bradley_terry(*given, noise=0.1), d) for d in (10.0, 100.0, 1000.0)
    ]
    assert values == pytest.approx([-10 * 0.1 / 0.8, -100 * 0.1 / 0.8, -1000 * 0.1 / 0.8], abs=1e-3)


@given(d=REWARDS, margin=st.floats(0.5, 1e5))
def test_a_margin_shifts_the_difference(d: float, margin: float) -> None:
    shifted = at(lambda *given: margin_bradley_terry(*given, scale=0.3), d, margin=margin)
    assert shifted == pytest.approx(at(bradley_terry, d - 0.3 * math.log1p(margin)), abs=1e-9)
    assert shifted >= at(bradley_terry, d)


def test_bf16_rewards_keep_a_small_difference_from_large_rewards() -> None:
    chosen = torch.tensor([100.5], dtype=torch.bfloat16)
    rejected = torch.tensor([0.25], dtype=torch.bfloat16)
    assert difference(chosen, rejected).item() == pytest.approx(100.25)
    assert (chosen - rejected).item() != 100.25  # what a loss in bf16 would have used


def test_centring_is_zero_only_for_opposite_rewards() -> None:
    assert centring(torch.tensor([2.0, 3.0]), torch.tensor([-2.0, 1.0])).tolist() == [0.0, 16.0]
    objective = make_objective(LossConfig(centring=0.01), sites=1)
    chosen, rejected = torch.tensor([3.0]), torch.tensor([1.0])
    expected = bradley_terry(chosen, rejected, labels()) + 0.16
    torch.testing.assert_close(objective(chosen, rejected, labels()), expected)


def test_weights_of_zero_give_neither_loss_nor_gradient() -> None:
    for name, objective in every_loss():
        chosen = torch.tensor([1.0, 50.0], requires_grad=True)
        rejected = torch.tensor([0.5, -3.0], requires_grad=True)
        known = labels(2)._replace(weight=torch.tensor([0.25, 0.0]))
        loss = weighted_sum(objective(chosen, rejected, known), known.weight)
        alone = objective(chosen[:1], rejected[:1], labels(1)).item()
        assert loss.item() == pytest.approx(0.25 * alone), name
        loss.backward()
        for rewards in (chosen, rejected):
            assert rewards.grad is not None
            assert rewards.grad[0] != 0, name
            assert rewards.grad[1] == 0, name


def test_no_pairs_give_a_loss_of_zero_that_can_be_differentiated() -> None:
    for _, objective in every_loss():
        rewards = torch.zeros(0, requires_grad=True)
        weighted_sum(objective(rewards, rewards, labels(0)), labels(0).weight).backward()
        objective.end_step()


def test_the_configuration_reaches_the_loss() -> None:
    chosen, rejected = torch.tensor([1.5]), torch.tensor([0.25])

    def value(config: LossConfig) -> float:
        return make_objective(config, sites=1)(chosen, rejected, labels()).item()

    assert value(LossConfig(name="bt")) == pytest.approx(softplus(-1.25))
    assert value(LossConfig(name="soft")) == pytest.approx(
        0.9 * softplus(-1.25) + 0.1 * softplus(1.25)
    )
    m = 0.7 * math.log(4)
    assert value(LossConfig(name="margin", margin_scale=0.7)) == pytest.approx(softplus(m - 1.25))
    assert value(LossConfig(name="scaled", margin_scale=0.7)) == pytest.approx(m * softplus(-1.25))
    assert value(LossConfig(name="robust", label_noise=0.3)) == pytest.approx(
        (0.7 * softplus(-1.25) - 0.3 * softplus(1.25)) / 0.4, abs=1e-6
    )
    assert value(LossConfig(name="bt", label_smoothing=0.3)) == pytest.approx(
        0.7 * softplus(-1.25) + 0.3 * softplus(1.25)
    )


@pytest.mark.parametrize("name", ["robust", "lcpo"])
def test_smoothing_a_loss_with_its_own_noise_model_is_refused(name: str) -> None:
    config = LossConfig(name=name, label_smoothing=0.1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=f"loss.label_smoothing = 0.1 with loss.name = {name}"):
        make_objective(config, sites=1)


# LCPO


def step(module: LCPO, d: Tensor, known: Labels, times: int = 1) -> None:
    for _ in range(times):
        module(d, torch.zeros_like(d), known)
        module.end_step()


@given(eta=st.floats(0.05, 0.95))
def test_every_eta_is_a_fixed_point_of_a_model_that_knows_nothing(eta: float) -> None:
    module = LCPO(1, decay=0.5)
    module.eta.fill_(eta)
    step(module, torch.zeros(7), labels(7), times=20)
    assert module.eta.item() == pytest.approx(eta, abs=1e-5)


@pytest.mark.parametrize("right", [0.55, 0.7, 0.98])
def test_eta_recovers_the_noise_once_the_model_is_sharp(right: float) -> None:
    d = torch.full((1000,), 12.0)
    d[int(1000 * right) :] = -12.0  # labels that a calibrated model contradicts
    module = LCPO(1, decay=0.9)
    before = abs(module.eta.item() - right)
    step(module, d, labels(1000))
    assert abs(module.eta.item() - right) < before
    step(module, d, labels(1000), times=200)
    assert module.eta.item() == pytest.approx(right, abs=0.01)


def test_one_step_of_eta_by_hand() -> None:
    module = LCPO(3, decay=0.75)
    known = labels(3)._replace(weight=torch.tensor([1.0, 0.5, 0.0]), site=torch.tensor([1, 1, 2]))
    d = torch.tensor([1.0, -2.0, 5.0])
    loss = module(d, torch.zeros(3), known)
    odds = [9 * math.exp(x) for x in (1.0, -2.0, 5.0)]
    w = [x / (1 + x) for x in odds]
    expected = [
        share * softplus(-x) + (1 - share) * softplus(x)
        for share, x in zip(w, (1, -2, 5), strict=True)
    ]
    assert loss.tolist() == pytest.approx(expected, rel=1e-5)
    assert module.eta.tolist() == pytest.approx([0.9] * 3)  # only end_step moves it
    module.end_step()
    mean = (w[0] + 0.5 * w[1]) / 1.5
    # Site 0 had no pairs and site 2 only padding: both stay.
    assert module.eta.tolist() == pytest.approx([0.9, 0.75 * 0.9 + 0.25 * mean, 0.9])


def test_micro_batches_and_ranks_do_not_change_eta() -> None:
    generator = torch.Generator().manual_seed(0)
    d = torch.randn(12, generator=generator)
    known = labels(12)._replace(
        weight=torch.rand(12, generator=generator), site=torch.arange(12) % 2
    )
    whole, parts = LCPO(2, decay=0.5), LCPO(2, decay=0.5)
    step(whole, d, known)
    for low, high in ((0, 1), (1, 8), (8, 12)):
        some = Labels(*(column[low:high] for column in known))
        parts(d[low:high], torch.zeros(high - low), some)
    parts.end_step()
    torch.testing.assert_close(parts.eta, whole.eta)

    ranks = [LCPO(2, decay=0.5), LCPO(2, decay=0.5)]
    for rank, module in enumerate(ranks):
        some = Labels(*(column[rank::2] for column in known))
        module(d[rank::2], torch.zeros(6), some)
    total = ranks[0].sums + ranks[1].sums
    for module in ranks:
        module.end_step(all_reduce=lambda sums: sums.copy_(total))
        torch.testing.assert_close(module.eta, whole.eta)


def test_validation_and_skipped_steps_leave_no_trace() -> None:
    objective = make_objective(LossConfig(name="lcpo", lcpo_decay=0.1), sites=1)
    far = torch.full((4,), -9.0)

    def score(d: Tensor) -> None:
        objective(d, torch.zeros_like(d), labels(len(d)))

    before = objective.state_dict()["loss.eta"].clone()
    objective.eval()
    score(far)
    objective.train()
    objective.end_step()
    score(far)
    objective.drop_step()
    objective.end_step()
    assert torch.equal(objective.state_dict()["loss.eta"], before)
    score(far)
    objective.end_step()
    assert objective.state_dict()["loss.eta"].item() < 0.2


def test_state_goes_through_a_checkpoint_and_training_goes_on_as_before() -> None:
    config = LossConfig(name="lcpo", lcpo_decay=0.5)
    first, second = make_objective(config, sites=2), make_objective(config, sites=2)
    d = torch.tensor([2.0, -2.0])

    def train(objective: Objective) -> Tensor:
        value: Tensor = objective(d, torch.zeros(2), labels(2, site=1))
        objective.end_step()
        return value

    train(first)
    assert first.state_dict().keys() == {"loss.eta"}
    second.load_state_dict(first.state_dict())
    assert torch.equal(train(first), train(second))
    assert torch.equal(first.state_dict()["loss.eta"], second.state_dict()["loss.eta"])
    with pytest.raises(RuntimeError, match="eta"):
        make_objective(config, sites=3).load_state_dict(first.state_dict())


def test_losses_without_state_have_an_empty_one() -> None:
    calls: list[Callable[[Tensor], object]] = []
    for name in set(NAMES) - {"lcpo", "length"}:
        objective = make_objective(LossConfig(name=name), sites=2)  # type: ignore[arg-type]
        assert objective.state_dict() == {}
        assert list(objective.parameters()) == []
        objective.end_step(all_reduce=calls.append)
        objective.drop_step()
    assert calls == []


def test_eta_is_not_trained_and_never_gets_stuck() -> None:
    module = LCPO(1, decay=0.0)
    assert list(module.parameters()) == []
    step(module, torch.full((3,), 1e4), labels(3))
    assert module.eta.item() == pytest.approx(1 - LCPO.CLOSEST)
    step(module, torch.full((3,), -1e4), labels(3))
    assert module.eta.item() == pytest.approx(LCPO.CLOSEST)
