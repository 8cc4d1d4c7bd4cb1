"""The kinds of forum there are.

A new forum is a module with a :class:`transforms.readers.source.FileSource`, and a line here.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from transforms.readers.custom_threads.reader import THREADS
from transforms.readers.discourse.reader import DISCOURSE
from transforms.readers.lemmy import LEMMY
from transforms.readers.preferences.reader import PAIRS
from transforms.readers.reddit.reader import REDDIT
from transforms.readers.source import Source
from transforms.readers.stackexchange.source import STACKEXCHANGE

_SOURCES: Final[tuple[Source[Any], ...]] = (
    STACKEXCHANGE,
    REDDIT,
    DISCOURSE,
    LEMMY,
    THREADS,
    PAIRS,
)

SOURCES: Final[Mapping[str, Source[Any]]] = MappingProxyType(
    {source.kind: source for source in _SOURCES}
)
"""By the KIND of ``--input KIND=PATH``."""
