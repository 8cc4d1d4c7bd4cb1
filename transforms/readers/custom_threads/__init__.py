"""Threads of anyone's own forum, in the schema of `schemas.custom_thread`.

`rows` turns a row into posts, or says all that is wrong with it; `reader` reads the files.
`forumprefs validate-threads` says the same of a file as the reader, since both go through `rows`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
