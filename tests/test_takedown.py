"""Takedown lists: every form that people paste is understood, or refused by name."""

from pathlib import Path

import pytest

from pipeline.curate.takedown import TakedownEntry, TakedownList, parse_entry, read_takedown
from pipeline.curate.takedown_summary import found_entries, refuse_unmatched
from pipeline.errors import RefusedError, UsageError
from schemas.audit import Reason, Rejected, Stage
from schemas.counts import RecordCount
from tests.make import SITE, prompt, response
from transforms.threads.assemble import assemble_threads
from transforms.threads.takedown import (
    TAKEDOWN_STAGE,
    count_found,
    count_unread,
    named_posts,
    names_of_post,
)

SE = "beer.stackexchange.com"


def listed(path: Path, content: str | bytes) -> TakedownList:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_takedown(path)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("beer.stackexchange.com:12", f"{SE}:12"),
        ("beer.stackexchange.com:u7", f"{SE}:u7"),
        ("https://beer.stackexchange.com/questions/12/some-title", f"{SE}:12"),
        ("https://beer.stackexchange.com/questions/12/title/34#34", f"{SE}:34"),
        ("http://beer.stackexchange.com/q/12", f"{SE}:12"),
        ("https://beer.stackexchange.com/a/34", f"{SE}:34"),
        ("https://beer.stackexchange.com/users/7/name", f"{SE}:u7"),
        ("https://Beer.StackExchange.com/a/34", f"{SE}:34"),
        ("Beer.StackExchange.com:u7", f"{SE}:u7"),
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
        # Stack Exchange
        (f"{SE}/questions/12", f"{SE}:12"),
        (f"//www.{SE}/q/12/", f"{SE}:12"),
        (f"https://{SE}:443/q/12?utm_source=mail", f"{SE}:12"),
        (f"https://{SE}/questions/12/title#34", f"{SE}:34"),
        (f"https://{SE}/questions/12/title#answer-34", f"{SE}:34"),
        (f"https://{SE}/questions/12/title?noredirect=1#comment56_34", f"{SE}:34"),
        (f"https://{SE}/questions/12/title?answertab=votes#tab-top", f"{SE}:12"),
        (f"https://{SE}/posts/990", f"{SE}:990"),
        (f"https://{SE}/posts/990/revisions", f"{SE}:990"),
        (f"https://{SE}/posts/990/edit/", f"{SE}:990"),
        (f"https://{SE}/users/1125", f"{SE}:u1125"),
        (f"https://{SE}/users/1125/some-name/answers", f"{SE}:u1125"),
        (f"https://{SE}/users/1125/some-name?tab=profile#x", f"{SE}:u1125"),
        ("https://meta.beer.stackexchange.com/q/5", "beer.meta.stackexchange.com:5"),
        (f"https://web.archive.org/web/2020010203/https://{SE}/q/12/title", f"{SE}:12"),
        # Reddit
        ("https://old.reddit.com/r/AskMen/comments/abc/a_title/", "reddit.com:t3_abc"),
        ("https://np.reddit.com/r/AskMen/comments/ABC/a_title/DEF", "reddit.com:t1_def"),
        ("https://i.reddit.com/r/AskMen/comments/abc/comment/def/?utm=1", "reddit.com:t1_def"),
        ("https://de.reddit.com/comments/abc", "reddit.com:t3_abc"),
        ("https://www.reddit.com/r/AskMen/comments/abc/x/def.json", "reddit.com:t1_def"),
        ("https://www.reddit.com/user/Me/comments/abc/x/def/", "reddit.com:t1_def"),
        ("https://www.reddit.com/gallery/abc", "reddit.com:t3_abc"),
        ("https://redd.it/abc", "reddit.com:t3_abc"),
        ("redd.it/abc?x", "reddit.com:t3_abc"),
        ("https://www.reddit.com/user/Some-Name/", "reddit.com:usome-name"),
        ("https://www.reddit.com/u/Some-Name/comments/", "reddit.com:usome-name"),
        ("/u/Some-Name", "reddit.com:usome-name"),
        ("r/AskMen/comments/abc/a_title/", "reddit.com:t3_abc"),
        ("t1_DEF", "reddit.com:t1_def"),
        ("www.reddit.com:t3_abc", "reddit.com:t3_abc"),
        # Discourse
        ("https://d.example/t/a-title/12/3", "d.example:12.3"),
        ("https://d.example/t/a-title/12", "d.example:12.1"),
        ("https://d.example/t/12/3?u=ann", "d.example:12.3"),
        ("https://d.example/t/-/12.json", "d.example:12.1"),
        ("https://d.example/u/J%C3%B6rg/summary", "@jörg@d.example"),
        ("https://d.example/users/ann/activity", "@ann@d.example"),
        # Lemmy
        ("https://l.example/post/12", "l.example:p12"),
        ("https://l.example/post/12/34", "l.example:c34"),
        ("https://l.example/comment/34", "l.example:c34"),
        ("https://l.example/u/ann@home.example", "@ann@home.example"),
        ("@Ann@Home.Example", "@ann@home.example"),
        # ours
        (f"{SE}:12/34>56", f"{SE}:34"),
        (f"{SE}:12/34&gt;56", f"{SE}:56"),
        ("f.example/c:9/9#1>9#2", "f.example/c:9#2"),
        ("f.example:8080/t/title/12/3", "f.example:8080:12.3"),
        ("https://f.example/viewtopic.php?p=3&amp;x=1#p3", "//f.example/viewtopic.php?p=3&x=1#p3"),
        ("https://bücher.example/q/12", "xn--bcher-kva.example:12"),
        # no post and no account
        ("https://stackexchange.com/users/1125/x", None),
        ("https://chat.stackexchange.com/transcript/1", None),
        (f"https://{SE}/questions/tagged/ipa", None),
        (f"https://{SE}", None),
        (SE, None),
        ("https://www.reddit.com/r/AskMen", None),
        ("https://www.reddit.com/r/AskMen/s/Xy12", None),
        ("https://i.redd.it/abc.png", None),
        ("https://forum.example/posts/a-title", "//forum.example/posts/a-title"),
        ("https://forum.example/@ann", "@ann@forum.example"),
        ("https://forum.example/@ann/77", "//forum.example/@ann/77"),
        ("https://www.reddit.com/user/Me/m/some_list", None),
        ("ann@mail", None),
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
        "https://old.reddit.com/comments/abc/other_title/def",
        "https://www.reddit.com/user/SomeName/",
        "u/SomeName",
    ):
        assert not names_of_post(post).isdisjoint(parse_entry(entry)), entry
    other = response(3, author_id=None, url="", author_url=None)
    assert names_of_post(other).isdisjoint(parse_entry(post.url))


