"""The losses on the rewards of a pair: what each computes, from which labels and settings.

A loss is one :class:`Loss` object, in a module of its own or beside its kin; ``registry.py`` lists
them, and the settings, ``--help``, the checks and docs/losses.md follow from that list. What a
training step minimises, penalty and state included, is the :class:`Objective`. Names are known
without torch, which waits for the first tensor. docs/adding_a_loss.md shows how one is added.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
