"""Datasets in the columns that trainers read: ``forumprefs export``.

Each conversion is a plain function from the pairs of one thread to rows; around them, the pairs are
read once, and shards, manifest and card written. Nothing here decides which response is better: the
dataset has done so.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
