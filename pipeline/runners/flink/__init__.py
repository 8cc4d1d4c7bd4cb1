"""The Flink runner: Beam's job server as a child, Flink's REST interface, and Python workers.

No Docker is needed, and a job that stands still is ended with the reason.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
