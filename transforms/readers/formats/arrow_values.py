"""Values of Arrow arrays of every type, as the plain objects that JSON would have given.

What JSON does not have either becomes what our fields take (a time Milliseconds, a decimal
Decimal, a UUID `uuid.UUID`, binary data bytes), or an OtherValue, which every field refuses by
name.
"""

import uuid
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from schemas.post import DAY_MS
from transforms.readers.formats.json_faults import UndecodableError
from transforms.readers.formats.json_values import decode_value
from transforms.readers.formats.times import Milliseconds
from transforms.readers.formats.values import OtherValue

_PER_MS: Final = {"ms": 1, "us": 1_000, "ns": 1_000_000}
_MS_PER_SECOND: Final = 1000
_UUID_BYTES: Final = 16
_ANY: Final = msgspec.json.Decoder(Any)

DURATION: Final = OtherValue("a duration")
TIME_OF_DAY: Final = OtherValue("a time of day")
INTERVAL: Final = OtherValue("an interval of the calendar")
UNION: Final = OtherValue("a value of an Arrow union")
EXTENSION: Final = OtherValue("a value of an Arrow extension type")


def plain_values(array: pa.Array) -> list[Any]:
    """Return the values of an array as Python objects, None for null and NaN.

    Times of any unit, and dates, become Milliseconds since 1970-01-01 UTC, what is below one cut
    off; a time without a zone is UTC. Maps from texts become dicts; JSON is decoded. Raises
    pyarrow.ArrowException or ValueError where a value is damaged.
    """
    kind = array.type
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _extensions(array)
    if types.is_timestamp(kind):
        return _times(array, pa.int64(), kind.unit)
    if types.is_date32(kind):
        days = array.cast(pa.int32()).to_pylist()
        return [None if value is None else Milliseconds(value * DAY_MS) for value in days]
    if types.is_date64(kind):
        return _times(array, pa.int64(), "ms")
    if types.is_floating(kind):
        numbers = array.cast(pa.float32()) if types.is_float16(kind) else array
        # NaN is what tables have where there is nothing.
        return [None if value != value else value for value in numbers.to_pylist()]
    if types.is_dictionary(kind):
        return _dictionary(array)
    if types.is_run_end_encoded(kind):
        return plain_values(pc.run_end_decode(array))
    if types.is_struct(kind):
        return _structs(array)
    if types.is_map(kind):
        return _maps(array)
    if _is_list(kind):
        return _lists(array)
    if types.is_fixed_size_binary(kind):
        return _fixed_binaries(array)
    for is_other, other in _OTHERS:
        if is_other(kind):
            return _others(array, other)
    plain: list[Any] = array.to_pylist()
    return plain


_OTHERS: Final = (
    (pa.types.is_duration, DURATION),
    (pa.types.is_time, TIME_OF_DAY),
    (pa.types.is_interval, INTERVAL),
    (pa.types.is_union, UNION),
)


def _others(array: pa.Array, other: OtherValue) -> list[Any]:
    return [other if valid else None for valid in array.is_valid().to_pylist()]


def _times(array: pa.Array, storage: pa.DataType, unit: str) -> list[Any]:
    numbers = array.cast(storage).to_pylist()
    if unit == "s":
        return [None if n is None else Milliseconds(n * _MS_PER_SECOND) for n in numbers]
    per_ms = _PER_MS[unit]
    return [None if n is None else Milliseconds(n // per_ms) for n in numbers]


def _extensions(array: pa.Array) -> list[Any]:
    kind = array.type
    if isinstance(kind, pa.UuidType):
        return _fixed_binaries(array.storage)
    if isinstance(kind, pa.Bool8Type):
        return [None if value is None else value != 0 for value in array.storage.to_pylist()]
    if isinstance(kind, pa.JsonType):
        return [_decoded(text) for text in plain_values(array.storage)]
    return _others(array.storage, EXTENSION)


def _decoded(text: Any) -> Any:
    """The value of JSON; the text itself when it is none: the field that it is for refuses it."""
    if text is None:
        return None
    try:
        return decode_value(text.encode(), _ANY)
    except (UndecodableError, UnicodeEncodeError):
        return text


def _fixed_binaries(array: pa.Array) -> list[Any]:
    if array.type.byte_width == _UUID_BYTES:
        return [None if value is None else uuid.UUID(bytes=value) for value in array.to_pylist()]
    return _others(array, OtherValue(f"binary data of {array.type.byte_width} bytes"))


def _dictionary(array: pa.DictionaryArray) -> list[Any]:
    if len(array.dictionary) > len(array):  # the batches of a file share one dictionary
        return plain_values(array.dictionary_decode())
    values = plain_values(array.dictionary)
    return [None if index is None else values[index] for index in array.indices.to_pylist()]


def _structs(array: pa.StructArray) -> list[Any]:
    fields = [plain_values(field) for field in array.flatten()]
    names = [field.name for field in array.type]
    return [
        dict(zip(names, (field[index] for field in fields), strict=True)) if valid else None
        for index, valid in enumerate(array.is_valid().to_pylist())
    ]


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return any(
        is_list(kind)
        for is_list in (
            types.is_list,
            types.is_large_list,
            types.is_fixed_size_list,
            types.is_list_view,
            types.is_large_list_view,
        )
    )


def _lists(array: pa.Array) -> list[Any]:
    # Not by a cast to one kind of list: pyarrow 25 loses items of list views that follow a null.
    return _cut(plain_values(array.flatten()), array)


def _maps(array: pa.MapArray) -> list[Any]:
    entries = array.cast(pa.list_(pa.struct([array.type.key_field, array.type.item_field])))
    keys, items = (plain_values(field) for field in entries.flatten().flatten())
    pairs = _cut(list(zip(keys, items, strict=True)), entries)
    return [None if found is None else dict(found) for found in pairs]


def _cut(values: Sequence[Any], lists: pa.Array) -> list[Any]:
    found: list[Any] = []
    start = 0
    for length in lists.value_lengths().to_pylist():
        found.append(None if length is None else values[start : start + length])
        start += length or 0
    return found
