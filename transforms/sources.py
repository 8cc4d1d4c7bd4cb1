"""The kinds of forum there are, beside StackExchange, whose many tables need a reader apart.

A new forum is a module with a :class:`transforms.forum_files.Source`, and a line here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from transforms.discourse import DISCOURSE
from transforms.forum_files import Source
from transforms.lemmy import LEMMY
from transforms.own_threads import THREADS
from transforms.preference_sets import PAIRS
from transforms.reddit import REDDIT

SOURCES: Final[Mapping[str, Source]] = MappingProxyType(
    {source.kind: source for source in (REDDIT, DISCOURSE, LEMMY, THREADS, PAIRS)}
)
"""By the KIND of ``--input KIND=PATH``."""
