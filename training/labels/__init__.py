"""What is found out about the labels before the first step of a run.

How many labels of each site are flipped (``loss.label_noise``), from the votes or from predictions
of pairs that the predictor has not seen, and how likely a pair was decided at all
(``data.propensity_clip``). What a loss does with it belongs in ``losses``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