def test_accounts_that_a_forum_numbers_are_known_by_their_names_too() -> None:
    post = response(
        2, author_id="l.example:u7", author_url="https://home.example/u/J%C3%B6rg", url=""
    )
    for entry in (
        "@jörg@home.example",
        "https://l.example/u/Jörg@home.example",
        "https://home.example/u/jo\u0308rg",  # decomposed, as some file systems have it
    ):
        assert not names_of_post(post).isdisjoint(parse_entry(entry)), entry


A, B, C = f"{SE}:1", f"https://{SE}/q/2", "reddit.com:t1_c"


@pytest.mark.parametrize(
    "content",
    [
        f"# asked for on Monday\n\n {A} \n{B}\n{C}\n",
        f"{A} # request 17\n{B}   #spam\n{C}\t# x, y",
        f"{A}\r\n{B}\r\n{C}\r\n",
        f"{A}\r{B}\r{C}",
        f"\ufeff{A}\n{B}\n{C}\n",
        f"{A}, {B}, {C}",
        f"{A},{B},{C},",
        f"{A};{B};{C}",
        f"{A} {B}\t{C}",
        f"{A} | {B} | {C}",
        f"- {A}\n* {B}\n• {C}\n",
        f"1. {A}\n2) {B}\n10. {C}\n",
        f"- [ ] {A}\n- [x] {B}\n> {C}\n",
        f"\"{A}\"\n'{B}'\n“{C}”\n",
        f'["{A}", "{B}", "{C}"]',
        f'[\n  "{A}",\n  "{B}",\n  "{C}"\n]\n',
        f"<{A}> `{B}`\n«{C}»",
        f"{A}\n[the question]({B})\n{C}",
        f"{A}\n[the question](<{B}> 'with a title'), {C}",
        f"{A}\n<{B}|the question>\n{C}",
        f"({A}), ({B}).\n{C};",
        f"\u00a0{A}\u00a0\n\u200b{B}\u200b\n{C}\u00a0 \n",
        f"// a note\n{A}\n; another\n{B}\n{C} // and one\n",
        f'url,reason\n{A},spam\n{B},"asked, twice"\n{C},2024-01-01\n',
        f"Date;Post ID;Who\n1.1.24;{A};me\n1.1.24;{B};me\n;{C};\n",
        f"id\tnote\n{A}\tx\n\n{B}\t\n{C}\t#3\n",
        f"link\n{A} {B}\n{C}\n",
        f"url,reason\n{A},x\n{B},x,{C}\n",
        f"# exported\n| link | why |\n|---|---|\n| {A} | x |\n| {B} | y |\n| {C} | z |\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_lists(tmp_path: Path, content: str, encoding: str) -> None:
    found = listed(tmp_path / "list", content.encode(encoding))
    for name, entry in zip((A, f"{SE}:2", C), found.entries, strict=True):
        assert name in entry.names


def test_ids_with_spaces_and_marks_stand_in_quotes(tmp_path: Path) -> None:
    found = listed(tmp_path / "list", 'f.example:uAnn\n"f.example:uJo, the Cook" # a name\n')
    assert "f.example:ujo, the cook" in found.entries[1].names
    with pytest.raises(UsageError, match="line 1: 'Cook'"):
        listed(tmp_path / "list", "f.example:uJo Cook\n")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", r"line 2: 'nonsense' is neither"),
        (f"{A} asked by mail", "line 2: 'asked'"),
        ("990", "'990' does not say of which site"),
        (f"{A},2,3", "'2' does not say of which site"),
        ("https://stackexchange.com/users/1125/x", "give the profile at each site"),
        ("https://www.reddit.com/r/a/s/Xy", "open it and give the address"),
        (f"https://{SE}/questions/tagged/x", "names no single post"),
        (f"https://{SE}/", "names a whole site"),
        (f'<a href="{B}">', "line 2: 'a'"),
        ("beer.stackexchange.com", "line 2: 'beer.stackexchange.com'"),
    ],
)
def test_what_is_not_understood_is_named_with_the_forms(
    tmp_path: Path, line: str, says: str
) -> None:
    with pytest.raises(UsageError, match=says) as raised:
        listed(tmp_path / "list", f"a.b:1\n{line}\n")
    assert "SITE:uID of an author" in str(raised.value)


