"""Short ways to make rows for tests."""

from typing import Any

from schemas.post import DAY_MS, Post, Thread

SITE = "forum.example.com"


def day(number: int) -> int:
    """Milliseconds at noon of a day number."""
    return number * DAY_MS + DAY_MS // 2


def prompt(number: int = 1, **fields: Any) -> Post:
    """A question with sensible defaults."""
    values: dict[str, Any] = {
        "id": f"{SITE}:{number}",
        "thread_id": f"{SITE}:{number}",
        "source": "stackexchange",
        "site": SITE,
        "url": f"https://{SITE}/questions/{number}",
        "title": f"Question {number}",
        "text": f"What is the answer to question number {number}?",
        "markup": "markdown",
        "created_at": day(number),
        "score": 1,
        "author_id": f"{SITE}:u1",
        "author": "asker",
        "author_url": f"https://{SITE}/users/1",
        "license": "CC-BY-SA-4.0",
    }
    return Post(**(values | fields))


def response(number: int, to: int = 1, **fields: Any) -> Post:
    """An answer with sensible defaults, by an author of its own."""
    values: dict[str, Any] = {
        "id": f"{SITE}:{number}",
        "thread_id": f"{SITE}:{to}",
        "source": "stackexchange",
        "site": SITE,
        "url": f"https://{SITE}/a/{number}",
        "text": f"The answer with number {number} is a sentence of its own.",
        "markup": "markdown",
        "created_at": day(number),
        "score": number,
        "author_id": f"{SITE}:u{number}",
        "author": f"author {number}",
        "author_url": f"https://{SITE}/users/{number}",
        "license": "CC-BY-SA-4.0",
    }
    return Post(**(values | fields))


def thread(number: int = 1, *responses: Post, **fields: Any) -> Thread:
    """A thread; two answers unless some are given."""
    answers = responses or (response(number + 1, number), response(number + 2, number))
    return Thread(prompt=prompt(number, **fields), responses=answers)
