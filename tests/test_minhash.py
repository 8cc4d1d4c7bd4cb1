import re
import unicodedata
from itertools import combinations

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given
from hypothesis import strategies as st

from tests.make import response
from transforms.dedup import minhash
from transforms.dedup.find_duplicates import post_text, text_for_words
from transforms.dedup.minhash import (
    MinHashRules,
    band_keys,
    exact_keys,
    normalise,
    shingle_hashes,
    signatures,
    word_hashes,
)

RULES = MinHashRules(shingle_words=3, min_words=4)
WORDS = ("alpha", "beta", "gamma", "Straße", "हिन्दी", "naïve", "x_1", "2")


def sentence(start: int, words: int) -> str:
    return " ".join(f"word{number}" for number in range(start, start + words))


def reference_shingles(text: str, rules: MinHashRules) -> set[tuple[str, ...]]:
    """Tokens one by one: a Han, Kana or Thai character, or a run of letters, marks and digits."""
    tokens: list[str] = []
    in_word = False
    for character in text.lower():
        letter = unicodedata.category(character)[0] in "LMN" or character == "_"
        alone = letter and re.match("[\u0e00-\u0e7f\u3040-\u30ff\u4e00-\u9fff]", character)
        if letter and not alone and in_word:
            tokens[-1] += character
        elif letter:
            tokens.append(character)
        in_word = letter and not alone
    if len(tokens) < rules.min_words:
        return set()
    width = rules.shingle_words
    return {tuple(tokens[place : place + width]) for place in range(len(tokens) - width + 1)}


texts = st.lists(
    st.lists(
        st.sampled_from([*WORDS, "日本", "ไทย", "中", "a+b", "(", "\n", "…"]), max_size=14
    ).map(" ".join),
    max_size=6,
)


@given(texts)
def test_shingles_are_those_of_the_plain_tokeniser(batch):
    expected = [reference_shingles(text, RULES) for text in batch]
    sets = shingle_hashes(batch, RULES)
    assert [len(hashes) for hashes in sets] == [len(shingles) for shingles in expected]
    for (left, left_set), (right, right_set) in combinations(zip(sets, expected, strict=True), 2):
        assert len(np.intersect1d(left, right)) == len(left_set & right_set)


@given(texts, st.integers(1, 60))
def test_batching_changes_no_shingle(batch, characters):
    expected = [shingle_hashes([text], RULES)[0].tolist() for text in batch]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minhash, "BATCH_CHARACTERS", characters)
        assert [hashes.tolist() for hashes in shingle_hashes(batch, RULES)] == expected


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_is_hashed_as_any_text_is(text):
    values, is_start = minhash._ascii_values(text)
    expected, expected_start = minhash._values(text)
    assert values.tolist() == expected.tolist()
    assert is_start.tolist() == expected_start.tolist()


@given(st.lists(st.text(st.sampled_from("ab1 \n\t\x0b\x1c\x1f\x00-_e\u0301é\xa0\u2028ﬁ"))))
def test_words_need_no_normalised_text_where_it_is_ascii(texts):
    posts = [response(number, text=text) for number, text in enumerate(texts, 2)]
    hashes = word_hashes([text_for_words(post) for post in posts], RULES)
    expected = [word_hashes([post_text(post)], RULES)[0] for post in posts]
    assert [(one.sequence, one.words) for one in hashes] == [
        (one.sequence, one.words) for one in expected
    ]
    assert [one.shingles.tolist() for one in hashes] == [one.shingles.tolist() for one in expected]


def test_shingles_are_sorted_distinct_32_bit():
    (hashes,) = shingle_hashes([sentence(0, 50) + " " + sentence(0, 50)], MinHashRules())
    assert hashes.dtype == np.uint32
    assert (np.diff(hashes.astype(np.int64)) > 0).all()
    # 100 tokens make 96 shingles; those of the second half repeat the first half's 46.
    assert len(hashes) == 50


def test_shingle_hashes_are_the_same_on_every_machine():
    (hashes,) = shingle_hashes(["the quick brown fox jumps over"], RULES)
    assert hashes.tolist() == [859296590, 1628432737, 1851323713, 2334210598]


def test_word_order_case_and_punctuation():
    one, two, three = shingle_hashes(
        ["Alpha, beta: gamma delta!", "alpha beta gamma DELTA", "beta alpha gamma delta"], RULES
    )
    assert one.tolist() == two.tolist()
    assert not np.intersect1d(one, three).size


def test_texts_with_few_words_have_no_shingles():
    rules = MinHashRules(shingle_words=5, min_words=20)
    short, enough = shingle_hashes([sentence(0, 19), sentence(0, 20)], rules)
    assert (len(short), len(enough)) == (0, 16)


