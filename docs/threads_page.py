"""The page docs/threads.md: the schema of own threads, its fields taken from the code."""

import json
from typing import Any, get_args, get_origin

import msgspec

from pipeline.commands.validate import EXAMPLE
from schemas.custom_thread import (
    FREE_PREFIX,
    THREAD_FORMAT,
    CustomResponse,
    CustomThread,
    Key,
    VoteCount,
)
from schemas.fields import field_docs, unwrap_optional
from transforms.readers.custom_threads.rows import MAX_VOTES
from transforms.readers.formats.json_faults import MAX_DEPTH
from transforms.readers.formats.json_lines import MAX_LINE_BYTES
from transforms.readers.formats.times import UNITS

_FROM_DATABASE = """\
```python
import json, sqlite3

db = sqlite3.connect("forum.db")
db.row_factory = sqlite3.Row
with open("threads.jsonl", "w", encoding="utf-8") as out:
    for topic in db.execute("SELECT id, title, body, created, user FROM topics"):
        replies = db.execute(
            "SELECT id, body AS text, created AS created_at, user AS author_id, ups AS upvotes, "
            "downs AS downvotes FROM replies WHERE topic = ?",
            (topic["id"],),
        )
        thread = {
            "site": "forum.example.com",
            "license": "CC-BY-4.0",
            "id": topic["id"],
            "title": topic["title"],
            "text": topic["body"],
            "created_at": topic["created"],
            "author_id": topic["user"],
            "responses": [dict(reply) for reply in replies],
        }
        out.write(json.dumps(thread) + "\\n")
```"""

_NAMES = {str: "text", int: "integer", bool: "true or false", Key: "text or integer"}
_LISTS = {CustomResponse: "responses", VoteCount: "votes", str: "texts"}


def fields_table(struct: type[msgspec.Struct]) -> str:
    """Table of the fields of a row, the required ones first."""
    needed = {field.name for field in msgspec.structs.fields(struct) if field.required}
    docs = field_docs(struct)
    lines = ["| field | | type | meaning |", "|---|---|---|---|"]
    for name in sorted(docs, key=lambda name: name not in needed):
        annotation, meta = docs[name]
        mark = "**required**" if name in needed else ""
        kind = _kind(annotation, (meta.extra or {}).get("arrow"))
        lines.append(f"| `{name}` | {mark} | {kind} | {meta.description} |")
    return "\n".join(lines) + "\n"


def _kind(annotation: Any, arrow: Any) -> str:
    if arrow is not None:
        return "time" if str(arrow).startswith("timestamp") else _NAMES[Key]
    base = unwrap_optional(annotation)[0]
    if get_origin(base) is tuple:
        return f"list of {_LISTS[get_args(base)[0]]}"
    return _NAMES[base]


def _units() -> str:
    return "\n".join(f"  | {unit.name} | {unit.low:,} | {unit.end:,} |" for unit in UNITS)


