"""Reddit: monthly dumps of comments and submissions, of Pushshift and Arctic Shift.

`rows` has the fields of a record in each of its shapes since 2005, `reader` makes posts of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
