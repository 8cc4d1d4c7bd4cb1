"""What differs between two versions of a dataset, why, and which version number that calls for.

Two folders are read side by side in flat memory; the result is one value that the terminal, JSON
and the changelog in the card are made from.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
