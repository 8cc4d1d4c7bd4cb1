"""Preference sets that others have made: pairs and lists of scored answers.

`formats` knows the forms of rows, `conversations` their turns, `rows` what a row becomes, and
`reader` reads the files.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
