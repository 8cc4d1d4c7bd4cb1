"""What every step stands on: coders, blocks of packed rows, joins, counters, rules, results.

A step is a plain function that takes rows and returns what continues and what is rejected; the
PTransform below it only wires it into the graph and returns a StepResult. Nothing here knows of
any single step.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
