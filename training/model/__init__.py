"""The reward model: a backbone of transformers with a scalar head, its attention over packed
sequences, and its way to and from disk."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
