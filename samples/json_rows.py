"""What the builders of the JSON samples have in common."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from samples.threads import Entry

Row = dict[str, Any]


def line(row: Row) -> str:
    """JSON without spaces."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def lines(rows: Iterable[Row]) -> bytes:
    """JSON Lines."""
    return "".join(f"{line(row)}\n" for row in rows).encode()


def iso(moment: datetime) -> str:
    """ISO 8601 with milliseconds and Z."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def votes(entry: Entry) -> tuple[int, int]:
    """Upvotes and downvotes."""
    kinds = [vote.type for vote in entry.votes]
    return kinds.count(2), kinds.count(3)
