"""What a person sees in the terminal: safe text, progress, and which logs are shown.

Everything that prints uses this room, so that no path or command is broken across lines and
nothing from a dump can drive a terminal. What is printed is decided elsewhere.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
