"""The script a person would write, with lxml, markdownify, langdetect and datasketch.

JOB INPUT OUTPUT, run by benchmarks/peers.py in the peers' environment; imports nothing of ours.
Written as well as such a script is: it drops threads without two answers before it converts
anything, turns markdownify's escapes off, looks at prose only to tell languages, reuses
permutations, and checks candidates before it removes them.
"""

import json
import re
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import langdetect
import pyarrow as pa
import pyarrow.parquet as pq
from bs4 import BeautifulSoup
from datasketch import MinHash, MinHashLSH
from lxml import etree
from markdownify import markdownify

langdetect.DetectorFactory.seed = 0
CAREFUL = {"heading_style": "ATX", "escape_asterisks": False, "escape_underscores": False}
THRESHOLD, PERMUTATIONS, SHINGLE = 0.8, 128, 5
MOST_PAIRS = 10
WORD = re.compile(r"\w+")


def rows(path: Path) -> Any:
    """Attributes of the questions and answers."""
    for _, element in etree.iterparse(str(path), tag="row"):
        if element.get("PostTypeId") in ("1", "2"):
            yield dict(element.attrib)
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]


def is_english(prose: str) -> bool:
    """Short texts get the benefit of the doubt."""
    if len(prose) < 50:
        return True
    try:
        return bool(langdetect.detect(prose[:1000]) == "en")
    except langdetect.LangDetectException:
        return False


def prose_of(html: str) -> str:
    soup = BeautifulSoup(html, "lxml")
    for code in soup(["pre", "code"]):
        code.decompose()
    return soup.get_text(" ", strip=True)


class Duplicates:
    """An index of the texts seen so far."""

    def __init__(self) -> None:
        self.exact: dict[str, str] = {}
        self.index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
        self.sketches: dict[str, MinHash] = {}
        self.base = MinHash(num_perm=PERMUTATIONS)

    def add(self, name: str, text: str) -> str | None:
        """Return the earlier text that this one repeats, or remember it."""
        words = WORD.findall(text.lower())
        same = self.exact.setdefault(" ".join(words), name)
        if same != name:
            return same
        shingles = {
            " ".join(words[at : at + SHINGLE]).encode() for at in range(len(words) - SHINGLE + 1)
        }
        if not shingles:
            return None
        sketch = self.base.copy()
        sketch.update_batch(shingles)
        for other in self.index.query(sketch):
            if sketch.jaccard(self.sketches[other]) >= THRESHOLD:
                return str(other)
        self.index.insert(name, sketch, check_duplication=False)
        self.sketches[name] = sketch
        return None


def convert(source: Path, output: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Read Posts.xml, write (id, markdown)."""
    ids, texts = [], []
    for row in rows(source):
        ids.append(row["Id"])
        texts.append(markdownify(row["Body"], **options))
    pq.write_table(pa.table({"id": ids, "markdown": texts}), output / "markdown.parquet")
    return {}


def language(source: Path, output: Path) -> dict[str, Any]:
    """Ids that stay; the texts are Markdown, so code is cut out by its fences."""
    kept = []
    for row in pq.read_table(source).to_pylist():
        prose = re.sub(r"```.*?```|`[^`\n]+`", " ", row["text"], flags=re.DOTALL)
        if is_english(prose):
            kept.append(row["id"])
    return {"kept": kept}


def dedup(source: Path, output: Path) -> dict[str, Any]:
    """Groups and removed ids; questions and answers apart."""
    indexes = (Duplicates(), Duplicates())
    clusters: dict[str, str] = {}
    removed = []
    for row in pq.read_table(source).to_pylist():
        same = indexes[row["id"] == row["thread"]].add(row["id"], row["text"])
        if same is not None:
            clusters[same] = clusters.get(same, same)
            clusters[row["id"]] = clusters[same]
            removed.append(row["id"])
    return {"clusters": clusters, "removed": removed}


def whole(source: Path, output: Path) -> dict[str, Any]:
    """Dump to pairs: the better-voted answer over the other."""
    questions: dict[str, dict[str, str]] = {}
    answers: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows(source / "Posts.xml"):
        if row["PostTypeId"] == "1":
            questions[row["Id"]] = row
        else:
            answers[row["ParentId"]].append(row)
    asked, answered = Duplicates(), Duplicates()
    pairs: list[dict[str, Any]] = []
    for name, question in questions.items():
        if len(answers[name]) < 2 or not is_english(prose_of(question["Body"])):
            continue
        prompt = question["Title"] + "\n\n" + markdownify(question["Body"], **CAREFUL)
        if asked.add(name, prompt) is not None:
            continue
        good = []
        for answer in answers[name]:
            if not is_english(prose_of(answer["Body"])):
                continue
            text = markdownify(answer["Body"], **CAREFUL)
            if answered.add(answer["Id"], text) is None:
                good.append((int(answer["Score"]), answer["Id"], text))
        good.sort(reverse=True)
        found = [
            {
                "prompt_id": name,
                "prompt": prompt,
                "chosen_id": better[1],
                "chosen": better[2],
                "rejected_id": worse[1],
                "rejected": worse[2],
                "margin": better[0] - worse[0],
            }
            for at, better in enumerate(good)
            for worse in good[at + 1 :]
            if better[0] > worse[0]
        ]
        pairs += found[:MOST_PAIRS]
    pq.write_table(pa.Table.from_pylist(pairs), output / "pairs.parquet", compression="zstd")
    used = {pair[column] for pair in pairs for column in ("prompt_id", "chosen_id", "rejected_id")}
    return {"pairs": len(pairs), "accounted": sorted(used)}


def main() -> None:
    job, source, output = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if job.startswith("convert"):
        result = convert(source, output, CAREFUL if job == "convert" else {})
    else:
        result = {"language": language, "dedup": dedup, "whole": whole}[job](source, output)
    packages = ("lxml", "beautifulsoup4", "markdownify", "langdetect", "datasketch")
    result["versions"] = {name: version(name) for name in packages}
    (output / "result.json").write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
