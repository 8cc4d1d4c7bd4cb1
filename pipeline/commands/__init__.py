"""The commands of ``forumprefs`` that make, check, show and publish datasets.

One module for each, with ``add_arguments(parser)`` and ``run(arguments)``; the table lists them for
the command line. What a command does belongs in the other rooms: here arguments are read and
results are printed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
