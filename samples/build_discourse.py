"""Build the topics of a Discourse forum from ``forums/discourse.md``."""

import re

from samples.json_rows import Row, iso, lines, votes
from samples.markup import render
from samples.threads import Entry, Site

HOST = "forum.ferns.example"
PAGES = {12: ((1, 2, 3, 4), (2, 5, 6, 7)), 18: ((1, 2, 3), (4, 5, 6))}
"""Post numbers on the pages of topics that are cut into pages; the others are one line each."""


def discourse_files(site: Site) -> dict[str, bytes]:
    users = [entry.author for entry in site.entries if entry.author not in ("system", "~")]
    numbers = {name: 11 + place for place, name in enumerate(dict.fromkeys(users))}
    folder = f"discourse/{HOST}"
    files: dict[str, bytes] = {}
    rows: list[Row] = [{"errors": ["The requested URL could not be found."]}]
    for question in site.entries:
        if question.kind != "question":
            continue
        topic = question.id
        entries = {1: question} | {entry.id % 100: entry for entry in site.answers(topic)}
        posts = {number: _topic_post(entry, number, numbers) for number, entry in entries.items()}
        pages = PAGES.get(topic)
        if pages is None:
            rows.append(_topic(question, list(posts.values()), posts, new=True))
            continue
        first, second = ([posts[number] for number in page] for page in pages)
        whole = _topic(question, first, posts, new=False)
        more = {"post_stream": {"posts": second}, "id": topic}
        files[f"{folder}/t/{topic}.json"] = lines([whole])
        files[f"{folder}/t/{topic}-posts.json"] = lines([more])
    files[f"{folder}/topics.jsonl"] = lines(rows)
    return files


def _topic(question: Entry, page: list[Row], posts: dict[int, Row], *, new: bool) -> Row:
    """A topic as older versions of Discourse serve it, or new ones, whose tags are objects."""
    labels = (question.get("tags") or "").split(", ") if question.get("tags") else []
    kind = question.get("kind")
    topic: Row = {
        "post_stream": {"posts": page, "stream": [post["id"] for post in posts.values()]},
        "id": question.id,
        "title": question.get("title"),
        "slug": _slug(question),
        "tags": [{"name": label, "slug": label} for label in labels] if new else labels,
        "posts_count": len(posts),
        "created_at": iso(question.created),
        "archetype": "private_message" if kind == "private_message" else "regular",
        "category_id": 4,
        "closed": False,
        "archived": False,
        "pinned": False,
        "pinned_globally": False,
        "pinned_at": iso(question.created) if question.get("pinned") else None,
        "featured_link": question.get("link"),
        "is_post_voting": kind == "votes",
        "deleted_at": None,
    }
    if accepted := question.get("accepted"):
        answer = posts[int(accepted)]
        topic["accepted_answer"] = {
            "post_number": answer["post_number"],
            "username": answer["username"],
        }
    if kind == "votes":
        for post in page:
            post["post_voting_vote_count"] = post.pop("net_votes")
    for post in posts.values():
        post.pop("net_votes", None)
        post["topic_slug"] = topic["slug"]
    return topic


def _slug(question: Entry) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", (question.get("title") or "").lower()))


def _username(name: str) -> str | None:
    return None if name == "~" else "_".join(re.findall(r"[a-z0-9]+", name.lower()))


