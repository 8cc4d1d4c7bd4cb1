"""A training run: what it is told (``options``), how it is set up, resumed and saved, its folder,
lock, log and signals. The loop itself is ``training.train``."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
