import numpy as np
import pytest
from scipy.optimize import minimize as scipy_minimize

from training.scaling.law import (
    Floats,
    _bounds,
    _derivatives,
    _objective,
    _starts,
    can_fit,
    fit_law,
    minimise,
)

TRUE = {"E": 0.45, "A": 30.0, "alpha": 0.4, "B": 1.2, "beta": 0.25}
BOTH = ("parameters", "pairs")


def runs(noise: float, *, seed: int = 0, models: int = 4, data: int = 4) -> tuple[Floats, Floats]:
    """Sizes [n, 2] and losses [n] of a grid that follows the law."""
    rng = np.random.default_rng(seed)
    sizes = np.array(
        [(10.0 ** (5 + m), 10.0 ** (3 + d)) for m in range(models) for d in range(data)]
    )
    losses = (
        TRUE["E"]
        + TRUE["A"] * sizes[:, 0] ** -TRUE["alpha"]
        + TRUE["B"] * sizes[:, 1] ** -TRUE["beta"]
    )
    return sizes, losses * np.exp(rng.normal(0, noise, len(losses)))


def test_exact_losses_give_back_the_constants() -> None:
    law = fit_law(BOTH, *runs(0.0), bootstraps=20)
    for name, value in TRUE.items():
        assert law.coefficients[name].value == pytest.approx(value, rel=1e-4), name
    sizes = np.array([[1e9, 1e8]])
    expected = 0.45 + 30 * 1e9**-0.4 + 1.2 * 1e8**-0.25
    assert law.predict(sizes)[0] == pytest.approx(expected, rel=1e-5)
    assert law.typical_error < 1e-6 < law.constant_error


@pytest.mark.parametrize("seed", range(3))
def test_noisy_losses_have_the_constants_inside_their_intervals(seed: int) -> None:
    law = fit_law(BOTH, *runs(0.003, seed=seed), bootstraps=100)
    for name, value in TRUE.items():
        one = law.coefficients[name]
        spread = one.high - one.low
        assert one.low - 0.3 * spread < value < one.high + 0.3 * spread, name
    for exponent in ("alpha", "beta"):
        one = law.coefficients[exponent]
        assert 0 < one.high - one.low < 0.15


def test_one_axis_alone() -> None:
    sizes = 10.0 ** np.arange(3, 8)[:, None]
    losses = 0.5 + 2 * sizes[:, 0] ** -0.3
    law = fit_law(("pairs",), sizes, losses, bootstraps=20)
    assert law.coefficients.keys() == {"E", "B", "beta"}
    assert law.coefficients["beta"].value == pytest.approx(0.3, rel=1e-3)
    assert law.coefficients["B"].value == pytest.approx(2, rel=1e-2)
    models = fit_law(("parameters",), sizes, losses, bootstraps=20)
    assert models.coefficients["alpha"].value == pytest.approx(0.3, rel=1e-3)


def test_the_unit_of_sizes_and_of_loss_only_moves_the_constants() -> None:
    sizes, losses = runs(0.002)
    plain = fit_law(BOTH, sizes, losses, bootstraps=20)
    scaled = fit_law(BOTH, sizes * [1e3, 1e-2], losses * 7, bootstraps=20)
    for exponent in ("alpha", "beta"):
        assert scaled.coefficients[exponent].value == pytest.approx(
            plain.coefficients[exponent].value, rel=1e-3
        )
    assert scaled.coefficients["E"].value == pytest.approx(7 * plain.coefficients["E"].value, 1e-3)


def test_the_gradient_is_that_of_the_objective() -> None:
    sizes, losses = runs(0.01)
    logs, target = np.log(sizes) - np.log(sizes).mean(0), np.log(losses)
    weights = np.random.default_rng(0).integers(0, 3, (1, len(target))).astype(np.float64)
    theta = np.array([[-0.9, -2.0, -1.7, 0.3, 0.2]])
    slope = _derivatives(theta, logs, target, weights)[0][0]
    for place in range(5):
        step = np.zeros((1, 5))
        step[0, place] = 1e-7
        up, down = (_objective(theta + s, logs, target, weights)[0] for s in (step, -step))
        assert slope[place] == pytest.approx((up - down) / 2e-7, rel=1e-4)


