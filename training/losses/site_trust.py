"""The estimate of how far each site's labels can be trusted, behind the loss `lcpo`."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.losses.base import Labels, cross_entropy, difference


class LCPO(nn.Module):
    """Estimates how far each site's labels can be trusted, and softens them by it. Experimental.

    With η_k, the share of right labels of site k, the probability that a label is right is
    w = ηp / (ηp + (1 − η)(1 − p)), without gradient, and the loss is w·l₊ + (1 − w)·l₋.
    Once a step η_k ← a·η_k + (1 − a)·(mean of w over the step's pairs of site k, by weight), with
    a = decay; a site without pairs in the step keeps its η. The mean is taken over the whole
    step, so neither micro-batches nor ranks change it.

    Source: Cao et al. 2025 (arXiv 2509.24159v2, "LCPO"; called RE-PO from v3 on), for annotators;
    sites take their place, since dumps do not say who voted.
    Known failure: finds the noise only if p is sharp and calibrated. At p = 1/2 (a new model) w
    equals η, so every η is a fixed point; and by the time p is sharp, a large model has
    fitted the wrong labels. In a trial on 14.5k pairs η stayed at 0.90 to 0.95 for 0, 20 and 40 %
    flipped labels.
    """

    START = 0.9
    """η before the first step."""
    CLOSEST = 1e-4
    """Distance that η keeps from 0 and 1, where it could never leave again."""

    eta: Tensor
    """[sites]; the state."""
    sums: Tensor
    """[2, sites]: Σ weight·w and Σ weight since the last step."""

    def __init__(self, sites: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("eta", torch.full((sites,), self.START))
        self.register_buffer("sums", torch.zeros(2, sites), persistent=False)

    def forward(self, chosen: Tensor, rejected: Tensor, labels: Labels) -> Tensor:
        """Loss [P]; in training mode also counts the pairs for the next update of η."""
        d = difference(chosen, rejected)
        with torch.no_grad():
            right = torch.sigmoid(torch.logit(self.eta[labels.site].to(d.dtype)) + d)
            if self.training:
                # A sum over a mask instead of index_add: the same order, so the same bits, on GPUs.
                of_site = labels.site == torch.arange(len(self.eta), device=d.device)[:, None]
                weight = labels.weight * of_site
                self.sums += torch.stack(((weight * right).sum(1), weight.sum(1)))
        return cross_entropy(d, right)

    def end_step(self, all_reduce: Callable[[Tensor], object] | None = None) -> None:
        """Update η from the pairs since the last call; ``all_reduce`` sums a tensor over ranks."""
        if all_reduce is not None:
            all_reduce(self.sums)
        right, weight = self.sums
        seen = weight > 0
        mean = right / torch.where(seen, weight, 1)
        moved = self.decay * self.eta + (1 - self.decay) * mean
        self.eta.copy_(torch.where(seen, moved.clamp(self.CLOSEST, 1 - self.CLOSEST), self.eta))
        self.sums.zero_()

    def drop_step(self) -> None:
        """Discard the pairs since the last call, when the optimizer step is skipped."""
        self.sums.zero_()