def threads_page() -> str:
    """How to bring the threads of any forum."""
    example = json.dumps(EXAMPLE[0], indent=2)
    return f"""# Your own forum

Any forum whose threads and votes you have can be read, if you write one row per thread in the
schema below. Version: `{THREAD_FORMAT}`.

```
forumprefs validate-threads --example > threads.jsonl     # a small file to start from
forumprefs validate-threads threads.jsonl                 # says what is wrong, row by row
forumprefs curate --input threads=threads.jsonl --output out/mine
```

Files are JSON Lines (`.jsonl`, `.ndjson`; one thread per line), a JSON list (`.json`, up to 256
MiB), or Parquet; what a file holds shows in its content. JSON may be compressed (`.gz`, `.zst`,
`.bz2`, `.xz`). Give many files, a folder or a glob: files are read side by side, and one thread
must be in one row.

```json
{example}
```

## Thread

{fields_table(CustomThread)}
## Response

{fields_table(CustomResponse)}
A response needs votes in one of three forms: `score`; `upvotes`, with `downvotes` if there are any;
or `votes`. Dated votes are worth the trouble. With them, `--votes common_window` counts only
what was cast after both responses existed, which undoes the advantage of the earlier one. What is
given besides must agree with them.

## Votes of a day

{fields_table(VoteCount)}
At most {MAX_VOTES:,} dated votes on one response.

## Rules

- **Null and absent mean the same**, and so does `NaN`, which Python writes where a table is empty.
  In Parquet, a column or a field of a struct may be missing.
- **Times, numbers and ids** may be as [other tools write them](#values).
- **Ids** are what your database has. The id of a thread must be unique in its `site`, over all
  files; that of a response only in its thread, so tables that both count from 1 are not a problem.
  In the dataset a thread is `SITE:ID`, its response `SITE:ID#RESPONSE`, and an author `SITE:uID`:
  these are also what a takedown list names.
- **Authors.** Responses by one account are never compared with each other. Accounts are told apart
  by `author_id`, or by `author` without it. Leave both out for deleted accounts.
- **Replies.** A response with a `parent` replies to another response of the thread. They are used
  with `--reply-depth 2` or more, and compared with replies to the same response.
- **Licences.** `license` is your word on the texts, and goes into each row of the dataset. It
  should be an [SPDX](https://spdx.org/licenses/) id; `NOASSERTION` says that nobody knows.
- **Names of your own** begin with `{FREE_PREFIX}` and are not read. Any other unknown field is an
  error, since it is usually a slip of the pen, and a vote that is not found would look like
  no vote.

## Values

Tables and databases write one value in several ways. These are read, here and in all other inputs:

- **Times** of the years 1970 to 2199. As text: ISO 8601 such as `2024-05-31T18:30:00Z`,
  `2024-05-31 20:30:00.123+02:00`, `2024-05-31` or `20240531`, UTC unless there is an offset. As a
  number, or a number as text, since 1970-01-01 UTC, whose size says the unit:

  | unit | from | to, exclusive |
  |---|---|---|
{_units()}

  From 1973-03-03 on that leaves no doubt. What is in no range is refused, and so are whole numbers
  that are a year or a date without hyphens (`2024`, `20240531`), which would be moments of 1970.
  Parquet timestamps and dates of any unit and zone say what they are. What is below a millisecond
  is cut off.
- **Integers**: `7`, `7.0`, `"7"`, `"7.0"`, decimals. A floating-point number of 2^53 or more is
  refused, because it may have lost digits; export such a column as integers or text.
- **Ids**: text, integers in any of these forms (`7.0` and `"7.0"` are the id `7`), UUIDs.
- **Truth values**: `true`, `false`, 1, 0, and the words as text.
- **Parquet columns** of any type that has such values: unsigned and small integers, half floats,
  decimals, dictionaries, all kinds of text, bytes that are UTF-8, UUIDs and other values of 16
  bytes, all kinds of lists, maps from texts, structs, and JSON. Durations, times of day, intervals,
  bytes of another fixed size and other extension types are refused by name in a field that is read.
- **JSON** may have a byte order mark, blank lines, Windows' ends of lines, and `NaN`: it is null.
  `Infinity` and numbers out of range are refused in the field that they are in. Half of a surrogate
  pair becomes U+FFFD. The last of repeated names counts. Values nested more than {MAX_DEPTH} deep,
  lines over {MAX_LINE_BYTES >> 20} MiB, and UTF-16 are refused.

## What happens to rows with problems

`validate-threads` names every problem: file and row, field, what is there, and what would be
right. It exits with 0 when there is none, with 1 when there is one, and with 2 for a usage error.
It goes through the same code as `curate`, so what it finds nothing wrong with is read.

In `curate`, a thread with a problem of its own is one row of the rejected table, named
`FILE:ROW`. A response with a problem is a row by itself, and the rest of its thread is used. A
thread that is there twice is `repeated_id`.

## From a database

One query per row type is enough; any tool that writes nested Parquet or JSON will do.

{_FROM_DATABASE}
For Parquet, `schemas.arrow.CUSTOM_THREAD_SCHEMA` is the Arrow schema to write with.
"""
