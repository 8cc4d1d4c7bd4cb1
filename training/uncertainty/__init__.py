"""Uncertainty of a reward model: how sure it is of a reward, and of how people would vote.

``head_inputs`` reads what the last layer reads; ``posterior`` is the Bayesian last layer that is
fitted to it; ``vote_shares`` turns a difference of rewards into an interval for the share of votes;
``intervals`` measures such intervals; ``fit`` does all of it for a dataset, and ``saved`` keeps it
beside the model.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
