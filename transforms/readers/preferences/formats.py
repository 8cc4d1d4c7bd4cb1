"""Rows of published preference sets, each in its own form, become prompts and responses.

Forms, told by their columns:

- pairs of this project, :mod:`schemas.pair`
- ``chosen`` and ``rejected`` with or without ``prompt``, as text, as transcripts
  (Anthropic/hh-rlhf) or as messages: the preference formats of TRL. ``response_j`` and
  ``response_k`` of lvwerra/stack-exchange-paired are taken for them, and so are the columns of
  binarised UltraFeedback.
- answer lists: ``question`` and ``answers``, as HuggingFaceH4/stack-exchange-preferences has them
- SHP and SHP-2 (stanfordnlp): ``history``, ``human_ref_A``, ``human_ref_B``, ``labels``
- two responses and which is better, :mod:`transforms.readers.preferences.compared`
- responses with ratings, :mod:`transforms.readers.preferences.rated`
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from schemas.audit import Reason
from schemas.post import Post
from transforms.readers.base import SamePrompt
from transforms.readers.formats import values
from transforms.readers.formats.numbers import number, whole
from transforms.readers.formats.times import time_ms
from transforms.readers.preferences import compared, rated
from transforms.readers.preferences.conversations import SetRowError, split_conversation
from transforms.readers.preferences.rows import (
    KIND,
    LINK,
    AnswerList,
    Origin,
    Row,
    StatedPair,
    global_id,
    links,
    need,
    posts_fields,
    prompt_post,
    rating,
    response_post,
    stated,
    take,
    text_of,
)

REDDIT: Final = "reddit.com"
"""Host in the ids of the Reddit reader, so that a post has one id wherever it comes from."""

_ALIASES: Final = (
    ("prompt", ("instruction",)),
    ("chosen", ("response_j", "chosen_response")),
    ("rejected", ("response_k", "rejected_response")),
)
_SIDES: Final = tuple(name for ours, names in _ALIASES[1:] for name in (ours, *names))
_TWO: Final = ("chosen", "rejected")
_RATINGS: Final = ("score_{}", "{}-rating", "{}_rating", "{}_avg_rating")
"""Columns of binarised sets with a judge's ratings of the two sides; `chosen_score` has votes."""

COLUMNS: Final = frozenset(
    (
        *("answers", "c_root_id_A", "c_root_id_B", "chosen", "chosen_author", "chosen_author_url"),
        *("chosen_created_at", "chosen_id", "chosen_is_accepted", "chosen_license"),
        *("chosen_score", "chosen_url", "confidence", "context_ids", "created_at_utc_A"),
        *("created_at_utc_B", "date", "domain", "history", "human_ref_A", "human_ref_B", "labels"),
        *("license", "metadata", "pair_id", "post_id", "prompt", "prompt_author"),
        *("prompt_author_url", "prompt_created_at", "prompt_id", "prompt_license", "prompt_url"),
        *("qid", "question", "rejected", "rejected_author", "rejected_author_url"),
        *("rejected_created_at", "rejected_id", "rejected_is_accepted", "rejected_license"),
        *("rejected_score", "rejected_url", "score_A", "score_B", "site", "source", "tags"),
        *("thread_id", "title", "url"),
        *(alias for _, aliases in _ALIASES for alias in aliases),
        *(name.format(side) for name in _RATINGS for side in _TWO),
        *compared.COLUMNS,
        *rated.COLUMNS,
    )
)
"""Columns that are read; others are left alone."""

_OWN_PAIR: Final = {"pair_id", "thread_id", "prompt_id", "chosen_id", "rejected_id"}
_SPLIT_NAME = re.compile(r"_(?:train|test|validation)$")
_USER = re.compile(r"/users?/(-?\d+)")


def read_row(row: Row, origin: Origin) -> StatedPair | AnswerList:
    """Turn a row of any of the forms into posts; raises SetRowError when it is none of them."""
    try:
        if row.keys() >= _OWN_PAIR:
            return read_own_pair(row, origin)
        if all(row.get(name) is None for name in _SIDES):
            for column, read in _FORMS:
                if column in row:
                    return read(row, origin)
        return read_chosen_rejected(row, origin)
    except ValueError as error:
        raise SetRowError(Reason.BAD_VALUE, str(error)) from None


