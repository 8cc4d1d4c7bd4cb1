"""Whether the texts of a dataset may be published, by the licences that its rows carry."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transforms.writers.stats import UNLICENSED

if TYPE_CHECKING:
    from transforms.readers.base import ReadRules


def unlicensed_texts(stats: Mapping[str, int], *, ids_only: bool) -> tuple[str, ...]:
    """Say for each source of texts without a licence why they may not be published.

    ``stats`` are the counts over the data rows (`transforms.writers.stats.pair_stats`). A dataset
    of ids and labels has no texts, so nothing stands in its way.
    """
    if ids_only:
        return ()
    from transforms.readers.registry import SOURCES  # loads all readers

    found: Counter[tuple[str, bool]] = Counter()
    for key, amount in stats.items():
        figure, _, value = key.partition(":")
        if figure == UNLICENSED and amount:
            kind, _, site = value.partition(" ")
            source = SOURCES.get(kind)
            in_rows = source is None or source.license_in_rows
            by_site = source is None or in_rows or source.has_sites
            found[site if by_site else kind, in_rows] += amount
    return tuple(
        f"{name}: {_reason(amount)}; {_remedy(name, in_rows)}"
        for (name, in_rows), amount in sorted(found.items())
    )


def unlicensed_sources(to_read: Mapping[str, Sequence[Any]], rules: "ReadRules") -> tuple[str, ...]:
    """Say, before anything is read, which inputs can only give texts without a licence.

    ``to_read`` has what the sources found, by kind.
    """
    from transforms.readers.registry import SOURCES  # loads all readers

    names = {
        name for kind, inputs in to_read.items() for name in SOURCES[kind].unlicensed(inputs, rules)
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
