"""One run of the main job, from a recipe to a dataset folder that is whole or not there.

The recipe and its options, what is read, the graph of steps, the checks before, and the manifest,
report and card after. How a graph is run is the subject of ``runners``; what a finished folder is,
of ``dataset``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
