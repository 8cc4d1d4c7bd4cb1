"""Duplicates: found by MinHash, verified by exact similarity, removed, and kept in one split.

HashTexts makes what is compared, FindDuplicates gives matches, ResolveDuplicates takes them out of
their threads. FindOverlaps finds what is not removed but shares text, and QuestionClusters tells
which questions must not be divided over splits. What compares texts with each other belongs here,
whoever asks: decontamination does, too.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
