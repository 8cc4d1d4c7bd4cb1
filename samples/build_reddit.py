"""Build the dumps of Reddit from ``forums/reddit.md``."""

import bz2
import html
from datetime import timedelta

from samples.json_rows import Row, line, lines
from samples.threads import Entry, Site


def reddit_files(site: Site) -> dict[str, bytes]:
    """Submissions of May, comments of May and June; the last line of June breaks off."""
    by_id = {entry.id: entry for entry in site.entries}
    dated = sorted(site.entries, key=lambda entry: (entry.created, entry.id))
    submissions = [_submission(entry, site) for entry in dated if entry.kind == "question"]
    comments: dict[int, list[Row]] = {5: [], 6: []}
    half = ""
    for entry in dated:
        if entry.kind == "answer":
            row = _comment(entry, by_id)
            if entry.get("form") == "half":
                half = line(row)[:150]
                continue
            comments[entry.created.month].append(row)
            if again := entry.get("again"):
                later = row["retrieved_on"] + 86_400
                comments[6].append(row | {"score": int(again), "retrieved_on": later})
    return {
        "reddit/RS_2019-05.zst": store_zstd(lines(submissions), 23),
        "reddit/RC_2019-05.zst": store_zstd(lines(comments[5]), 31),
        "reddit/RC_2019-06.bz2": bz2.compress(lines(comments[6]) + half.encode()),
    }


def _community(entry: Entry) -> str:
    return entry.get("in") or "AskBalcony"


def _reddit_common(entry: Entry) -> Row:
    gone = entry.get("gone")
    seen = timedelta(hours=int(entry.get("seen") or 24 * 40))
    marks = _marks(entry)
    author = "[deleted]" if entry.author == "~" else entry.author
    row: Row = {
        "author": author,
        "created_utc": int(entry.created.timestamp()),
        "distinguished": "moderator" if "moderator" in marks else None,
        "edited": int(entry.edited.timestamp()) if entry.edited else False,
        "retrieved_on": int((entry.created + seen).timestamp()),
        "score": None if entry.get("score") == "none" else entry.score,
        "stickied": "stickied" in marks,
        "text": f"[{gone}]" if gone else html.escape(entry.body, quote=False),
    }
    if author != "[deleted]":
        row["author_fullname"] = f"t2_{author.lower().replace('_', '').replace('-', '')[:7]}"
    if "hidden" in marks:
        row["score_hidden"] = True
    return row


def _sorted(row: Row) -> Row:
    return dict(sorted(row.items()))


def _submission(entry: Entry, site: Site) -> Row:
    row = _reddit_common(entry)
    community = _community(entry)
    id = f"bal{entry.id:03}"
    path = f"/r/{community}/comments/{id}/sample/"
    link = next((mark[5:] for mark in _marks(entry) if mark.startswith("link ")), None)
    if crosspost := entry.get("crosspost"):
        row["crosspost_parent"] = f"t3_bal{int(crosspost):03}"
        link = f"https://www.reddit.com/r/AskBalcony/comments/bal{int(crosspost):03}/sample/"
    if "ad" in _marks(entry):
        row["promoted"] = True
    row |= {
        "id": id,
        "is_self": link is None,
        "link_flair_text": entry.get("flair"),
        "num_comments": len(site.answers(entry.id)),
        "over_18": "nsfw" in _marks(entry),
        "permalink": path,
        "selftext": row.pop("text"),
        "subreddit": community,
        "title": html.escape(entry.get("title") or "", quote=False),
        "url": link or f"https://www.reddit.com{path}",
    }
    return _sorted(row)


def _comment(entry: Entry, by_id: dict[int, Entry]) -> Row:
    row = _reddit_common(entry)
    thread = entry
    while thread.kind == "answer" and thread.parent in by_id:
        thread = by_id[thread.parent]
    link = f"t3_bal{thread.id if thread.kind == 'question' else entry.parent:03}"
    parent = by_id.get(entry.parent or 0)
    community = _community(thread)
    row |= {
        "body": row.pop("text"),
        "id": f"com{entry.id:04}",
        "link_id": link,
        "parent_id": f"t1_com{parent.id:04}" if parent and parent.kind == "answer" else link,
        "permalink": f"/r/{community}/comments/{link[3:]}/sample/com{entry.id:04}/",
        "subreddit": community,
    }
    return _sorted(row)


def _marks(entry: Entry) -> list[str]:
    return (entry.get("mark") or "").split(", ")


def store_zstd(data: bytes, window_log: int) -> bytes:
    """Return a zstd frame of stored blocks, whose bytes depend on no version of a compressor.

    Its header asks for a window of ``2**window_log`` bytes, as Reddit's dumps do (31).
    """
    blocks = [data[at : at + (1 << 17)] for at in range(0, len(data), 1 << 17)]
    out = [b"\x28\xb5\x2f\xfd\0", bytes([(window_log - 10) << 3])]
    for place, block in enumerate(blocks):
        is_last = place == len(blocks) - 1
        out += ((len(block) << 3 | is_last).to_bytes(3, "little"), block)
    return b"".join(out)
