"""A finished dataset folder: reading and checking one, and the documents that lie in it.

Everything about the folder itself belongs here: its shards and manifest, its card and report
figures, whether its numbers add up, whether its splits leak, what its licences allow, how it is
put in place in one piece, and what a run keeps beside it. Nothing here knows how pairs are made or
where a dataset is sent, and nothing loads Beam before a URL or the run's own posts are read.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
