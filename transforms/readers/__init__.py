"""Files of forums become posts: one reader for each kind of forum, behind one contract.

`base` has the contract of a reader, `source` what a kind of forum answers for itself, `registry`
the kinds there are; `paths` finds files, and `read_files` puts readers of files into the graph. A
forum is a module or a room of its own here; what several of them need to read a file format is in
`formats`. Nothing after this room knows which forum a row is from.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
