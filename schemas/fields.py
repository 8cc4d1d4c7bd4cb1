"""One definition per row type: msgspec structs whose fields carry their own docs.

A field is written ``Annotated[type, doc("what it is, unit, range, source")]``.
:func:`arrow_schema` turns such a struct into an Arrow schema with the same order,
nullability and descriptions, so the Parquet files and the docs cannot drift apart.
"""

import types
import typing
from typing import Annotated, Any, get_args, get_origin

import msgspec
import pyarrow as pa

TIMESTAMP_MS = pa.timestamp("ms", tz="UTC")


def doc(description: str, **constraints: Any) -> msgspec.Meta:
    """Describe a field; ``constraints`` are msgspec's (``ge=0`` and so on)."""
    return msgspec.Meta(description=description, **constraints)


def timestamp(description: str) -> msgspec.Meta:
    """Describe an int field that holds milliseconds since 1970-01-01 UTC."""
    return msgspec.Meta(description=description, extra={"arrow": TIMESTAMP_MS})


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


_SCALARS: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
}


def arrow_schema(row: type[msgspec.Struct], *, version: str) -> pa.Schema:
    """Derive the Arrow schema of a row struct.

    Supported field types: str, int, float, bool, bytes, str enums, ``tuple[T, ...]`` of a scalar
    or of a struct, and ``T | None`` of these. Anything else raises TypeError at import time.
    """
    fields = []
    for name, (annotation, meta) in field_docs(row).items():
        base, nullable = unwrap_optional(annotation)
        explicit = (meta.extra or {}).get("arrow")
        if explicit is not None:
            arrow_type = explicit
        elif get_origin(base) is tuple:
            element = get_args(base)[0]
            element_type = (
                pa.struct(arrow_schema(element, version=version))
                if issubclass(element, msgspec.Struct)
                else _SCALARS[element]
            )
            arrow_type = pa.list_(pa.field("element", element_type, nullable=False))
        elif isinstance(base, type) and issubclass(base, str):
            arrow_type = pa.string()
        elif base in _SCALARS:
            arrow_type = _SCALARS[base]
        else:
            raise TypeError(f"{row.__name__}.{name}: no Arrow type for {annotation!r}")
        metadata = {"description": meta.description} if meta.description else None
        fields.append(pa.field(name, arrow_type, nullable=nullable, metadata=metadata))
    return pa.schema(fields, metadata={"forumprefs.schema": f"{row.__name__}/{version}"})
