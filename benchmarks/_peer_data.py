"""Inputs of benchmarks/peers.py: generated dumps, real ones, and the texts of their posts."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import py7zr
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.generate_dump import DumpOptions, generate_dump
from transforms.text.markdown import html_to_markdown

OTHER_LANGUAGES = {"fr": 0.4, "es": 0.3, "de": 0.3}


def rows(posts: Path) -> Iterator[dict[str, str]]:
    """Questions and answers of a Posts.xml."""
    for _, element in ET.iterparse(posts):
        if element.get("PostTypeId") in ("1", "2"):
            yield dict(element.attrib)
        element.clear()


def make_dump(output: Path, posts: int, site: str, languages: dict[str, float] | None) -> Path:
    """Generate a dump; return its folder."""
    options = DumpOptions(posts, 1, site)
    if languages is not None:
        options = DumpOptions(posts, 1, site, languages=languages)
    generate_dump(output, options)
    return output / site


def unpack(dump: Path, output: Path) -> Path:
    """Return a folder with the Posts.xml of a dump, which may be a .7z archive."""
    if dump.is_dir():
        return dump
    folder = output / dump.stem
    with py7zr.SevenZipFile(dump) as archive:
        archive.extractall(folder)
    return folder


def join_dumps(dumps: list[Path], output: Path) -> tuple[Path, int]:
    """Write one Posts.xml with the posts of several dumps, ids made unique; and their number."""
    output.mkdir()
    root = ET.Element("posts")
    for place, dump in enumerate(dumps):
        for row in rows(dump / "Posts.xml"):
            ET.SubElement(root, "row", row | {"Id": f"{row['Id']}{place:02}"}).tail = "\n"
    root.text = "\n"
    ET.ElementTree(root).write(output / "Posts.xml", "utf-8", xml_declaration=True)
    return output, len(root)


def write_texts(dumps: list[Path], output: Path) -> dict[str, str]:
    """Write the posts of dumps as (id, thread, text in Markdown); return the texts by id."""
    table: dict[str, list[str]] = {"id": [], "thread": [], "text": []}
    for dump in dumps:
        for row in rows(dump / "Posts.xml"):
            text = html_to_markdown(row["Body"])
            table["id"].append(f"{dump.name}:{row['Id']}")
            table["thread"].append(f"{dump.name}:{row.get('ParentId', row['Id'])}")
            table["text"].append(f"{row['Title']}\n\n{text}" if "Title" in row else text)
    # A folder for each file: datatrove's patterns match the ends of names.
    output.parent.mkdir()
    pq.write_table(pa.table(table), output)
    return dict(zip(table["id"], table["text"], strict=True))


def planted_pairs(dump: Path) -> list[tuple[str, str]]:
    """(copy, original) ids of all copies that the generator planted, near enough or not."""
    lines = (dump / "planted.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return [(f"{dump.name}:{entry['id']}", f"{dump.name}:{entry['of']}") for entry in entries]
