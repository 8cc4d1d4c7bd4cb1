"""Losses that know a share of flipped labels of each site: torch modules, made when asked for."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.losses.base import Labels, cross_entropy, difference
from training.losses.pointwise import robust_bradley_terry


class LCPO(nn.Module):
    """Softens each site's labels by how far they can be trusted.

    With η_k, the share of right labels of site k, the probability that a label is right is
    w = ηp / (ηp + (1 − η)(1 − p)), without gradient, and the loss is w·l₊ + (1 − w)·l₋. Its
    gradient is that of −log(ηp + (1 − η)(1 − p)), the likelihood of labels of which a share of
    1 − η is flipped.

    η is what :meth:`set_flip_rates` says, and stays so without a ``decay``. With one, once a step
    η_k ← a·η_k + (1 − a)·(mean of w over the step's pairs of site k, by weight), a = decay; a site
    without pairs in the step keeps its η. The mean is taken over the whole step, so neither
    micro-batches nor ranks change it.

    Source: Cao et al. 2025 (arXiv 2509.24159v2, "LCPO"; called RE-PO from v3 on), for annotators;
    sites take their place, since dumps do not say who voted. There η follows the training fit.
    Known failure of that: it finds the noise only if p is sharp and calibrated. At p = 1/2 (a new
    model) w equals η, so every η is a fixed point; and by the time p is sharp, a large model has
    fitted the wrong labels. In a trial on 14.5k pairs η stayed at 0.90 to 0.95 for 0, 20 and 40 %
    flipped labels.
    """

    START = 0.9
    """η until :meth:`set_flip_rates` is called."""
    CLOSEST = 1e-4
    """Distance that η keeps from 0 and 1, where it could never leave again."""

    eta: Tensor
    """[sites]; the state."""
    sums: Tensor
    """[2, sites]: Σ weight·w and Σ weight since the last step."""

    def __init__(self, sites: int, decay: float | None) -> None:
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

    def set_flip_rates(self, rates: Tensor) -> None:
        """Go by these shares of flipped labels [sites]: η = 1 − rate."""
        self.eta.copy_((1 - rates).clamp(self.CLOSEST, 1 - self.CLOSEST))

    def end_step(self, all_reduce: Callable[[Tensor], object] | None = None) -> None:
        """Update η from the pairs since the last call; ``all_reduce`` sums a tensor over ranks."""
        if self.decay is None:
            self.sums.zero_()
            return
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


class SiteRobust(nn.Module):
    """:func:`~training.losses.pointwise.robust_bradley_terry` with the share of flips of each site.

    Unbiased where the labels of site k are flipped at random with probability ε_k, so that sites of
    unequal noise can be trained on together. The rates are in ``state_dict()``.
    """

    noise: Tensor
    """[sites]"""

    def __init__(self, sites: int) -> None:
        super().__init__()
        self.register_buffer("noise", torch.zeros(sites))

    def set_flip_rates(self, rates: Tensor) -> None:
        """Go by these shares [sites], each from 0 to below one half."""
        self.noise.copy_(rates)

    def forward(self, chosen: Tensor, rejected: Tensor, labels: Labels) -> Tensor:
        """Loss [P]."""
        return robust_bradley_terry(chosen, rejected, labels, noise=self.noise[labels.site])
