"""Discourse: topics in JSON, as the forum software serves them.

`rows` makes posts of topics, `html` takes out of a post's HTML what Discourse put in, and `reader`
reads the files.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
