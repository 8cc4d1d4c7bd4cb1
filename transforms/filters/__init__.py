"""Posts that are not to be learned from: by their marks, their language, or a benchmark.

Each filter judges every post of a thread and drops the refused ones with what can no longer pair
without them. Rules that compare responses or look at votes belong to `transforms.pairing`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
