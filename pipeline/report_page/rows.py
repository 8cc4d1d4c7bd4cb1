"""The rows that the browser of the page shows, as one JSON value."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.console.text import printable
from pipeline.dataset.folder import DatasetFolder
from pipeline.report_page.figures import DuplicateCluster
from pipeline.report_page.sample import Row, choose, read_rows
from pipeline.report_page.text import render, safe_url
from schemas.audit import REASON_DOCS, DuplicateRule
from schemas.pair import TEXT_COLUMNS
from schemas.post import Post, Thread, prompt_text

MAX_PAIRS = 1_000
MAX_AUDIT_ROWS = 400
"""Of duplicates, and of rejects."""

PAIR_BYTES = 5_500_000
AUDIT_BYTES = 1_200_000
"""What rows may take in the page, so that the whole stays under 10 MB."""

MAX_POINTS = 120
"""Of a curve of votes."""

RULES = {
    DuplicateRule.EXACT: "equal text",
    DuplicateRule.NEAR: "nearly equal text",
    DuplicateRule.NEAR_CHAIN: "linked to the kept post through other near-duplicates",
}


class Texts:
    """Rendered posts, each held once, within a limit of bytes."""

    def __init__(self) -> None:
        self.html: list[str] = []
        self.bytes = 0
        self._places: dict[str, int] = {}

    def add(self, key: str, markdown: str) -> int:
        """Return the place of a post's HTML."""
        if key not in self._places:
            made = render(markdown)
            self._places[key] = len(self.html)
            self.html.append(made)
            self.bytes += len(as_json(made).encode())
        return self._places[key]


