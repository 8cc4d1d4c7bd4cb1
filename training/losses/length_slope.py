"""The slope behind the loss `length`: it takes up what length alone explains of the votes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.losses.base import Labels, difference, log_sigmoid


class LengthSlope(nn.Module):
    """Explains votes by length beside the reward, and keeps the reward away from length.

    With x = log((1 + length of the chosen) / (1 + length of the rejected)) the pair is explained by
    d + βx, so what length alone explains need not be in the rewards; β is dropped after training.
    The penalty is ρ², ρ = Σ w·d·x / √(Σ w·d² · Σ w·x²), the correlation of d and x. It is not
    centred, because which response is called chosen is no fact about lengths.

    ρ is of all pairs of a step, and a mean over micro-batches of correlations is not it. So its
    moments are decayed means over whole steps, as of the end of the step before, and a pair adds
    2ρ·d·x / √(D·X) − ρ², whose mean is ρ² and has its gradient with D and X held: else a reward
    that only grows would lower it, and, with moments that lag, without end. It adds up over
    micro-batches and ranks. β takes a part of a Newton step after each step. In the first
    step β and the penalty are 0.

    Source: Chen et al. 2024, ODIN (arXiv 2402.07319, section 3.2): two heads, of which one is
    dropped. Their penalty is |ρ|, whose force does not fade with ρ, so that it overshoots where
    moments lag. Their heads are linear in the same hidden state, and need a third term to differ;
    this one has only the length to go by.
    Known failure: what makes long answers better is taken out with the length.
    """

    DECAY = 0.8
    """Share of the old moments that a step keeps."""
    STEP = 0.2
    """Share of the Newton step of β that is taken."""
    LARGEST = 20.0
    """Of |β|: beyond, a pair of a length ratio of 2 would be certain."""

    beta: Tensor
    """A scalar; with ``moments`` the state."""
    moments: Tensor
    """[5]: decayed Σ w·d², Σ w·x², Σ w·d·x, Σ w, and the curvature Σ w·p(1 − p)·x²."""
    sums: Tensor
    """[6]: the same since the last step, and the gradient Σ w·(1 − p)·x, with p of d + βx."""

    def __init__(self, penalty: float) -> None:
        super().__init__()
        self.penalty = penalty
        self.register_buffer("beta", torch.zeros(()))
        self.register_buffer("moments", torch.zeros(5))
        self.register_buffer("sums", torch.zeros(6), persistent=False)

    def forward(self, chosen: Tensor, rejected: Tensor, labels: Labels) -> Tensor:
        """Loss [P]; in training mode also counts the pairs for the next update."""
        d = difference(chosen, rejected)
        x = (labels.chosen_length.log1p() - labels.rejected_length.log1p()).to(d.dtype)
        both = d + self.beta.to(d.dtype) * x
        if self.training:
            with torch.no_grad():
                p, w = torch.sigmoid(both), labels.weight
                terms = (d * d, x * x, d * x, torch.ones_like(d), p * (1 - p) * x * x, (1 - p) * x)
                self.sums += torch.stack([(w * term).sum() for term in terms]).to(self.sums)
        loss = -log_sigmoid(both)
        if self.penalty:
            loss = loss + self.penalty * self._penalty(d, x)
        return loss

    @property
    def correlation(self) -> Tensor:
        """ρ of d and x over the last steps, a scalar; 0 before the first."""
        dd, xx, dx, _, _ = self.moments
        scale = (dd * xx).sqrt()
        return torch.where(scale > 0, dx / scale.clamp(min=1e-30), 0.0)

    def _penalty(self, d: Tensor, x: Tensor) -> Tensor:
        weight = self.moments[3].clamp(min=1e-30)
        dd, xx = (self.moments[:2] / weight).to(d.dtype)
        rho = self.correlation.to(d.dtype)
        known = (dd > 0) & (xx > 0)
        dd, xx = torch.where(known, dd, 1.0), torch.where(known, xx, 1.0)
        value = 2 * rho * d * x / (dd * xx).sqrt() - rho.square()
        return torch.where(known, value, 0.0)

    def end_step(self, all_reduce: Callable[[Tensor], object] | None = None) -> None:
        """Update β and the moments from the pairs since the last call; ``all_reduce`` sums."""
        if all_reduce is not None:
            all_reduce(self.sums)
        if float(self.sums[3]) > 0:
            self.moments.mul_(self.DECAY).add_((1 - self.DECAY) * self.sums[:5])
            curvature, weight = self.moments[4], self.moments[3]
            # Per pair weight on both sides: the gradient is of this step, the curvature of many.
            newton = (self.sums[5] / self.sums[3]) / (curvature / weight).clamp(min=1e-6)
            self.beta.add_(self.STEP * newton).clamp_(-self.LARGEST, self.LARGEST)
        self.sums.zero_()

    def drop_step(self) -> None:
        """Discard the pairs since the last call, when the optimizer step is skipped."""
        self.sums.zero_()
