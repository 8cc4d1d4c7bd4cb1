"""Arrow schemas of the tables that are written, and of the input format.

Apart from the structs that they are derived from, because loading Arrow takes longer than most
commands do anything.
"""

from collections.abc import Iterable
from typing import Any, Final, get_args, get_origin

import msgspec
import pyarrow as pa

from schemas.audit import AUDIT_SCHEMA_VERSION, Duplicate, Rejected
from schemas.custom_thread import CustomThread
from schemas.fields import STRING, TIMESTAMP, TIMESTAMPS, field_docs, unwrap_optional
from schemas.pair import FORMER_NAMES, PAIR_SCHEMA_VERSION, TEXT_COLUMNS, Pair

_SCALARS: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
}
_STATED: Final[dict[str, pa.DataType]] = {
    TIMESTAMP: pa.timestamp("ms", tz="UTC"),
    TIMESTAMPS: pa.list_(pa.field("element", pa.timestamp("ms", tz="UTC"), nullable=False)),
    STRING: pa.string(),
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
            arrow_type = _STATED[explicit]
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


PAIR_SCHEMA = arrow_schema(Pair, version=PAIR_SCHEMA_VERSION)

PAIR_IDS_SCHEMA = pa.schema(
    [field for field in PAIR_SCHEMA if field.name not in TEXT_COLUMNS],
    metadata={"forumprefs.schema": f"PairIds/{PAIR_SCHEMA_VERSION}"},
)
"""Columns of a dataset of ids and labels: those of :data:`PAIR_SCHEMA` without the texts."""


def current_names(names: Iterable[str]) -> list[str]:
    """Return what columns of pairs are called now; other names stay."""
    return [FORMER_NAMES.get(name, name) for name in names]


def current_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema of pairs, of any version that is read, with the names of now."""
    fields = [
        field.with_name(name)
        for field, name in zip(schema, current_names(schema.names), strict=True)
    ]
    return pa.schema(fields, metadata=schema.metadata)


def stored_names(columns: Iterable[str], schema: pa.Schema) -> list[str]:
    """Return what columns of pairs are called in a file of ``schema``."""
    names = set(schema.names)
    former = {new: old for old, new in FORMER_NAMES.items() if old in names and new not in names}
    return [former.get(column, column) for column in columns]


REJECTED_SCHEMA = arrow_schema(Rejected, version=AUDIT_SCHEMA_VERSION)
DUPLICATE_SCHEMA = arrow_schema(Duplicate, version=AUDIT_SCHEMA_VERSION)


def _nullable(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_nullable(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([_nullable_field(field) for field in kind])
    return kind


def _nullable_field(field: pa.Field) -> pa.Field:
    return field.with_type(_nullable(field.type)).with_nullable(True)


CUSTOM_THREAD_SCHEMA = pa.schema(
    [_nullable_field(field) for field in arrow_schema(CustomThread, version="1")]
)
"""For writing Parquet; what is left out is null. Other Arrow types with such values do as well."""
