"""Questions that their author calls sequels, or links to earlier ones, belong together."""

import pytest

from tests.make import response, thread
from transforms.dedup.components import contract, stars
from transforms.dedup.sequels import sequel_rows

HOST = "se.example.com"


def question(number, title="A title of its own", text="text", author=f"{HOST}:u7", url=None):
    return thread(
        number,
        response(number + 1, number),
        response(number + 2, number),
        title=title,
        text=text,
        author_id=author,
        url=url or f"https://{HOST}/questions/{number}",
    ).prompt


def joined(*questions):
    rows = sequel_rows(questions)
    return len(contract(stars(rows[:, 0], rows[:, 1]).edges)) > 0


@pytest.mark.parametrize(
    "link",
    [
        f"See [before](https://{HOST}/questions/100/why-so) for more.",
        f"<http://{HOST}/q/100>",
        f"after https://www.{HOST}/q/100/7, that is",
        f"https://{HOST.upper()}/questions/100?rq=1#comment9",
        f"(https://{HOST}/t/some-slug/100)",
        f"It began with https://{HOST}/q/100.",
    ],
)
def test_a_link_to_an_earlier_question_of_the_same_author(link):
    earlier = question(100, title="Why does my dough not rise?")
    assert joined(earlier, question(200, text=link))
    assert not joined(earlier, question(200, text=link, author=f"{HOST}:u8"))
    assert not joined(earlier, question(200, text=link, author=None))
    assert not joined(earlier, question(200, text=link.replace("100", "1001")))


def test_links_elsewhere_and_to_people_join_nothing():
    earlier = question(100, title="Why does my dough not rise?")
    for link in ("https://other.example.com/q/100", f"https://{HOST}/users/100/name"):
        assert not joined(earlier, question(200, text=link))


def test_reddit_and_numbers_of_topics():
    for first, link in (
        ("https://www.reddit.com/r/Bread/comments/abcde/", "https://old.reddit.com/r/Bread/comments/abcde/my_loaf/"),
        ("https://forum.example/t/slug/12", "https://forum.example/t/other-slug/12/5"),
        ("https://lemmy.example/post/12", "https://lemmy.example/post/12"),
    ):  # fmt: skip
        later = first.replace("abcde", "fghij").replace("12", "13")
        assert joined(
            question(100, title="One title it has", url=first),
            question(200, title="Quite another title", text=f"[x]({link})", url=later),
        )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Building a brick oven", "Building a brick oven, part 2"),
        ("Building a brick oven (Part I)", "Building a brick oven (part II)"),
        ("Part one: building a brick oven", "Part two: building a brick oven"),
        ("Building a brick oven [1/3]", "building a brick oven [2/3]"),
        ("Building a brick oven", "Follow-up to “Building a brick oven”"),
        ("Building a brick oven", "Followup question: building a brick oven"),
        ("Building a brick oven?", "Building a brick oven - continued"),
        ("Building a brick oven", "Sequel to: Building a brick oven!"),
    ],
)
def test_titles_that_call_themselves_sequels(first, second):
    assert joined(question(100, title=first), question(200, title=second))
    assert not joined(question(100, title=first), question(200, title=second, author="x:u1"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Building a brick oven", "Building a brick house, part 2"),
        ("Help please", "help, please!"),
        ("Part 1", "Part 2"),
        ("", ""),
    ],
)
def test_titles_of_other_subjects_and_of_too_few_words(first, second):
    assert not joined(question(100, title=first), question(200, title=second))


@pytest.mark.parametrize("role", ["by_bot", "by_staff", "pinned"])
def test_threads_that_are_opened_every_week(role):
    week = {"title": "Ask your simple questions here", role: True}
    rows = sequel_rows([thread(100 * n, **week).prompt for n in range(1, 5)])
    assert rows.shape == (0, 2)


def test_no_posts_and_answers():
    assert sequel_rows([]).shape == (0, 2)
    assert sequel_rows([response(5, 4)]).shape == (0, 2)
