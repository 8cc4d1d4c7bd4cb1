"""The length head: what it computes, and its loss terms."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.losses.base import Labels


class LengthHead(nn.Module):
    """A second linear head that is made to follow length, beside rewards that are kept from it.

    Per pair x = log((1 + length of the chosen) / (1 + length of the rejected)), and q and l are the
    differences chosen − rejected of the reward head's and of this head's outputs. The pair loss is
    on q + l. The terms of this head are ``correlation`` · (ρ(q, x)² − ρ(l, x)) and
    ``orthogonality`` · cos² of the angle between the weights, ρ(a, x) = Σ w·a·x /
    √(Σ w·a² · Σ w·x²), not centred, because which response is called chosen is no fact about
    lengths.

    ρ is of all pairs of a step, and a mean over micro-batches of correlations is not it. So its
    moments are decayed means over whole steps, as of the end of the step before, and what a pair
    adds is linear or quadratic in its own q and l: it adds up over micro-batches and ranks. For
    the rewards it is 2ρ·q·x / √(Q·X) − ρ², whose mean is ρ² with its gradient at held Q and X. For
    this head it is ½·max(ρ, 0)·(l²/L − 1) − (l·x / √(L·X)), whose mean is −ρ and has its whole
    gradient; where l follows x badly it pulls towards x, and it is convex in l, so moments
    that lag cannot drive it away. In the first step both are 0.

    Source: Chen et al. 2024, ODIN (arXiv 2402.07319, section 3.2). They take the correlation of
    outputs and token counts over the responses of a batch, |ρ| for the rewards, and |w·w′| for the
    weights. |ρ| has a force that does not fade with ρ, so it overshoots where moments lag; w·w′
    shrinks with the weights alone, cos does not.
    Known failure: what makes long answers better is taken out with the length.
    """

    DECAY = 0.8
    """Share of the old moments that a step keeps."""

    moments: Tensor
    """[6]: decayed Σ w·q², Σ w·l², Σ w·x², Σ w·q·x, Σ w·l·x, Σ w."""
    sums: Tensor
    """[6]: the same since the last step."""

    def __init__(
        self, hidden_size: int, *, correlation: float, orthogonality: float, seed: int
    ) -> None:
        super().__init__()
        self.correlation = correlation
        self.orthogonality = orthogonality
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(1, hidden_size, generator=generator) / (hidden_size + 1)
        self.weight = nn.Parameter(drawn)
        self.register_buffer("moments", torch.zeros(6))
        self.register_buffer("sums", torch.zeros(6), persistent=False)

    def pair_terms(self, reward: Tensor, own: Tensor, labels: Labels) -> Tensor:
        """Loss terms [P] of pairs; in training mode also counts them for the next update."""
        x = (labels.chosen_length.log1p() - labels.rejected_length.log1p()).to(reward.dtype)
        if self.training:
            with torch.no_grad():
                terms = (
                    reward * reward, own * own, x * x, reward * x, own * x, torch.ones_like(x),
                )  # fmt: skip
                self.sums += torch.stack([(labels.weight * term).sum() for term in terms]).to(
                    self.sums
                )
        if not self.correlation:
            return torch.zeros_like(reward)
        return self.correlation * self._terms(reward, own, x)

    def correlations(self) -> tuple[Tensor, Tensor]:
        """ρ of the rewards and of this head with length over the last steps; 0 before the first."""
        qq, ll, xx, qx, lx, _ = self.moments
        return _ratio(qx, (qq * xx).sqrt()), _ratio(lx, (ll * xx).sqrt())

    def _terms(self, q: Tensor, own: Tensor, x: Tensor) -> Tensor:
        qq, ll, xx = (self.moments[:3] / self.moments[5].clamp(min=1e-30)).to(q.dtype)
        rho_q, rho_l = (rho.to(q.dtype) for rho in self.correlations())
        away = 2 * rho_q * _ratio(q * x, (qq * xx).sqrt()) - rho_q.square()
        pull = rho_l.clamp(min=0) / 2
        towards = pull * _ratio(own * own, ll) - pull - _ratio(own * x, (ll * xx).sqrt())
        known = (qq > 0) & (ll > 0) & (xx > 0)
        return torch.where(known, away + towards, 0.0)

    def weight_term(self, reward_weight: Tensor) -> Tensor:
        """``orthogonality`` · cos² of the angle to the reward head's weight [1, d], a scalar."""
        cosine = nn.functional.cosine_similarity(reward_weight, self.weight, dim=1, eps=1e-12)
        return self.orthogonality * cosine.square().sum()

    def end_step(self, all_reduce: Callable[[Tensor], object] | None = None) -> None:
        """Update the moments from the pairs since the last call; ``all_reduce`` sums over ranks."""
        if all_reduce is not None:
            all_reduce(self.sums)
        if float(self.sums[5]) > 0:
            self.moments.mul_(self.DECAY).add_((1 - self.DECAY) * self.sums)
        self.sums.zero_()

    def drop_step(self) -> None:
        """Discard the pairs since the last call, when the optimizer step is skipped."""
        self.sums.zero_()


def _ratio(value: Tensor, scale: Tensor) -> Tensor:
    return torch.where(scale > 0, value / torch.where(scale > 0, scale, 1.0), 0.0)
