"""Join collections by key: one helper for every place where two or three of them meet.

Beam's own CoGroupByKey pickles each value on its way through the shuffle, whatever coder its type
has, and gives iterables that may be read again from the shuffle each time they are looped over.
Here values travel as MessagePack and arrive as lists.
"""

import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args

import apache_beam as beam
import msgspec

from schemas.fields import doc
from transforms.core.coders import decoder_of, encoder_of, register


class Tagged(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A value of one of the joined collections, on its way through the shuffle."""

    side: Annotated[int, doc("which collection, in the order of the fields of the group")]
    value: Annotated[msgspec.Raw, doc("MessagePack, not encoded once more")]


register(Tagged)


@dataclass
class JoinByKey(beam.PTransform):
    """Collections of (int key, value) → (key, group): all values that have the same key.

    ``group`` is a NamedTuple class with a field for each collection, in the order in which they are
    given, annotated ``list[type of the values]``; a value is a msgspec.Struct, a Blob, bytes or a
    str::

        class PostsAndLinks(NamedTuple):
            posts: list[PostBlock]
            links: list[Blob]

        (posts, links) | JoinByKey(PostsAndLinks)  # (key, PostsAndLinks(posts=[…], links=[…]))

    A side without values for a key is an empty list. The order within a list is that of arrival:
    what is made of it must not depend on it. All values of one key are in memory at once.
    """

    group: type[Any]

    def expand(self, sides: tuple[beam.PCollection[tuple[int, Any]], ...]) -> Any:
        names = self.group._fields
        if len(sides) != len(names):
            raise ValueError(f"{len(sides)} collections for {len(names)} fields: {names}")
        tagged = tuple(
            side | f"Tag {name}" >> beam.Map(_tag, place).with_output_types(tuple[int, Tagged])
            for place, (name, side) in enumerate(zip(names, sides, strict=True))
        )
        return (
            tagged
            | "Collect sides" >> beam.Flatten()
            | "Group by key" >> beam.GroupByKey()
            | "Separate sides" >> beam.ParDo(_Separate(self.group))
        )


def _tag(item: tuple[int, Any], side: int) -> tuple[int, Tagged]:
    key, value = item
    return key, Tagged(side, msgspec.Raw(encoder_of(type(value)).encode(value)))


class _Separate(beam.DoFn):
    def __init__(self, group: type[Any]) -> None:
        self._group = group

    def setup(self) -> None:
        hints = typing.get_type_hints(self._group)
        types = [get_args(hints[name])[0] for name in self._group._fields]
        self._decoders = [decoder_of(kind) for kind in types]

    def process(self, element: tuple[int, Iterable[Tagged]]) -> Iterator[tuple[int, Any]]:
        key, values = element
        sides: list[list[Any]] = [[] for _ in self._decoders]
        for tagged in values:
            sides[tagged.side].append(self._decoders[tagged.side].decode(tagged.value))
        yield key, self._group(*sides)
