"""Where people look at runs: TensorBoard, Weights & Biases and MLflow, behind one small interface.

A tracker only ever watches: one that fails is told of once, and the run goes on.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
