"""One definition of a word for counting, comparing and deduplication, in every script."""

import random
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.words import comparable, count_words_and_signs, words_of
from transforms.dedup import MinHashRules, shingle_hashes

EACH_WORD = MinHashRules(shingle_words=1, min_words=1)
"""A shingle is a word: the number of shingles is that of different words."""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("क्या यह किताब अच्छी है", ["क्या", "यह", "किताब", "अच्छी", "है"]),
        ("தமிழ் மொழி இனிது", ["தமிழ்", "மொழி", "இனிது"]),
        ("বাংলা ভাষায় লিখি", ["বাংলা", "ভাষায়", "লিখি"]),
        ("ആത്മാവിൽ സ്നേഹം", ["ആത്മാവിൽ", "സ്നേഹം"]),
        ("دَرَسَ الطَّالِبُ دَرْسًا", ["دَرَسَ", "الطَّالِبُ", "دَرْسًا"]),
        ("בְּרֵאשִׁית בָּרָא", ["בְּרֵאשִׁית", "בָּרָא"]),
        ("བཀྲ་ཤིས་བདེ་ལེགས།", ["བཀྲ", "ཤིས", "བདེ", "ལེགས"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("ខ្ញុំ", ["ខ្", "ញុំ"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("東京へ。行く、", ["東", "京", "へ", "行", "く"]),
        ("ガギ", ["ガ", "ギ"]),
        ("ｶﾞｷﾞ", ["ガ", "ギ"]),
        ("𠮷野家", ["𠮷", "野", "家"]),
        ("우리말 사전", ["우리말", "사전"]),
        ("می‌روم خانه‌ها", ["میروم", "خانهها"]),
        ("ක්‍රම", ["ක්රම"]),
        ("Wort­trennung", ["worttrennung"]),
        ("one​two", ["one", "two"]),
        ("a‎b c﻿d", ["ab", "cd"]),
        ("٤٢ ४२ 42", ["٤٢", "४२", "42"]),
        ("Don't l’homme rock'n'roll", ["don", "t", "l", "homme", "rock", "n", "roll"]),
        ("STRASSE Straße ﬂoß", ["strasse", "strasse", "floss"]),
        ("ΟΔΟΣ οδός", ["οδοσ", "οδόσ"]),
        ("snake_case x²", ["snake_case", "x2"]),
        ("❤️ 👍🏽 👨‍👩‍👧 🇫🇷 … —", []),
        ("\u0301 x\u0301", ["x\u0301"]),
        ("", []),
    ],
)
def test_words_of_scripts(text: str, words: list[str]) -> None:
    assert words_of(text) == words
    assert len(shingle_hashes([text], EACH_WORD)[0]) == len(set(words))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("मुझे हिन्दी आती है।", 5),
        ("كَيْفَ الحالُ؟", 3),
        ("שָׁלוֹם!", 2),
        ("ใครๆ", 4),
        ("日本語。", 4),
        ("می‌خواهم", 1),
        ("co­operate", 1),
        ("❤️", 1),
        ("👍🏽👍", 2),
        ("👩‍🔬 👨‍👩‍👧‍👦", 2),
        ("🏳️‍🌈", 1),
        ("🇫🇷🇩🇪", 2),
        ("🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", 1),
        ("1️⃣ #️⃣", 2),
        ("≠", 1),
        ("=\u0338", 1),
        ("x​y", 2),
        ("it’s", 3),
        ("\x00\ufeff\u200d", 0),
    ],
)
def test_words_and_signs_are_counted(text: str, count: int) -> None:
    assert count_words_and_signs(text) == count


LETTERS = [
    *("a", "Z", "_", "7", "é", "e\u0301", "ß", "İ", "ﬁ", "½", "\U0001d400"),
    *("क्ष", "हि", "தி", "४", "بِ", "שּׁ", "ที่", "ญ", "ខ្ញុំ", "བོད", "་"),
    *("漢", "〇", "。", "\u3000", "が", "か\u3099", "ﾊﾟ", "𠮷", "\U0002ebf0"),
    *("한", "\u1112\u1161\u11ab", "\u3164"),
    *("’", "'", "-", " ", "\u0301", "\u034f", "\u20e3"),
    *("\u00ad", "\u200b", "\u200c", "\u200d", "\u2060", "\ufe0f", "\U000e0101"),
    *("👍🏽", "👩", "🇫", "\U000f0000", "\ud800"),
]
"""Letters, marks and signs that behave differently."""


@given(st.lists(st.lists(st.sampled_from(LETTERS) | st.characters(), max_size=12), max_size=4))
def test_deduplication_sees_the_same_words(batch: list[list[str]]) -> None:
    texts = ["".join(pieces) for pieces in batch]
    found = shingle_hashes(texts, EACH_WORD)
    assert [len(one) for one in found] == [len(set(words_of(text))) for text in texts]
    for text, hashes in zip(texts, found, strict=True):
        alone = shingle_hashes([" ".join(words_of(text))], EACH_WORD)[0]
        assert alone.tolist() == hashes.tolist()


def test_every_character_is_of_the_same_kind_wherever_it_is_looked_at() -> None:
    """Between two letters, it parts them, joins them, or is a word of its own."""
    texts = [f"x{chr(code)}y" for code in range(0x30000) if not 0xD800 <= code < 0xE000]
    differing = [
        text
        for text, hashes in zip(texts, shingle_hashes(texts, EACH_WORD), strict=True)
        if len(hashes) != len(set(words_of(text)))
    ]
    assert differing == []


@given(st.text() | st.lists(st.sampled_from(LETTERS)).map("".join))
def test_composed_and_decomposed_texts_have_the_same_words(text: str) -> None:
    forms = {form: unicodedata.normalize(form, text) for form in ("NFC", "NFD")}
    assert words_of(forms["NFC"]) == words_of(forms["NFD"])
    assert count_words_and_signs(forms["NFC"]) == count_words_and_signs(forms["NFD"])


def test_a_vowel_sign_makes_another_word() -> None:
    """Cut at their vowels, these were the same three letters."""
    (one,), (other,) = words_of("कमल"), words_of("कोमल")
    assert one != other
    left, right = shingle_hashes(["कि", "की"], EACH_WORD)
    assert not np.intersect1d(left, right).size


def test_joiners_and_points_that_are_not_seen_make_no_difference() -> None:
    plain = "Verwaltungsgericht میروم heart"
    unseen = ("\u00ad", "\u200c", "\u2060", "\ufeff", "\ufe0f")
    rng = random.Random(5)
    for _ in range(20):
        place = rng.choice([n for n, letter in enumerate(plain) if letter != " "])
        assert words_of(plain[:place] + rng.choice(unseen) + plain[place:]) == words_of(plain)


def test_the_form_for_comparing_is_without_case_and_width() -> None:
    assert comparable("Ｃａｆｅ\u0301") == comparable("CAFÉ") == "café"
    assert comparable("\u0390") == comparable("\u0390".upper())