def test_columns_that_name_nothing_and_lists_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "list"
    with pytest.raises(UsageError, match="line 3: has nothing in the columns"):
        listed(path, f"url,reason\n{B},x\n,spam\n")
    for content in ("caf\u00e9.example:1".encode("latin-1"), b"a\0.\0b\0:\x001\0", b"\xff\xfe\0"):
        with pytest.raises(UsageError, match="save it as UTF-8"):
            listed(path, content)
    with pytest.raises(UsageError, match="missing"):
        read_takedown(tmp_path / "missing")
    with pytest.raises(UsageError, match="is a folder"):
        read_takedown(tmp_path)
    assert not listed(path, "# nobody has asked yet\n").entries


def test_the_forms_of_the_reported_list_are_understood_or_refused(tmp_path: Path) -> None:
    lines = [
        f"{SE}:990 # request 17 of November",
        f"https://{SE}/users/1125/some-name/answers",
        f"{SE}:9900000",
    ]
    found = listed(tmp_path / "list", "\n".join(lines))
    assert f"{SE}:990" in found.entries[0].names
    assert f"{SE}:u1125" in found.entries[1].names


def test_what_each_entry_finds_is_counted() -> None:
    posts = [
        *(prompt(1), response(2), response(3, author_id=f"{SITE}:u9")),
        *(prompt(10), response(11, to=10), response(12, to=10), response(13, to=10)),
        *(prompt(20), response(21, to=20)),  # no pair, whatever is taken down
    ]
    index = {
        f"{SITE}:1": (0,),
        f"{SITE}:u9": (1,),
        f"{SITE}:11": (2, 4),
        f"{SITE}:21": (3,),
        f"{SITE}:99": (5,),
    }
    named = named_posts(posts, index)
    found = count_found(
        named, assemble_threads(posts, {}), list(assemble_threads(posts, {}, named))
    )
    assert {count.key: count.count for count in found} == {
        # The question, and the answer that nobody named.
        **dict.fromkeys(("0:posts", "0:others", "1:posts", "1:others"), 1),
        **dict.fromkeys(("2:posts", "4:posts", "3:posts"), 1),
    }
    assert {count.stage for count in found} == {TAKEDOWN_STAGE}