def read_answer_list(row: Row, origin: Origin) -> AnswerList:
    """A question with its answers; ``pm_score`` is log2 of the votes, plus 1 if accepted.

    The acceptance is taken out again, for it is a field of its own. Only the question is dated.
    """
    found = links(row)
    hosts = [match[1].lower() for link in found if (match := LINK.match(link))]
    site = values.site(hosts[0]) if hosts else origin.site
    thread_id = f"{site}:{need(row, 'qid', values.key)}"
    asker = next((match[1] for link in found if (match := _USER.search(link))), None)
    common = posts_fields(thread_id, site, origin.license_of(site), "html")
    prompt = Post(
        id=thread_id,
        url=next((link for link in found if "/q" in link), ""),
        text=need(row, "question", values.text),
        created_at=take(row, "date", time_ms, 0),
        score=0,
        author_id=None if asker is None else f"{site}:u{asker}",
        author_url=next((link for link in found if "/users/" in link), None),
        **common,
    )
    responses: list[Post] = []
    bad: list[tuple[int, str | None, SetRowError]] = []
    for index, answer in enumerate(need(row, "answers", values.sequence)):
        answer_id = None
        try:
            if not isinstance(answer, Mapping):
                raise ValueError(f"an answer is {values.shown(answer)}, not an object")
            answer_id = f"{site}:{need(answer, 'answer_id', values.key)}"
            responses.append(_answer(answer, answer_id, site, common))
        except SetRowError as error:
            bad.append((index, answer_id, error))
        except ValueError as error:
            bad.append((index, answer_id, SetRowError(Reason.BAD_VALUE, str(error))))
    accepted = [post.id for post in responses if post.accepted]
    if len(accepted) == 1:
        prompt = msgspec.structs.replace(prompt, accepted_response_id=accepted[0])
    return AnswerList(prompt, responses, bad)


def _answer(answer: Row, answer_id: str, site: str, common: dict[str, Any]) -> Post:
    accepted = take(answer, "selected", values.flag, False)
    author = take(answer, "author_id", values.key, None)
    return Post(
        id=answer_id,
        url=f"https://{site}/a/{answer_id.partition(':')[2]}" if "/" not in site else "",
        text=need(answer, "text", values.text),
        created_at=0,
        score=need(answer, "pm_score", whole) - accepted,
        accepted=accepted,
        author=take(answer, "author", values.text, ""),
        author_id=None if author is None else f"{site}:u{author}",
        author_url=take(answer, "author_profile", values.text, "") or None,
        **common,
    )


def read_shp(row: Row, origin: Origin) -> StatedPair:
    """Two comments A and B to a post; ``labels`` is 1 when A is preferred.

    Domains that begin with ``stack_`` are of StackExchange (SHP-2), all others of Reddit.
    """
    domain = _SPLIT_NAME.sub("", need(row, "domain", values.key))
    history = need(row, "history", values.text)
    title, separator, text = history.partition(" <sep> ")
    on_reddit = not domain.startswith("stack_") and not separator
    site = values.site(f"{REDDIT}/r/{domain}" if on_reddit else f"{KIND}/{domain}")
    host = REDDIT if on_reddit else site
    kinds = ("t3_", "t1_") if on_reddit else ("", "")
    native = need(row, "post_id", values.key)
    thread_id = f"{host}:{kinds[0]}{native}"
    link = f"https://www.reddit.com/comments/{native}" if on_reddit else ""
    common = posts_fields(thread_id, site, origin.license_of(site), "markdown")
    prompt = Post(
        id=thread_id,
        url=link and f"{link}/",
        title=title if separator else "",
        text=text if separator else history,
        created_at=0,
        score=0,
        **common,
    )
    sides = []
    for side in "AB":
        own_id = need(row, f"c_root_id_{side}", values.key)
        sides.append(
            Post(
                id=f"{host}:{kinds[1]}{own_id}",
                url=link and f"{link}/_/{own_id}/",
                text=need(row, f"human_ref_{side}", values.text),
                created_at=take(row, f"created_at_utc_{side}", time_ms, 0),
                score=need(row, f"score_{side}", whole),
                **common,
            )
        )
    label = need(row, "labels", number)
    if label not in (0, 1):
        raise ValueError(f"labels: {values.shown(row['labels'])}: must be 0 or 1")
    return stated(prompt, *(sides if label == 1 else reversed(sides)))


def read_own_pair(row: Row, origin: Origin) -> StatedPair:
    """A row of a dataset that this project made; see :mod:`schemas.pair`.

    Where responses reply to a response, the conversation above them is a prompt of its own, in
    the split of its thread.
    """
    if row.get("prompt") is None and row.get("chosen") is None:
        detail = "it holds ids and labels without texts; fill them in with forumprefs hydrate"
        raise SetRowError(Reason.MISSING_FIELD, detail)
    site = need(row, "site", values.site)
    prompt_id = need(row, "prompt_id", global_id)
    context: list[str] = take(row, "context_ids", _global_ids, [])
    thread_id = prompt_id
    if context:
        thread_id = f"{prompt_id}+{context[-1].partition(':')[2]}"
    prompt, chosen, rejected = (
        Post(
            id=thread_id if side == "prompt" else need(row, f"{side}_id", global_id),
            thread_id=thread_id,
            source=KIND,
            site=site,
            url=text_of(row, f"{side}_url"),
            text=need(row, side, values.text),
            markup="markdown",
            tags=take(row, "tags", values.texts, ()) if side == "prompt" else (),
            created_at=take(row, f"{side}_created_at", time_ms, 0),
            **_own_score(row, side),
            accepted=side != "prompt" and take(row, f"{side}_is_accepted", values.flag, False),
            author=text_of(row, f"{side}_author"),
            author_id=_author_id(site, row, side),
            author_url=text_of(row, f"{side}_author_url") or None,
            license=text_of(row, f"{side}_license") or origin.license_of(site),
        )
        for side in ("prompt", "chosen", "rejected")
    )
    same = SamePrompt(thread_id, prompt_id) if context else None
    return stated(prompt, chosen, rejected)._replace(same_prompt=same)


