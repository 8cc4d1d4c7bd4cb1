"""Damage done to files on purpose: bytes, JSON values, rows, shards. Seeded: it can be repeated."""

import json
import os
import random
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

ODD_VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, -1, 1, 0.5, -0.0, 1e-06, 1e308, float("nan"), float("inf")),
    *(2**31, 2**53 + 1, 2**62 + 1, 2**63, 2**64, -(2**63) - 1, 10**40, 10**5000),
    *("", " ", "a", "x:y", "a" * 20_000, "\0", "\ud800", "ß\u0301\u202e\U0001f600", "\n---\n"),
    *(
        "../../x",
        "/dev/zero",
        "NaN",
        "1e999",
        "0" * 5_000,
        "2024-01-01",
        "9999999-01-01",
        "*?[",
        "-",
    ),
    *([], {}, [None], [[]], {"": None}, [0] * 3_000, {"a": {"b": {"c": [1]}}}),
)
SNIPPETS: Final = (
    *(
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\r",
        b"\n",
        b"\n\n",
        b"\t",
        b"\x85",
        b"\\",
    ),
    *(
        b'"',
        b"'",
        b"[",
        b"]",
        b"{",
        b"}",
        b",",
        b":",
        b"#",
        b"-",
        b"---\n",
        b"...\n",
        b"&a ",
        b"*a",
    ),
    *(
        b"<<: ",
        b"!!int ''",
        b"!!timestamp x",
        b"!!python/name:os.system ",
        b"? ",
        b"| ",
        b"%YAML 9\n",
    ),
    *(b"[" * 300, b'{"a":' * 300, b"- " * 300, b"a." * 300, b"9" * 5_000, b"1e9999", b"NaN"),
    *(b'"\\ud800"', b"\\u0000", b"null", b"true", b"<row", b"/>", b"&#0;", b"&x;", b"]]>", b"<!--"),
    *(b"<?xml version='1.0' encoding='UTF-16'?>", b"<!DOCTYPE a [<!ENTITY x 'y'>]>", b" " * 3_000),
)


