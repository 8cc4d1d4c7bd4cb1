"""Rows become sharded Parquet files, with equal bytes on every runner, and their statistics.

Which row goes into which shard, its order there, the file, the statistics of its rows, and the
result that the launcher reads when the pipeline has ended.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
