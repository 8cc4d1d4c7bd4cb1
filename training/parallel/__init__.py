"""Several processes: how they exchange values, and where the weights of a model lie."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