def test_the_minimum_is_that_of_scipys_l_bfgs_b() -> None:
    sizes, losses = runs(0.02, models=3, data=3)
    logs, target = np.log(sizes) - np.log(sizes).mean(0), np.log(losses)
    rng = np.random.default_rng(1)
    weights = np.stack([np.ones(9), rng.integers(1, 3, 9)]).astype(np.float64)
    starts = _starts(target, 2)[5::20]
    ours = minimise(starts, logs, target, weights)
    low, high = _bounds(target, 2)
    assert np.all((low <= ours) & (ours <= high))
    for theta, weight in zip(ours, weights[:, None], strict=True):

        def peer(x: Floats, weight: Floats = weight) -> tuple[float, Floats]:
            value = _objective(x[None], logs, target, weight)[0]
            return float(value), _derivatives(x[None], logs, target, weight)[0][0]

        bounds = list(zip(low, high, strict=True))
        found = min(
            scipy_minimize(peer, x, jac=True, method="L-BFGS-B", bounds=bounds).fun for x in starts
        )
        assert _objective(theta[None], logs, target, weight)[0] <= found * 1.001 + 1e-4


def test_huber_keeps_one_bad_run_from_bending_the_curve() -> None:
    sizes, losses = runs(0.0)
    losses[5] *= 1.3
    law = fit_law(BOTH, sizes, losses, bootstraps=20)
    assert law.coefficients["beta"].value == pytest.approx(0.25, abs=0.01)


def test_the_same_seed_gives_the_same_intervals() -> None:
    first, again, other = (
        fit_law(BOTH, *runs(0.01), bootstraps=20, seed=seed) for seed in (3, 3, 4)
    )
    assert first.coefficients == again.coefficients
    assert first.coefficients["E"] != other.coefficients["E"]
    assert first.coefficients["E"].value == other.coefficients["E"].value


def test_an_interval_of_a_run_is_wider_than_the_band_of_the_curve() -> None:
    law = fit_law(BOTH, *runs(0.01), bootstraps=60)
    sizes = np.array([[1e9, 1e7], [1e6, 1e4]])
    (low, high), (inner_low, inner_high) = law.interval(sizes), law.band(sizes)
    assert np.all(low < inner_low)
    assert np.all(inner_high < high)
    truth = 0.45 + 30 * sizes[:, 0] ** -0.4 + 1.2 * sizes[:, 1] ** -0.25
    assert np.all((low < truth) & (truth < high))


@pytest.mark.parametrize(
    ("sizes", "enough"),
    [
        ([[1], [2], [3]], False),
        ([[1], [2], [3], [4]], True),
        ([[1], [2], [3], [3]], True),
        ([[1], [2], [2], [1]], False),
        ([[n, d] for n in (1, 2) for d in (1, 2, 3, 4)], False),
        ([[n, d] for n in (1, 2, 3) for d in (1, 2, 3)], True),
        ([[1, 1], [2, 2], [3, 3], [1, 2], [2, 3]], False),
    ],
)
def test_what_can_be_fitted(sizes: list[list[int]], enough: bool) -> None:
    array = np.array(sizes, dtype=np.float64)
    assert can_fit(array) is enough
    if not enough:
        with pytest.raises(ValueError, match="too few"):
            fit_law(("parameters", "pairs")[: array.shape[1]], array, np.ones(len(array)))


def test_the_typical_error_is_of_runs_that_the_fit_has_not_seen() -> None:
    sizes, losses = runs(0.01, models=3, data=3)
    law = fit_law(BOTH, sizes, losses, bootstraps=20)
    seen = np.abs(np.log(law.predict(sizes) / losses)).mean()
    assert law.typical_error > 1.5 * seen
