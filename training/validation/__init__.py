"""How good a model is on pairs, and what it has to beat: scores, figures, baselines, intervals.

``metrics`` turns scored pairs into figures, ``baselines`` does the same for scorers that read no
text, ``bootstrap`` makes every interval of training, evaluation and scaling, and ``length`` says
what "longer" means in all of them. ``validator`` runs them while a model trains.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
