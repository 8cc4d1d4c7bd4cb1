"""Where a Beam pipeline runs: on this machine, on Flink, Prism, Dataflow or another runner.

Options of the runners and their checks, worker processes, and the shuffle on disk. Nothing in here
knows what the pipeline computes.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
