"""The linear heads on the state of the reward token: the reward head, and others beside it.

A head is one :class:`Head` object, in a module of its own; ``registry.py`` lists them, and the
setting ``model.extra_heads``, its checks and its help follow from that list. The reward head is
the sequence classifier of transformers and is what is saved and used. The others live while a run
trains, in ``TrainingHeads``: every rank has all of their weights, which checkpoints keep.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
