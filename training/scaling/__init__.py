"""How the loss falls with more data and larger models: ``forumprefs scaling``.

``grid`` trains runs, ``runs`` reads finished ones, ``law`` fits a curve with intervals, ``study``
decides which curve the runs allow and what speaks against it, ``report`` and ``plot`` show it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
