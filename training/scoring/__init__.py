"""Adds a model's scores to the rows of files: ``forumprefs score``.

``candidates`` finds the prompt and the responses of a row, ``files`` reads and writes rows,
``score_log`` keeps what a model said, ``columns`` makes of it what is added to the rows, and
``score_files`` puts them in order.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