def _own_score(row: Row, side: str) -> dict[str, Any]:
    """Votes, or what another preference set said before it was made a dataset."""
    found = take(row, f"{side}_score", rating, 0.0)
    # Votes give a confidence of less than 1.
    is_rating = side != "prompt" and (
        (row.get("source") == KIND and row.get("confidence") == 1)
        or _has_fraction(take(row, f"{name}_score", rating, 0.0) for name in _TWO)
    )
    return {"score": round(found), "rating": found if is_rating else None}


def _has_fraction(scores: Iterable[float]) -> bool:
    """Whether one of a row's scores tells that all are ratings: votes have no fraction."""
    return any(score != round(score) for score in scores)


def _global_ids(value: object) -> list[str]:
    return [global_id(item) for item in values.sequence(value)]


def _author_id(site: str, row: Row, side: str) -> str | None:
    """Pairs name an author by name and profile; without a profile there is no account."""
    profile = text_of(row, f"{side}_author_url")
    if not profile:
        return None
    numbered = _USER.search(profile)
    account = numbered[1] if numbered else profile.rstrip("/").rpartition("/")[2]
    return f"{site.partition('/')[0]}:u{account}"


def read_chosen_rejected(row: Row, origin: Origin) -> StatedPair:
    """Two responses, the better one first, in any form that `split_conversation` reads."""
    given, row = row, dict(row)
    for name, aliases in _ALIASES:
        for alias in aliases:
            if row.get(name) is None:
                row[name] = row.get(alias)
    if row.get("prompt") is None and isinstance(row.get("response_j"), str):
        row["prompt"] = row.get("question")
        row["thread_id"] = row.get("qid")
    if row.get("chosen") is None and row.get("rejected") is None:
        raise SetRowError(Reason.MISSING_FIELD, _no_form(given))
    prompt_turns, chosen, rejected = split_conversation(
        row.get("prompt"), row.get("chosen"), row.get("rejected")
    )
    if chosen.strip() == rejected.strip():
        raise ValueError("chosen and rejected are the same text")
    native = take(row, "thread_id", values.key, None) or take(row, "prompt_id", values.key, None)
    prompt = prompt_post(row, origin, prompt_turns, native)
    better, worse = (
        response_post(prompt, text, native=take(row, f"{side}_id", values.key, None), **worth)
        for side, text, worth in zip(_TWO, (chosen, rejected), _worths(row), strict=True)
    )
    return stated(prompt, better, worse)


def _worths(row: Row) -> Iterator[dict[str, Any]]:
    """Of each side the votes in our column of scores, or else the ratings of a judge."""
    found = [_worth(row, side) for side in _TWO]
    is_rating = any(rated for _, rated in found) or _has_fraction(worth for worth, _ in found)
    return ({"worth": worth, "is_rating": is_rating} for worth, _ in found)


def _worth(row: Row, side: str) -> tuple[float, bool]:
    """What the row says that a side is worth, and whether the column is one of ratings."""
    name = f"{side}_score"
    for rated_as in (form.format(side) for form in _RATINGS):
        if row.get(name) is None and row.get(rated_as) is not None:
            return need(row, rated_as, rating), True
    return take(row, name, rating, 0.0), False


def _no_form(row: Row) -> str:
    ours = ("chosen", "rejected", "chosen_score", "rejected_score")
    known = ", ".join(sorted(COLUMNS & row.keys() - set(ours))) or "none"
    found = ", ".join(sorted(str(name) for name in row if row[name] is not None)[:12])
    return (
        f"no chosen and rejected text among its columns {found:.200}; name yours with "
        f"--pairs-columns chosen=THEIRS,rejected=THEIRS (known here: {known})"
    )


_FORMS: Final[tuple[tuple[str, Callable[[Row, Origin], StatedPair | AnswerList]], ...]] = (
    ("human_ref_A", read_shp),
    ("response_1", compared.read_strength),
    ("response1", compared.read_strength),
    ("output_1", compared.read_better_of_two),
    *((column, rated.read_rated_list) for column in rated.LISTS),
    ("answers", read_answer_list),
    ("completion", rated.read_labelled),
    ("response", rated.read_rated_response),
)
"""By a column that only rows of the form have, in the order in which they are looked for."""
