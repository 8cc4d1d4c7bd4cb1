"""The kinds of forum there are, beside StackExchange, whose many tables need a reader apart.

A new forum is a module with a :class:`transforms.readers.base.Source`, and a line here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from transforms.readers.base import Source
from transforms.readers.custom_threads.reader import THREADS
from transforms.readers.discourse.reader import DISCOURSE
from transforms.readers.lemmy import LEMMY
from transforms.readers.preferences.reader import PAIRS
from transforms.readers.reddit.reader import REDDIT

SOURCES: Final[Mapping[str, Source]] = MappingProxyType(
    {source.kind: source for source in (REDDIT, DISCOURSE, LEMMY, THREADS, PAIRS)}
)
"""By the KIND of ``--input KIND=PATH``."""