def test_nothing_to_shingle():
    assert shingle_hashes([], RULES) == []
    assert [len(hashes) for hashes in shingle_hashes(["", "+-*/ ()", "a"], RULES)] == [0, 0, 0]
    assert signatures([], RULES).shape == (0, RULES.num_perm)


def test_unspaced_scripts_are_shingled_by_character():
    rules = MinHashRules()
    sets = shingle_hashes(["日本語の文章を比較するための長い例文ですから大丈夫", "𠀀" * 25], rules)
    assert [len(hashes) for hashes in sets] == [21, 1]


def test_collisions_of_shingle_hashes_are_as_rare_as_32_bits_allow():
    numbers = 30_000
    (hashes,) = shingle_hashes([sentence(0, numbers)], MinHashRules())
    expected = numbers**2 / 2 / 2**32
    assert numbers - 4 - len(hashes) <= 10 * max(1, expected)
    # Any 16 bits of a good hash are uniform: chi-squared over 64 cells, 63 degrees of freedom.
    for shift in (0, 13, 26):
        cells = np.bincount(hashes >> np.uint32(shift) & np.uint32(63), minlength=64)
        assert ((cells - len(hashes) / 64) ** 2 / (len(hashes) / 64)).sum() < 130


hash_sets = st.lists(
    st.sets(st.integers(0, 2**32 - 1), max_size=20).map(
        lambda values: np.array(sorted(values), np.uint32)
    ),
    max_size=8,
)


@given(hash_sets, st.integers(1, 12), st.integers(1, 3))
def test_signatures_equal_datasketch(sets, block, seed):
    rules = MinHashRules(bands=3, rows=4, seed=seed)
    reference = MinHash.generator(
        [values.tolist() for values in sets],
        num_perm=rules.num_perm,
        seed=seed,
        scheme="affine32",
        hashfunc=int,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minhash, "BLOCK_SHINGLES", block)
        result = signatures(sets, rules)
    assert result.dtype == np.uint32
    assert result.tolist() == [sketch.hashvalues.tolist() for sketch in reference]


def test_band_keys_compare_whole_bands():
    rules = MinHashRules(bands=4, rows=3)
    rows = np.arange(24, dtype=np.uint32).reshape(2, 12)
    rows[1] = rows[0]
    rows[1, 5] += 1  # the last value of the second band
    keys = band_keys(rows, np.array([True, True]), rules)
    assert (keys[0] == keys[1]).tolist() == [True, False, True, True]
    assert len(np.unique(keys)) == 5
    assert keys.dtype == np.int64
    assert keys.min() >= 0


def test_equal_values_in_other_bands_or_places_give_other_keys():
    rules = MinHashRules(bands=2, rows=2)
    rows = np.array([[1, 2, 1, 2], [2, 1, 2, 1]], np.uint32)
    assert len(np.unique(band_keys(rows, np.array([True, True]), rules))) == 4


def test_prompts_and_responses_share_no_bucket():
    rules = MinHashRules(bands=2, rows=2)
    rows = np.zeros((2, 4), np.uint32)
    kinds = np.array([True, False])
    assert len(np.unique(band_keys(rows, kinds, rules))) == 4
    assert len(np.unique(exact_keys(["same", "same"], kinds))) == 2


def test_exact_keys():
    keys = exact_keys(["a", "b", "a"], np.array([False, False, False]))
    assert keys[0] == keys[2] != keys[1]
    assert keys.min() >= 0
    assert not len(exact_keys([], np.array([], np.bool_)))


@pytest.mark.parametrize(
    ("left", "right"),
    [("a  b\n\tc ", "a b c"), ("e\u0301te\u0301", "été"), ("", " \n")],
)
def test_normalise_ignores_layout(left, right):
    assert normalise(left) == normalise(right)


@pytest.mark.parametrize(
    ("left", "right"), [("a+b", "a-b"), ("x²", "x2"), ("$List", "$list"), ("ab", "a b")]
)
def test_normalise_keeps_what_code_and_formulas_need(left, right):
    assert normalise(left) != normalise(right)


@given(st.text())
def test_normalise_is_idempotent(text):
    assert normalise(normalise(text)) == normalise(text)


def test_near_texts_share_a_bucket_and_others_do_not():
    rules = MinHashRules()
    text = sentence(0, 200)
    near = text.replace("word100 ", "")  # Jaccard 191 / 200
    far = sentence(1000, 200)
    keys = band_keys(
        signatures(shingle_hashes([text, near, far], rules), rules), np.ones(3, bool), rules
    )
    assert np.intersect1d(keys[0], keys[1]).size
    assert not np.intersect1d(keys[0], keys[2]).size


@pytest.mark.parametrize(
    "wrong",
    [
        {"bands": 0},
        {"rows": 0},
        {"shingle_words": 0},
        {"shingle_words": 21},
        {"threshold": 0.0},
        {"threshold": 1.1},
    ],
)
def test_rules_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MinHashRules(**wrong)