def mutate_bytes(content: bytes, rng: random.Random) -> bytes:
    """Damage ``content`` in one to three places."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        place = rng.randrange(len(content) + 1)
        end = min(len(content), place + rng.choice((1, 2, 8, 100, 5_000)))
        kind = rng.randrange(9)
        if kind == 0 and content:
            place = rng.randrange(len(content))
            flipped = content[place] ^ (1 << rng.randrange(8))
            content = content[:place] + bytes([flipped]) + content[place + 1 :]
        elif kind == 1:
            content = content[:place] + content[end:]
        elif kind == 2:
            content = content[:end] + content[place:end] * rng.choice((1, 1, 20)) + content[end:]
        elif kind == 3:
            content = content[:place] + rng.randbytes(rng.choice((1, 4, 60))) + content[place:]
        elif kind == 4:
            content = content[:place]
        elif kind == 5:
            content = content[:place] + content[end:] + content[place:end]
        elif kind == 6 and rng.random() < 0.1:
            content = rng.choice((b"", b"\n", content[::-1], content + content))
        else:
            content = content[:place] + rng.choice(SNIPPETS) + content[place:]
    return content


def mutate_json(content: bytes, rng: random.Random) -> bytes:
    """Replace, remove, repeat or rename values of a JSON file; other bytes get other damage."""
    try:
        value = json.loads(content)
    except ValueError:
        return mutate_bytes(content, rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = _mutate_value(value, rng)
    return dump_json(value)


def dump_json(value: Any) -> bytes:
    """JSON with what it should not have: ``NaN``, halves of surrogate pairs, very long numbers."""
    return (
        json.dumps(_long_numbers(value), ensure_ascii=True)
        .replace('"<long>"', "9" * 5_000)
        .encode()
    )


def _long_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _long_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_long_numbers(inner) for inner in value]
    return "<long>" if isinstance(value, int) and abs(value) > 10**4_000 else value


def _mutate_value(value: Any, rng: random.Random) -> Any:
    if not isinstance(value, dict | list) or not value or rng.random() < 0.03:
        return _odd(value, rng)
    if isinstance(value, list):
        value = list(value)
        place = rng.randrange(len(value))
        kind = rng.randrange(8)
        if kind == 0:
            del value[place]
        elif kind == 1:
            value.insert(place, rng.choice(ODD_VALUES))
        elif kind == 2:
            value.insert(place, value[place])
        else:
            value[place] = _mutate_value(value[place], rng)
        return value
    value = dict(value)
    key = rng.choice(list(value))
    kind = rng.randrange(10)
    if kind == 0:
        del value[key]
    elif kind == 1:
        value[rng.choice(("", "a:b:c", "x" * 300, "\u202e", key + "x"))] = value.pop(key)
    elif kind == 2:
        value[str(rng.choice(ODD_VALUES[:12]))] = rng.choice(ODD_VALUES)
    else:
        value[key] = _mutate_value(value[key], rng)
    return value


def _odd(value: Any, rng: random.Random) -> Any:
    if rng.random() < 0.05:
        for _ in range(rng.choice((40, 70, 150))):
            value = [value]
        return value
    if isinstance(value, str) and rng.random() < 0.4:
        return mutate_bytes(value.encode(), rng).decode("utf-8", "replace")
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.4:
        return -value if rng.random() < 0.5 else value * 10 ** rng.choice((1, 6, 18, 30))
    return rng.choice(ODD_VALUES)


def mutate_shard(path: Path, rng: random.Random) -> None:
    """Damage a Parquet file: its bytes, or a column that is whole and of another kind."""
    kind = rng.randrange(6)
    if kind < 3:
        path.write_bytes(mutate_bytes(path.read_bytes(), rng))
        return
    table = pq.read_table(path)
    place = rng.randrange(table.num_columns)
    name = table.schema.names[place]
    column = table.column(place)
    rows = table.num_rows
    if kind == 3:
        table = table.drop_columns([name])
    elif kind == 4:
        values: Any = rng.choice(
            (
                pa.nulls(rows, column.type),
                pa.array(["x"] * rows),
                pa.array([2**62] * rows),
                pa.array([float("nan")] * rows),
                pa.array([b"\xff"] * rows),
                pa.array([["a", None]] * rows),
                pa.array([2**62] * rows, pa.timestamp("ms", tz="UTC")),
                pa.array([None] * rows),
                pa.array([True] * rows),
            )
        )
        field = pa.field(name, values.type, metadata=table.schema.field(place).metadata)
        table = table.set_column(place, field, values)
    else:
        table = table.slice(0, rng.choice((0, 1, rows // 2)))
        if rng.random() < 0.5 and table.num_rows:
            table = table.take(pa.array(sorted(range(table.num_rows), key=lambda _: rng.random())))
    pq.write_table(table, path)


def mutate_folder(folder: Path, rng: random.Random) -> str:
    """Damage one to three files of a dataset folder; returns what was done, for people."""
    done = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not files:
            break
        small = [path for path in files if path.suffix in (".json", ".md")] or files
        path = rng.choice(small if rng.random() < 0.7 else files)
        kind = rng.random()
        name = path.relative_to(folder).as_posix()
        if kind < 0.06:
            path.unlink()
            how = _special(path, rng)
        elif kind < 0.12:
            path.unlink()
            how = "removed"
        elif path.suffix == ".parquet":
            mutate_shard(path, rng)
            how = "shard damaged"
        elif path.suffix == ".json" and kind < 0.75:
            path.write_bytes(mutate_json(path.read_bytes(), rng))
            how = "values changed"
        else:
            path.write_bytes(mutate_bytes(path.read_bytes(), rng))
            how = "bytes changed"
        done.append(f"{name}: {how}")
    return "; ".join(done)


def _special(path: Path, rng: random.Random) -> str:
    kind = rng.choice(("pipe", "device", "folder", "itself", "nowhere"))
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        target = {"device": "/dev/zero", "itself": path.name, "nowhere": "/none/at/all"}[kind]
        path.symlink_to(target)
    return f"a {kind}"
