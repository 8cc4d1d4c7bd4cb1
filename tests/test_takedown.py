from pathlib import Path

import pytest

from pipeline.curate.takedown import parse_entry, read_takedown
from pipeline.errors import UsageError
from tests.make import response
from transforms.threads.takedown import is_taken_down


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("beer.stackexchange.com:12", "beer.stackexchange.com:12"),
        ("beer.stackexchange.com:u7", "beer.stackexchange.com:u7"),
        ("https://beer.stackexchange.com/questions/12/some-title", "beer.stackexchange.com:12"),
        ("https://beer.stackexchange.com/questions/12/title/34#34", "beer.stackexchange.com:34"),
        ("http://beer.stackexchange.com/q/12", "beer.stackexchange.com:12"),
        ("https://beer.stackexchange.com/a/34", "beer.stackexchange.com:34"),
        ("https://beer.stackexchange.com/users/7/name", "beer.stackexchange.com:u7"),
        ("https://Beer.StackExchange.com/a/34", "beer.stackexchange.com:34"),
        ("Beer.StackExchange.com:u7", "beer.stackexchange.com:u7"),
        ("https://b.com/questions/12/title/34", "b.com:34"),
        ("https://b.com/questions/12/title/34?r=SearchResults#comment9_34", "b.com:34"),
        ("https://b.com/questions/12/a-title?r=1", "b.com:12"),
        ("https://b.com/a/34/7", "b.com:34"),
        ("https://b.com/q/12/7", "b.com:12"),
        ("reddit.com:t1_abc", "reddit.com:t1_abc"),
        ("reddit.com:uSome-Name", "reddit.com:usome-name"),
        (
            "https://www.reddit.com/r/AskMen/comments/abc/a_title/def/?context=3",
            "//reddit.com/r/askmen/comments/abc/a_title/def",
        ),
        ("http://old.forum.example/u/Ann/", "//old.forum.example/u/ann"),
        ("pairs/hh:abc#1", "pairs/hh:abc#1"),
        ("beer 12", None),
        ("12", None),
        ("https://", None),
    ],
)
def test_entries(entry: str, expected: str | None) -> None:
    names = parse_entry(entry)
    assert (expected in names) if expected else not names


def test_a_post_goes_by_its_id_its_author_or_a_link_to_either_in_any_spelling() -> None:
    post = response(
        2,
        url="https://www.reddit.com/r/AskMen/comments/abc/a_title/def/",
        author_id="reddit.com:uSomeName",
        author_url="https://www.reddit.com/user/SomeName",
    )
    for entry in (
        post.id,
        "Reddit.com:usomename",
        "http://reddit.com/r/askmen/comments/abc/a_title/def?x=1",
        "https://www.reddit.com/user/SomeName/",
    ):
        assert is_taken_down(post, frozenset(parse_entry(entry))), entry
    other = response(3, author_id=None, url="", author_url=None)
    assert not is_taken_down(other, frozenset(parse_entry(post.url)))


def test_comments_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("# asked for on Monday\n\n a.b:1 \na.b:u2\n")
    assert read_takedown(path) == {"a.b:1", "a.b:u2"}


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("a.b:1\nnonsense\n")
    with pytest.raises(UsageError, match=r"list:2: 'nonsense'"):
        read_takedown(path)
    with pytest.raises(UsageError, match="missing"):
        read_takedown(tmp_path / "missing")
