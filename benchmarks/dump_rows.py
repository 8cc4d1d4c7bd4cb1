"""Rows of the tables of a generated dump, as text of the StackExchange format."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt

from benchmarks.dump_phrases import invented_names
from benchmarks.dump_threads import DAY_MS, DUMP_DAY, FAVOURITE, Ints, Threads
from benchmarks.dump_words import TAGS

TABLES = ("Posts", "Votes", "Users", "PostLinks", "PostHistory")
USERS_AT_ONCE = 50_000
ROWS_AT_ONCE = 500

CLOSED = 0.04
CLOSE_REASONS = (101, 102, 103, 104, 105)
"""Duplicate, off-topic, unclear, too broad, opinion."""

DELETED_ACCOUNT = 0.015
EDITED = 0.35
SELF_ANSWER = 0.04
LICENCE_4_MS = int(np.datetime64("2018-05-02", "ms").astype(np.int64))


_BETWEEN_ROWS = " />\r\n  <row "


class Table:
    """One XML file, in UTF-8 with byte order mark and CRLF as genuine dumps have it."""

    def __init__(self, folder: Path, name: str) -> None:
        self.rows = 0
        self._path = folder / f"{name}.xml"
        self._root = name.lower()
        self._file: BinaryIO

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        head = f'\ufeff<?xml version="1.0" encoding="utf-8"?>\r\n<{self._root}>\r\n'
        self._file.write(head.encode())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.write(f"</{self._root}>".encode())
        self._file.close()

    def write(self, rows: Iterable[str]) -> None:
        """Append rows, given as the attributes of each."""
        remaining = iter(rows)
        while batch := list(itertools.islice(remaining, ROWS_AT_ONCE)):
            self.rows += len(batch)
            self._file.write(f"  <row {_BETWEEN_ROWS.join(batch)} />\r\n".encode())


def stamps(milliseconds: npt.ArrayLike) -> list[str]:
    """Format times as '2020-01-31T12:00:00.000'."""
    times = np.asarray(milliseconds, np.int64).astype("datetime64[ms]")
    text: list[str] = np.datetime_as_string(times, unit="ms").tolist()
    return text


class PostRows:
    """Everything about a chunk of posts that is neither thread nor text."""

    def __init__(
        self, threads: Threads, ids: Ints, users: int, random: np.random.Generator
    ) -> None:
        self._threads = threads
        self._ids = ids
        self._users = users
        self._random = random
        self._question = threads.parent < 0
        self._owner = self._draw_users(len(ids))
        own = np.flatnonzero(~self._question & (random.random(len(ids)) < SELF_ANSWER))
        self._owner[own] = self._owner[threads.parent[own]]
        self._deleted = random.random(len(ids)) < DELETED_ACCOUNT
        later = threads.created + random.exponential(30 * DAY_MS, len(ids)).astype(np.int64)
        self._changed = np.minimum(later, DUMP_DAY * DAY_MS)
        self._edited = random.random(len(ids)) < EDITED
        self._closed = self._question & (random.random(len(ids)) < CLOSED)

    def _draw_users(self, count: int) -> Ints:
        """A few users write most of the posts."""
        share: Ints = (1 + self._users * self._random.random(count) ** 2.5).astype(np.int64)
        return share

    def posts(self, texts: Sequence[tuple[str, str]]) -> Iterator[str]:
        """Yield the rows of Posts for (title, body) texts; attributes in the genuine order."""
        threads, count = self._threads, len(texts)
        created, changed = stamps(threads.created), stamps(self._changed)
        views = self._random.lognormal(6.0, 1.2, count).astype(int).tolist()
        comments = self._random.poisson(1.2, count).tolist()
        tags = self._tags(count)
        rows = zip(
            texts,
            self._ids.tolist(),
            threads.parent.tolist(),
            threads.score.tolist(),
            created,
            self._owners(),
            self._edits(changed),
            self._last_activity(),
            comments,
            self._licences(),
            range(count),
            strict=True,
        )
        ids = self._ids.tolist()
        accepted = threads.accepted.tolist()
        answers = threads.answers.tolist()
        closed = self._closed.tolist()
        for (title, body), post, parent, score, date, owner, edit, active, talk, licence, i in rows:
            if parent >= 0:
                yield (
                    f'Id="{post}" PostTypeId="2" ParentId="{ids[parent]}" CreationDate="{date}" '
                    f'Score="{score}" Body="{body}"{owner}{edit} LastActivityDate="{active}" '
                    f'CommentCount="{talk}" ContentLicense="{licence}"'
                )
                continue
            accept = f'AcceptedAnswerId="{ids[accepted[i]]}" ' if accepted[i] >= 0 else ""
            close = f' ClosedDate="{changed[i]}"' if closed[i] else ""
            yield (
                f'Id="{post}" PostTypeId="1" {accept}CreationDate="{date}" Score="{score}" '
                f'ViewCount="{views[i]}" Body="{body}"{owner}{edit} '
                f'LastActivityDate="{active}" Title="{title}" Tags="{tags[i]}" '
                f'AnswerCount="{answers[i]}" CommentCount="{talk}"{close} '
                f'ContentLicense="{licence}"'
            )

    def _owners(self) -> list[str]:
        # One deleted account in ten has not even left a name.
        return [
            f' OwnerUserId="{owner}"'
            if not deleted
            else f' OwnerDisplayName="user{owner}"'
            if owner % 10
            else ""
            for owner, deleted in zip(self._owner.tolist(), self._deleted.tolist(), strict=True)
        ]

    def _edits(self, changed: list[str]) -> list[str]:
        editor = np.where(self._ids % 5 < 3, self._owner, self._owner % 97 + 1)
        return [
            f' LastEditorUserId="{user}" LastEditDate="{date}"' if edited else ""
            for edited, user, date in zip(
                self._edited.tolist(), editor.tolist(), changed, strict=True
            )
        ]

    def _last_activity(self) -> list[str]:
        active = np.where(self._edited, self._changed, self._threads.created)
        answers = np.flatnonzero(~self._question)
        np.maximum.at(active, self._threads.parent[answers], active[answers])
        return stamps(active)

    def _licences(self) -> list[str]:
        written = np.where(self._edited, self._changed, self._threads.created)
        names: list[str] = np.where(written < LICENCE_4_MS, "CC BY-SA 3.0", "CC BY-SA 4.0").tolist()
        return names

    def _tags(self, count: int) -> list[str]:
        picks = (len(TAGS) * self._random.random((count, 3)) ** 1.8).astype(int)
        wanted = self._random.integers(1, 4, count).tolist()
        return [
            "".join([f"&lt;{TAGS[pick]}&gt;" for pick in dict.fromkeys(row[:number])])
            for row, number in zip(picks.tolist(), wanted, strict=True)
        ]

    def history(self) -> Iterator[str]:
        """Yield the closings; other revisions are left out."""
        closed = np.flatnonzero(self._closed)
        reasons = self._random.choice(CLOSE_REASONS, len(closed), p=(0.3, 0.2, 0.15, 0.2, 0.15))
        dates = stamps(self._changed[closed])
        for post, reason, date in zip(
            self._ids[closed].tolist(), reasons.tolist(), dates, strict=True
        ):
            yield (
                f'Id="{post}" PostHistoryTypeId="10" PostId="{post}" '
                f'RevisionGUID="00000000-0000-0000-0000-{post:012}" CreationDate="{date}" '
                f'UserId="{post % 97 + 1}" Comment="{reason}" '
                'Text="{&quot;Voters&quot;:[]}"'
            )

    def links(self, copies: Iterable[tuple[int, int]]) -> list[tuple[str, int, int, int]]:
        """Return (date, post, other post, link type) of related and of duplicate questions.

        ``copies`` are planted (copy, original) ids; a third of the questions among them are
        linked as duplicates, as are some questions that do not look alike.
        """
        questions = np.flatnonzero(self._question)
        asked = {
            post: (i, date)
            for i, (post, date) in enumerate(
                zip(
                    self._ids[questions].tolist(),
                    stamps(self._threads.created[questions]),
                    strict=True,
                )
            )
        }
        found = [
            (asked[copy][1], copy, original, 3)
            for copy, original in copies
            if copy in asked and copy % 3 == 0
        ]
        numbers = list(asked)
        for post, (i, date) in asked.items():
            if i and post % 11 == 0:
                found.append((date, post, numbers[i * (post % 89) // 89], 1 + 2 * (post % 5 == 0)))
        return found


def link_rows(links: Iterable[tuple[str, int, int, int]], before: int) -> Iterator[str]:
    """Yield the rows of PostLinks, numbered on from ``before``."""
    for number, (date, post, other, kind) in enumerate(links, before + 1):
        yield (
            f'Id="{number}" CreationDate="{date}" PostId="{post}" '
            f'RelatedPostId="{other}" LinkTypeId="{kind}"'
        )


def vote_rows(threads: Threads, ids: Ints, before: int) -> Iterator[str]:
    """Yield the rows of Votes, numbered on from ``before``; only favourites name a user."""
    first = int(threads.vote_day.min(initial=DUMP_DAY))
    dates = np.datetime_as_string(
        np.arange(first, DUMP_DAY + 1).astype("datetime64[D]"), unit="D"
    ).tolist()
    posts = ids[threads.vote_post].tolist()
    days = (threads.vote_day - first).tolist()
    votes = zip(posts, threads.vote_type.tolist(), days, strict=True)
    for number, (post, kind, day) in enumerate(votes, before + 1):
        user = f' UserId="{post % 997 + 1}"' if kind == FAVOURITE else ""
        yield (
            f'Id="{number}" PostId="{post}" VoteTypeId="{kind}"{user} '
            f'CreationDate="{dates[day]}T00:00:00.000"'
        )


def user_rows(users: int, seed: int) -> Iterator[list[str]]:
    """Yield lists of rows of Users; the first is the system's own account."""
    random = np.random.Generator(np.random.PCG64([seed, 1 << 32]))
    names = [name.capitalize() for name in invented_names(random)]
    yield [
        'Id="-1" Reputation="1" CreationDate="2011-12-01T00:00:00.000" DisplayName="Community" '
        'LastAccessDate="2011-12-01T00:00:00.000" Views="0" UpVotes="0" DownVotes="0"'
    ]
    for first in range(1, users + 1, USERS_AT_ONCE):
        numbers = np.arange(first, min(first + USERS_AT_ONCE, users + 1))
        known_since = np.full(len(numbers), DUMP_DAY * DAY_MS) - numbers % 4_000 * DAY_MS
        reputation = 1 + random.lognormal(3, 1.5, len(numbers)).astype(int)
        yield [
            f'Id="{number}" Reputation="{points}" CreationDate="{since}" '
            f'DisplayName="{names[number % len(names)]} {number}" LastAccessDate="{since}" '
            'Views="0" UpVotes="0" DownVotes="0" '
            f'AccountId="{number + 1000}"'
            for number, points, since in zip(
                numbers.tolist(), reputation.tolist(), stamps(known_since), strict=True
            )
        ]
