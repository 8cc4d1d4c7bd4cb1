"""File formats, whatever forum is in them: compressed files, JSON, tables, and values of rows.

Each module takes bytes as they come and gives values or rejects. What is wrong is said in our own
words, never in those of the library that found it, since rejects are part of the output.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
