"""The reward model: a backbone of transformers with a scalar head, its attention over packed
sequences, its way to and from disk, and its fp32 weights on one or several GPUs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
