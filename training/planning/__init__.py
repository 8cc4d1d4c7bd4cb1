"""What a run will take before it takes it: memory, time and disk; and the settings that follow.

``activations`` counts a backbone without weights, ``memory`` says what fits, ``defaults`` settles
the settings that nobody gave, ``plan`` is ``forumprefs train --dry-run``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
