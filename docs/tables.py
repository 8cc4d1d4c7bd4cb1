"""Tables of the fields of structs, for the pages that follow from the code."""

from typing import Any, get_args, get_origin

from schemas.arrow import arrow_schema
from schemas.fields import field_docs, unwrap_optional

NOTE = "<!-- Written by `python -m docs.generate`; edit the code, not this file. -->\n\n"


def type_name(annotation: Any) -> str:
    """Readable name of a field's type."""
    base, nullable = unwrap_optional(annotation)
    if get_origin(base) is tuple:
        name = f"list of {type_name(get_args(base)[0])}"
    elif get_origin(base) is dict:
        name = "map"
    elif get_args(base):
        name = " / ".join(f"`{value}`" for value in get_args(base))
    else:
        name = base.__name__
    return f"{name} or null" if nullable else name


def rows_of(struct: Any, *, arrow: bool = False) -> str:
    """Table of a struct's fields."""
    lines = ["| field | type | meaning |", "|---|---|---|"]
    schema = arrow_schema(struct, version="") if arrow else None
    for name, (annotation, meta) in field_docs(struct).items():
        kind = type_name(annotation)
        if schema is not None:
            field = schema.field(name)
            kind = f"{field.type}{' or null' if field.nullable else ''}".replace(
                " element: string not null", "string"
            )
        lines.append(f"| `{name}` | {kind} | {(meta.description or '').replace('|', '&#124;')} |")
    return "\n".join(lines) + "\n"
