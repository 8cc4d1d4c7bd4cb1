"""Scores reward models on public suites and on held-out votes, and says what the numbers mean.

``models`` opens what can score, ``suites`` reads the benchmarks and holds their scoring rules,
``score_cache`` keeps every score, ``suite_results`` makes figures with intervals beside baselines,
and ``markdown``, ``page`` and ``terminal`` show them. ``results`` is the layout of results.json.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
