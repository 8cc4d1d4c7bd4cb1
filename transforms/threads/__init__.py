"""Posts, and what other files say of them, become threads; and what is done to whole threads.

`assemble` joins and orders posts, `takedown` finds those that must go, `links` knows the forms of
links to them, `pack` makes blocks of threads for the steps that follow, and `sample` keeps some for
the report.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