def _topic_post(entry: Entry, number: int, users: dict[str, int]) -> Row:
    likes, _ = votes(entry)
    gone = entry.get("gone")
    system, lost = entry.author == "system", entry.author == "~"
    hidden = "<p>This post was flagged by the community and is temporarily hidden.</p>"
    cooked = {"hidden": hidden, "author": "<p>(post deleted by author)</p>"}.get(gone or "")
    name, reply = _username(entry.author), entry.get("reply")
    return {
        "id": 4000 + entry.id,
        "name": None if lost or name == entry.author else entry.author,
        "username": name,
        "created_at": iso(entry.created),
        "cooked": cooked or _cooked(entry),
        "post_number": number,
        "post_type": int(entry.get("type") or 1),
        "updated_at": iso(entry.edited or entry.created),
        "reply_to_post_number": int(reply) if reply else None,
        "topic_id": entry.id if entry.kind == "question" else entry.id // 100,
        "version": 2 if entry.edited else 1,
        "actions_summary": [{"id": 2, "count": likes}] if likes else [],
        "moderator": False,
        "admin": system,
        "staff": system or bool(entry.get("staff")),
        "user_id": None if lost else users.get(entry.author, -1),
        "hidden": gone == "hidden",
        "deleted_at": None,
        "user_deleted": gone == "author",
        "accepted_answer": False,
        "net_votes": entry.score,
    }


def _cooked(entry: Entry) -> str:
    """HTML as Discourse renders a post, with ``{quote …}``, ``{poll …}`` and so on drawn out."""
    text = render(entry.body).rstrip("\n").replace(" prettyprint-override", "")
    text = text.replace("lang-py", "lang-python")
    # Line ends as forums have them, blocks after each other without a blank line between.
    text = text.replace(">\n\n<", ">\n<")
    return re.sub(r"(?:<p>)?\{(\w+) ([^}]+)\}(?:</p>)?", _ornament, text)


def _ornament(match: re.Match[str]) -> str:
    whole, kind, value = match[0], match[1], match[2]
    first, *rest = value.split("|")
    before = "<p>" if whole.startswith("<p>") else ""
    after = "</p>" if whole.endswith("</p>") else ""
    if kind == "emoji":
        image = f"/images/emoji/twitter/{value}.png?v=12"
        tag = f'<img src="{image}" title=":{value}:" class="emoji" alt=":{value}:" width="20">'
        return f"{before}{tag}{after}"
    if kind == "mention":
        return f'{before}<a class="mention" href="/u/{value}">@{value}</a>{after}'
    if kind == "quote":
        name, number = first.rsplit(" ", 1)
        return (
            f'<aside class="quote no-group" data-username="{_username(name)}" '
            f'data-post="{number}" data-topic="12">\n<div class="title">\n'
            f'<div class="quote-controls"></div>\n<img alt="" width="24" height="24" '
            f'src="/letter_avatar/{name[0].lower()}/48/1.png" class="avatar"> {name}:</div>\n'
            f"<blockquote>\n<p>{rest[0]}</p>\n</blockquote>\n</aside>"
        )
    if kind == "image":
        original, small = f"/uploads/original/1X/{value}.jpeg", f"/uploads/small/1X/{value}.jpeg"
        return (
            f'<p><div class="lightbox-wrapper"><a class="lightbox" href="{original}" '
            f'title="{value}"><img src="{small}" alt="{value}" width="690" height="460">'
            f'<div class="meta"><svg class="d-icon"><use href="#far-image"></use></svg>'
            f'<span class="filename">{value}</span>'
            f'<span class="informations">1200×800 128 KB</span></div></a></div></p>'
        )
    if kind == "onebox":
        return (
            f'<aside class="onebox allowlistedgeneric" data-onebox-src="{first}">\n'
            f'<header class="source"><a href="{first}">garden.example</a></header>\n'
            f'<article class="onebox-body"><h3><a href="{first}">{rest[0]}</a></h3></article>\n'
            f"</aside>"
        )
    if kind == "math":
        return f'<div class="math">\n{value}\n</div>'
    if kind == "poll":
        options = "\n".join(f"<li>{option}</li>" for option in (first, *rest))
        return (
            f'<div class="poll" data-poll-name="poll">\n<div class="poll-container">\n<ul>\n'
            f'{options}\n</ul>\n</div>\n<div class="poll-info"><span class="info-number">0</span> '
            f'<span class="info-label">voters</span></div>\n</div>'
        )
    raise ValueError(whole)
