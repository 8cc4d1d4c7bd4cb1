"""Whether the texts of a dataset may be published, by the licences that its rows carry."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from transforms.writers.stats import UNLICENSED

if TYPE_CHECKING:
    from transforms.readers.base import ForumFile, ReadRules


def unlicensed_texts(stats: Mapping[str, int], *, ids_only: bool) -> tuple[str, ...]:
    """Say for each source of texts without a licence why they may not be published.

    ``stats`` are the counts over the data rows (`transforms.writers.stats.pair_stats`). A dataset
    of ids and labels has no texts, so nothing stands in its way.
    """
    if ids_only:
        return ()
    from transforms.readers.custom_threads.reader import THREADS  # loads Beam
    from transforms.readers.registry import SOURCES

    found: Counter[tuple[str, bool]] = Counter()
    for key, amount in stats.items():
        figure, _, value = key.partition(":")
        if figure == UNLICENSED and amount:
            kind, _, site = value.partition(" ")
            in_rows = kind not in SOURCES or kind == THREADS.kind
            by_site = in_rows or SOURCES[kind].has_sites
            found[site if by_site else kind, in_rows] += amount
    return tuple(
        f"{name}: {_reason(amount)}; {_remedy(name, in_rows)}"
        for (name, in_rows), amount in sorted(found.items())
    )


def unlicensed_sources(files: "Sequence[ForumFile]", rules: "ReadRules") -> tuple[str, ...]:
    """Say, before anything is read, which inputs can only give texts without a licence."""
    from transforms.readers.base import UNKNOWN_LICENSE  # loads Beam
    from transforms.readers.registry import SOURCES

    names = {
        file.site or file.kind
        for file in files
        if not SOURCES[file.kind].publishable and rules.license_of(file) == UNKNOWN_LICENSE
    }
    return tuple(
        f"{name}: its texts carry no licence that allows it; {_remedy(name, False)}"
        for name in sorted(names)
    )


def _reason(pairs: int) -> str:
    what = "1 pair holds" if pairs == 1 else f"{pairs:,} pairs hold"
    return f"{what} texts without a licence that allows it"


def _remedy(name: str, in_rows: bool) -> str:
    how = "in its rows" if in_rows else f"--license {name}=SPDX"
    return f"publish ids and labels (--ids-only), or state the licence that you have ({how})"
