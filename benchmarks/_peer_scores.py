"""What the comparison with other tools counts: duplicates found, code and formulas damaged, losses.

Everything here looks at texts and ids only, so that all tools are judged alike and without being
installed.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.html_to_markdown import COMMONMARK, content_of, formulas_of

SHINGLE_WORDS = 5
THRESHOLD = 0.8
"""Jaccard similarity of 5-word shingles from which two texts are duplicates."""

_WORD = re.compile(r"\w+")


def shingles(text: str) -> frozenset[str]:
    """Return the distinct 5-word shingles of a text, lower-cased; none for fewer words."""
    words = _WORD.findall(text.lower())
    return frozenset(
        " ".join(words[start : start + SHINGLE_WORDS])
        for start in range(len(words) - SHINGLE_WORDS + 1)
    )


def similarity(left: str, right: str) -> float:
    """Jaccard similarity of the shingles; of texts too short for any, 1.0 if they are equal."""
    if left.split() == right.split():
        return 1.0
    one, two = shingles(left), shingles(right)
    return len(one & two) / len(one | two) if one and two else 0.0


@dataclass(frozen=True)
class Found:
    """What a tool made of a set of texts."""

    clusters: Mapping[str, str | int]
    """Group of each text that is in one."""
    removed: frozenset[str]
    """Texts that do not stay."""


@dataclass(frozen=True)
class DuplicateScore:
    """How well planted copies were found."""

    planted: int
    recall: float
    """Planted pairs of which one was removed as a duplicate of the other, or of a third one
    together with it."""
    removed: int
    precision: float
    """Removed texts that are similar enough to another text of their group."""
    lost: int
    """Removed texts that are not: their content is gone."""


def score_duplicates(
    texts: Mapping[str, str], planted: Iterable[tuple[str, str]], found: Found
) -> DuplicateScore:
    """Judge ``found`` by the exact similarity of the texts themselves."""
    true_pairs = [
        (one, two) for one, two in planted if similarity(texts[one], texts[two]) >= THRESHOLD
    ]
    met = sum(
        one in found.clusters
        and found.clusters[one] == found.clusters.get(two)
        and (one in found.removed or two in found.removed)
        for one, two in true_pairs
    )
    members: dict[str | int, list[str]] = defaultdict(list)
    for name, cluster in found.clusters.items():
        members[cluster].append(name)
    right = sum(
        any(
            other != name and similarity(texts[name], texts[other]) >= THRESHOLD
            for other in members[found.clusters[name]]
        )
        for name in found.removed
        if name in found.clusters
    )
    removed = len(found.removed)
    return DuplicateScore(
        planted=len(true_pairs),
        recall=met / len(true_pairs) if true_pairs else 1.0,
        removed=removed,
        precision=right / removed if removed else 1.0,
        lost=removed - right,
    )


def count_damage(html: str, markdown: str) -> Counter[str]:
    """Count what a post has, and what of it a reader of the Markdown no longer finds.

    Keys are "code blocks", "code spans" and "formulas", and the same with " damaged". Code must be
    there byte for byte; formulas as a reader of the page sees them, line breaks aside.
    """
    before, after = content_of(html), content_of(COMMONMARK.render(markdown))
    counts: Counter[str] = Counter()
    for name, had, has in (
        ("code blocks", before.code_blocks, after.code_blocks),
        ("code spans", before.code_spans, after.code_spans),
    ):
        counts[name] = len(had)
        counts[f"{name} damaged"] = (Counter(had) - Counter(has)).total()
    formulas = [" ".join(formula.split()) for formula in formulas_of(html)]
    flat = " ".join(markdown.split())
    counts["formulas"] = len(formulas)
    counts["formulas damaged"] = sum(
        max(0, times - flat.count(formula)) for formula, times in Counter(formulas).items()
    )
    return counts


def share_unaccounted(read: Iterable[str], accounted: Iterable[Iterable[str]]) -> float:
    """Return the share of the ids read that no output and no list of removed records names."""
    everything = set(read)
    missing = everything.difference(*accounted)
    return len(missing) / len(everything) if everything else 0.0
