"""Build the answers of a Lemmy instance from ``forums/lemmy.md``, in the shape of version 0.19.

Of the fields that no reader needs, most are left out.
"""

from collections.abc import Iterator
from datetime import datetime

from samples.json_rows import Row, iso, lines, votes
from samples.threads import Entry, Site

HOST = "lemmy.example"


def lemmy_files(site: Site) -> dict[str, bytes]:
    by_id = {entry.id: entry for entry in site.entries}
    names = list(dict.fromkeys(entry.author for entry in site.entries))
    posts = [_post_view(e, names, site) for e in site.entries if e.kind == "question"]
    comments = [_comment_view(e, names, by_id) for e in site.entries if e.kind == "answer"]
    folder = f"lemmy/{HOST}"
    return {
        f"{folder}/posts.jsonl": lines(posts),
        f"{folder}/comments.jsonl": lines(comments),
    }


def _micro(moment: datetime) -> str:
    return iso(moment).replace("Z", "417Z")


def _creator(entry: Entry, names: list[str]) -> Row:
    number = names.index(entry.author) + 2
    # Every fourth person comes from another instance.
    home = HOST if number % 4 else "far.example"
    return {
        "id": number,
        "name": entry.author,
        "actor_id": f"https://{home}/u/{entry.author}",
        "local": home == HOST,
        "deleted": False,
        "bot_account": bool(entry.get("bot")),
    }


def _in_community(name: str) -> Row:
    return {
        "id": {"bikes": 3, "nightsky": 5}[name],
        "name": name,
        "nsfw": False,
        "actor_id": f"https://{HOST}/c/{name}",
        "local": True,
    }


def _counts(entry: Entry, of: str) -> Row:
    up, down = votes(entry)
    return {
        f"{of}_id": entry.id,
        "score": up - down,
        "upvotes": up,
        "downvotes": down,
        "published": _micro(entry.created),
    }


def _lemmy_post(entry: Entry) -> Row:
    optional = {
        "url": entry.get("url"),
        "body": entry.body or None,
        "updated": _micro(entry.edited) if entry.edited else None,
    }
    return {
        "id": entry.id,
        "name": entry.get("title"),
        **{name: value for name, value in optional.items() if value is not None},
        "removed": False,
        "published": _micro(entry.created),
        "deleted": False,
        "nsfw": bool(entry.get("nsfw")),
        "ap_id": f"https://{HOST}/post/{entry.id}",
        "local": True,
        "featured_community": bool(entry.get("featured")),
        "featured_local": False,
    }


def _post_view(entry: Entry, names: list[str], site: Site) -> Row:
    return {
        "post": _lemmy_post(entry),
        "creator": _creator(entry, names),
        "community": _in_community(entry.get("in") or ""),
        "creator_is_admin": False,
        "counts": {**_counts(entry, "post"), "comments": len(site.answers(entry.id))},
    }


def _comment_view(entry: Entry, names: list[str], by_id: dict[int, Entry]) -> Row:
    path = list(_path(entry, by_id))
    thread = by_id.get(path[0], by_id[60])
    gone = entry.get("gone")
    return {
        "comment": {
            "id": entry.id,
            "creator_id": names.index(entry.author) + 2,
            "post_id": thread.id,
            "content": "" if gone == "deleted" else entry.body,
            "removed": gone == "removed",
            "published": _micro(entry.created),
            "deleted": gone == "deleted",
            "ap_id": f"https://{HOST}/comment/{entry.id}",
            "local": True,
            "path": ".".join(map(str, [0, *path[1:]])),
            "distinguished": bool(entry.get("distinguished")),
        },
        "creator": _creator(entry, names),
        "post": _lemmy_post(thread),
        "community": _in_community(thread.get("in") or ""),
        "counts": {**_counts(entry, "comment"), "child_count": 0},
        "creator_is_admin": False,
    }


def _path(entry: Entry, by_id: dict[int, Entry]) -> Iterator[int]:
    """Ids from the post (or the comment that is missing) down to the entry."""
    if entry.parent is not None:
        parent = by_id.get(entry.parent)
        if parent is None:
            yield from (60, entry.parent)
        else:
            yield from _path(parent, by_id)
    yield entry.id