def test_posts_that_no_reader_can_use_are_found_by_their_ids() -> None:
    def unread(record: str = "post") -> Rejected:
        return Rejected(id=f"{SITE}:5", stage=Stage.READ, reason=Reason.TOO_DEEP, record=record)

    index = {f"{SITE}:5": (3,)}
    assert count_unread(unread(), index) == [RecordCount(TAKEDOWN_STAGE, "3:unread", 1)]
    assert not count_unread(unread("vote"), index)


def test_entries_that_find_nothing_end_the_run_unless_it_may_go_on() -> None:
    texts = ("a.b:1", "a.b:2", "a.b:3")
    entries = tuple(TakedownEntry(n, text, frozenset({text})) for n, text in enumerate(texts, 1))
    takedown = TakedownList("list.txt", entries)
    counts = [
        RecordCount(TAKEDOWN_STAGE, "0:posts", 4),
        RecordCount(TAKEDOWN_STAGE, "0:others", 2),
        RecordCount(TAKEDOWN_STAGE, "2:unread", 1),
        RecordCount("read", "1:posts", 9),
    ]
    found = found_entries(takedown, counts)
    assert [(item.posts, item.others, item.unread) for item in found] == [
        *((4, 2, 0), (0, 0, 0), (0, 0, 1))
    ]
    assert str(found[0]).endswith(
        "4 posts, and 2 more of the same threads that were left without them"
    )
    with pytest.raises(RefusedError, match=r"line 2: a\.b:2") as raised:
        refuse_unmatched("list.txt", found, allow=False)
    assert "a.b:1" not in str(raised.value) and "--allow-unmatched" in str(raised.value)
    warning = refuse_unmatched("list.txt", found, allow=True)
    assert warning is not None and "line 2: a.b:2" in warning
    assert refuse_unmatched("list.txt", found[:1], allow=False) is None
    assert refuse_unmatched("", [], allow=False) is None
    assert "list.txt: has no entry" in str(refuse_unmatched("list.txt", [], allow=False))
    short = TakedownEntry(7, "https://d.example/p/990", frozenset({"//d.example/p/990"}))
    with pytest.raises(RefusedError, match="open it and give the address"):
        refuse_unmatched("x", found_entries(TakedownList("x", (short,)), []), allow=False)
