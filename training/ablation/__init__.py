"""Compares labels by what they train: heads on frozen features, or finished runs, side by side.

``features`` reads each distinct text once; ``heads`` fits a linear reward to the pairs of an arm
with any loss; ``judge`` scores the suites; ``measure`` says what the differences are worth; ``run``
does all of it for a job that ``forumprefs ablate`` wrote.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