class Sampled:
    """Posts of the threads that the run kept aside."""

    def __init__(self, threads: Iterable[Thread]) -> None:
        self.posts: dict[str, Post] = {
            post.id: post for thread in threads for post in (thread.prompt, *thread.responses)
        }

    def text(self, post_id: str) -> str | None:
        """Markdown of a post; None where it is not in the sample or has none."""
        post = self.posts.get(post_id)
        if post is None or post.removed_as is not None or not (post.text or post.title):
            return None
        return prompt_text(post)

    def url(self, post_id: str) -> str:
        """Link to a post, or ''."""
        post = self.posts.get(post_id)
        return safe_url(post.url) if post is not None else ""

    def curve(self, post_id: str) -> list[tuple[int, int]] | None:
        """Votes over time as (UTC day, net votes up to its end); None without dated votes."""
        post = self.posts.get(post_id)
        if post is None or post.up_days is None:
            return None
        changes = [(day, 1) for day in post.up_days] + [(day, -1) for day in post.down_days or ()]
        steps: dict[int, int] = {}
        total = 0
        for day, change in sorted(changes):
            total += change
            steps[day] = total
        found = list(steps.items())
        thin = -(-len(found) // MAX_POINTS)
        return found if thin <= 1 else [*found[:-1:thin], found[-1]]


def browser_rows(
    folder: DatasetFolder, threads: Sequence[Thread], clusters: Sequence[DuplicateCluster]
) -> dict[str, Any]:
    """Return what the page's script reads: texts once, and the rows of three tables."""
    sampled = Sampled(threads)
    texts = Texts()
    pairs = _pairs(folder, sampled, texts)
    duplicates = _duplicates(folder, sampled, texts, clusters)
    rejected = _rejected(folder, sampled, texts)
    totals = {
        table: sum(shard.rows for shard in folder.shards(table))
        for table in ("data", "duplicates", "rejected")
    }
    return {
        "totals": {
            "pairs": totals["data"],
            "duplicates": totals["duplicates"],
            "rejected": totals["rejected"],
        },
        "texts": texts.html,
        "pairs": pairs,
        "duplicates": duplicates,
        "rejected": rejected,
        "reasons": {reason.value: text for reason, text in REASON_DOCS.items()},
        "rules": {rule.value: text for rule, text in RULES.items()},
        "recipe": {
            name: folder.manifest.recipe.get(name)
            for name in ("pairing", "votes", "min_margin", "min_ratio", "max_pairs_per_thread")
        },
    }


def as_json(value: Any) -> str:
    """Return JSON that can stand in a <script> element: no '<' in it, so none can close it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return (
        text.replace("<", "\\u003c")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
        .encode("utf-8", "replace")
        .decode("utf-8")
    )


def _pairs(folder: DatasetFolder, sampled: Sampled, texts: Texts) -> list[Row]:
    schema = folder.schema("data")
    if schema is None:
        return []
    known = {post.thread_id for post in sampled.posts.values()}

    def stratum(row: Row) -> tuple[Any, ...]:
        confidence = sum(row["confidence"] >= edge for edge in (0.5, 0.7, 0.9))
        # Strata take turns in order: first those of which more is known.
        return row["thread_id"] not in known, row["site"], row["language"], confidence

    columns = ["pair_id", "thread_id", "site", "language", "confidence"]
    numbers = choose(folder, "data", columns, stratum, MAX_PAIRS)
    wanted = [name for name in schema.names if not name.endswith("_turns")]
    found = read_rows(folder, "data", wanted, numbers)
    rows: list[Row] = []
    for number in numbers:
        rows.append(_pair(found[number], sampled, texts))
        if texts.bytes > PAIR_BYTES:
            break
    return rows


def _pair(row: Row, sampled: Sampled, texts: Texts) -> Row:
    made: Row = {
        "id": printable(row["pair_id"]),
        "thread": printable(row["thread_id"]),
        "site": printable(row["site"]),
        "source": row["source"],
        "language": row["language"],
        "split": row["split"],
        "margin": round(row["vote_margin"], 3),
        "confidence": row["confidence"],
        "window": [row["window_chosen_score"], row["window_rejected_score"]],
        "tags": [printable(tag) for tag in row["tags"]],
        "turns": len(row["context_ids"]),
        "longer": None,
        "title": printable(row["pair_id"]),
    }
    if all(name in row for name in TEXT_COLUMNS[:3]):
        made["longer"] = len(row["chosen"]) - len(row["rejected"])
        made["title"] = _title(row["prompt"])
    for side in ("prompt", "chosen", "rejected"):
        post_id = row[f"{side}_id"]
        key = post_id if side != "prompt" else "/".join([post_id, *row["context_ids"]])
        text = row.get(side)
        made[side] = {
            "id": printable(post_id),
            "text": texts.add(key, text) if text is not None else None,
            "url": safe_url(row[f"{side}_url"]),
            "author": printable(row[f"{side}_author"]),
            "at": int(row[f"{side}_created_at"].timestamp()),
            "license": printable(row[f"{side}_license"]),
        }
        if side != "prompt":
            made[side] |= {
                "score": row[f"{side}_score"],
                "accepted": row[f"{side}_is_accepted"],
                "curve": sampled.curve(post_id),
            }
    return made


def _title(text: str) -> str:
    line = next((line for line in text.splitlines() if line.strip()), "")
    clean = printable(line.strip(" #*>"))
    return clean if len(clean) <= 110 else clean[:109] + "…"


def _duplicates(
    folder: DatasetFolder, sampled: Sampled, texts: Texts, clusters: Sequence[DuplicateCluster]
) -> list[Row]:
    largest = {cluster.kept for cluster in clusters}

    def stratum(row: Row) -> tuple[Any, ...]:
        known = row["removed_id"] in sampled.posts
        return row["rule"], int(row["similarity"] * 20), known, row["kept_id"] in largest

    columns = ["removed_id", "kept_id", "similarity", "rule"]
    numbers = choose(folder, "duplicates", columns, stratum, MAX_AUDIT_ROWS)
    found = read_rows(folder, "duplicates", columns, numbers)
    kept = _kept_posts(folder, {row["kept_id"] for row in found.values()})
    limit = texts.bytes + AUDIT_BYTES
    rows = []
    for number in numbers:
        row = found[number]
        made: Row = {
            "id": printable(row["removed_id"]),
            "kept": printable(row["kept_id"]),
            "site": _site(row["removed_id"]),
            "similarity": round(row["similarity"], 4),
            "rule": row["rule"],
        }
        for name, post_id in (("removedText", row["removed_id"]), ("keptText", row["kept_id"])):
            url, text = kept.get(post_id, ("", None)) if name == "keptText" else ("", None)
            text = text if text is not None else sampled.text(post_id)
            made[name] = (
                texts.add(post_id, text) if text is not None and texts.bytes < limit else None
            )
            made[name.replace("Text", "Url")] = url or sampled.url(post_id)
        made["title"] = (
            _title(sampled.text(row["removed_id"]) or kept.get(row["kept_id"], ("", ""))[1] or "")
            or made["id"]
        )
        rows.append(made)
    return rows


def _kept_posts(folder: DatasetFolder, ids: set[str]) -> dict[str, tuple[str, str | None]]:
    """{id: (link, text)} of posts that are in a pair."""
    if not ids:
        return {}
    wanted = pa.array(sorted(ids), pa.string())
    sides = ("prompt", "chosen", "rejected")
    numbers: set[int] = set()
    first = 0
    columns = [f"{side}_id" for side in sides]
    for batch in folder.read_columns("data", columns):
        for column in columns:
            found = pc.indices_nonzero(pc.is_in(batch[column], value_set=wanted))
            numbers.update(first + place for place in found.to_pylist())
        first += batch.num_rows
    schema = folder.schema("data")
    texts = [side for side in sides if schema is not None and side in schema.names]
    links = [f"{side}_url" for side in sides]
    rows = read_rows(folder, "data", [*columns, *links, "context_ids", *texts], numbers)
    return {
        row[f"{side}_id"]: (safe_url(row[f"{side}_url"]), row.get(side))
        for row in rows.values()
        for side in sides
        if row[f"{side}_id"] in ids and (side != "prompt" or not row["context_ids"])
    }


def _rejected(folder: DatasetFolder, sampled: Sampled, texts: Texts) -> list[Row]:
    def stratum(row: Row) -> tuple[Any, ...]:
        return sampled.text(row["id"]) is None, row["stage"], row["reason"]

    columns = ["id", "stage", "reason", "detail", "record"]
    numbers = choose(folder, "rejected", columns, stratum, MAX_AUDIT_ROWS)
    found = read_rows(folder, "rejected", columns, numbers)
    limit = texts.bytes + AUDIT_BYTES
    rows = []
    for number in numbers:
        row = found[number]
        text = sampled.text(row["id"])
        rows.append(
            {
                "id": printable(row["id"]),
                "site": _site(row["id"]),
                "stage": row["stage"],
                "reason": row["reason"],
                "detail": printable(row["detail"])[:400],
                "record": row["record"],
                "text": texts.add(row["id"], text) if text and texts.bytes < limit else None,
                "url": sampled.url(row["id"]),
                "title": _title(text) if text else printable(row["id"]),
            }
        )
    return rows


def _site(post_id: str) -> str:
    return printable(post_id.partition(":")[0]) if "@" not in post_id else ""
