"""One definition per row type: msgspec structs whose fields carry their own docs.

A field is written ``Annotated[type, doc("what it is, unit, range, source")]``.
:func:`schemas.arrow.arrow_schema` turns such a struct into an Arrow schema with the same order,
nullability and descriptions, so the Parquet files and the docs cannot drift apart.
"""

import types
import typing
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec

TIMESTAMP: Final = "timestamp"
"""Milliseconds since 1970-01-01 UTC."""
TIMESTAMPS: Final = "timestamps"
"""A list of them."""
STRING: Final = "string"


def doc(description: str, **constraints: Any) -> msgspec.Meta:
    """Describe a field; ``constraints`` are msgspec's (``ge=0`` and so on)."""
    return msgspec.Meta(description=description, **constraints)


def stored_as(arrow: str, description: str) -> msgspec.Meta:
    """Describe a field whose Arrow type, one of those above, does not follow from its own."""
    return msgspec.Meta(description=description, extra={"arrow": arrow})


def timestamp(description: str) -> msgspec.Meta:
    """Describe an int field that holds milliseconds since 1970-01-01 UTC."""
    return stored_as(TIMESTAMP, description)


def timestamps(description: str) -> msgspec.Meta:
    """Describe a field of integers that hold milliseconds since 1970-01-01 UTC."""
    return stored_as(TIMESTAMPS, description)


def field_meta(annotation: Any) -> tuple[Any, msgspec.Meta]:
    """Split ``Annotated[T, Meta]`` into (T, Meta); a bare T gets an empty Meta."""
    if get_origin(annotation) is Annotated:
        base, *extras = get_args(annotation)
        metas = [extra for extra in extras if isinstance(extra, msgspec.Meta)]
        return base, metas[0] if metas else msgspec.Meta()
    return annotation, msgspec.Meta()


def unwrap_optional(annotation: Any) -> tuple[Any, bool]:
    """Return (T, True) for ``T | None`` and (T, False) for anything else."""
    if get_origin(annotation) in (typing.Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return field_meta(members[0])[0], True
    return annotation, False


def field_docs(row: type[msgspec.Struct]) -> dict[str, tuple[Any, msgspec.Meta]]:
    """Return {field name: (annotation without Meta, Meta)} in definition order."""
    hints = typing.get_type_hints(row, include_extras=True)
    return {name: field_meta(hints[name]) for name in row.__struct_fields__}
