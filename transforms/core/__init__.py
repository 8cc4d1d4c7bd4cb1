"""What every step stands on: coders of rows, blocks of packed rows, counters, and outcomes.

A step is a plain function that takes rows and returns what goes on and what is rejected; the
PTransform below it only wires it into the graph.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
