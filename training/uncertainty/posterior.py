"""A Bayesian last layer: the Laplace posterior of its weights, from the pairs that trained it.

With features h of a response, d = wᵀ(h_chosen − h_rejected) and Bradley–Terry, the posterior of the
last layer's weights w round the trained ones is normal with the precision

    H + λI,   H = Σ weight · p(1 − p) · Δh Δhᵀ,   p = sigmoid(d),   Δh = h_chosen − h_rejected

(MacKay 1992; for the last layer of a network Kristiadi et al. 2020, arXiv 2002.10118, and Daxberger
et al. 2021, arXiv 2106.14806). The trained weights stay, so rewards do not change. The prior's λ is
the one of largest evidence. The rest of the network is taken as known: that is the limit of it.

What is kept is a matrix of d² numbers, whatever the number of pairs: 0.6 MB for 384 features, 268
MB for the 8,192 of a 72B model, whose forward pass per token costs a thousand times more than
reading it once a response. So it is whole, and neither a diagonal nor of low rank.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.validation.metrics import Floats

Z90 = 1.6448536269514722
"""Half the width of a normal's central 90 %, in standard deviations."""
ITERATIONS = 200
"""Of the fixed point of λ; it settles in about ten."""


class PrecisionSum:
    """Sums over training pairs, in fp64 on the CPU: all that the posterior needs of them."""

    def __init__(self, features: int) -> None:
        self.hessian = torch.zeros(features, features, dtype=torch.float64)
        self._feature = torch.zeros(features, dtype=torch.float64)
        self._responses = 0.0
        self.pairs = 0

    def add(
        self, features: Tensor, chosen: Tensor, rejected: Tensor, weight: Tensor, d: Tensor
    ) -> None:
        """Add P pairs of S responses.

        Args:
            features: [S, d].
            chosen, rejected: int64 [P], indices of responses.
            weight: [P], that of the pairs in training.
            d: [P], differences of rewards.
        """
        features = features.double()
        difference = features[chosen] - features[rejected]
        p = torch.sigmoid(d.double())
        curvature = weight.double() * p * (1 - p)
        self.hessian += ((difference * curvature[:, None]).T @ difference).cpu()
        both = weight.double()[:, None] * (features[chosen] + features[rejected])
        self._feature += both.sum(0).cpu()
        self._responses += 2 * float(weight.sum())
        self.pairs += len(d)

    @property
    def mean_feature(self) -> Tensor:
        """Of the responses, by pair weight; [d]."""
        return self._feature / max(self._responses, 1e-300)


@dataclass(frozen=True)
class LastLayerPosterior:
    """How sure the last layer is of a reward."""

    reference: Tensor
    """[d]: the mean feature of training responses. A reward is compared with the reward of it:
    only differences mean anything."""
    factor: Tensor
    """[d, d], fp32: factor · factorᵀ is the covariance of the weights."""

    def deviation(self, features: Tensor) -> Tensor:
        """Standard deviation of rewards, against that of the reference, [S]; features [S, d]."""
        return self._norm(features - self.reference)

    def deviation_of_difference(self, one: Tensor, other: Tensor) -> Tensor:
        """Standard deviation of reward differences [P]; features [P, d] of each side.

        What two responses share is no doubt about their difference, so this is less than what the
        two deviations alone suggest.
        """
        return self._norm(one - other)

    def to(self, device: torch.device) -> "LastLayerPosterior":
        """Copy to a device."""
        return LastLayerPosterior(self.reference.to(device), self.factor.to(device))

    def _norm(self, difference: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(difference.float() @ self.factor, dim=-1)
        return norms


def fit_posterior(
    sums: PrecisionSum, weights: Tensor, *, scale: float = 1.0
) -> tuple[LastLayerPosterior, float]:
    """Return the posterior and the prior's precision λ.

    Args:
        weights: [d], of the last layer.
        scale: training pairs over those that were summed up, where only some were read.
    """
    eigenvalues, directions = torch.linalg.eigh(sums.hessian * scale)
    eigenvalues = eigenvalues.clamp(min=0.0)
    prior = prior_precision(eigenvalues.numpy(), float(weights.double().square().sum()))
    factor = directions * (eigenvalues + prior).rsqrt()
    return LastLayerPosterior(sums.mean_feature.float(), factor.float()), prior


def prior_precision(eigenvalues: Floats, squared_norm: float) -> float:
    """The λ of largest evidence, given H's eigenvalues [d] and the squared norm of the weights.

    MacKay's fixed point λ = γ / |w|², γ = Σ e / (e + λ) the number of weights that the data
    determine (Neural Computation 4(3), 1992, eq. 4.9). The largest solution not above d / |w|²,
    which without data is the prior itself.
    """
    squared_norm = max(squared_norm, 1e-30)
    prior = len(eigenvalues) / squared_norm
    for _ in range(ITERATIONS):
        well_determined = float(np.sum(eigenvalues / (eigenvalues + prior)))
        new = max(well_determined, 1e-12) / squared_norm
        if abs(new - prior) <= 1e-9 * prior:
            break
        prior = new
    return prior
