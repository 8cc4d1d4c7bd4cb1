"""The benchmarks: one :class:`Suite` each, with where its files lie, how they are read, and the
rule that turns scores into its figures; one module a family, and ``registry`` lists them all."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
