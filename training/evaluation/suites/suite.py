"""What a suite is."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from training.evaluation.items import Item
from training.evaluation.scoring_rules import Rule
from training.evaluation.suites.rows import Row


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A suite that ``--benchmark NAME=PATH`` can name, with all that is particular to it."""

    name: str
    title: str
    citation: str
    rule: Rule
    """How scores become the figures of the suite, the headline first."""
    read: Callable[[Iterable[Row]], Iterator[Item]] | None
    """None: a dataset of this project."""
    columns: str
    """What its files hold, for docs/evaluation.md."""
    size: str
    hub: str = ""
    """Dataset on the Hub, as far as there is one."""
    hub_files: tuple[str, ...] = ("*.parquet", "*.json*")
    """Patterns of the files that belong to it there."""
    local_files: tuple[str, ...] = ()
    """Names of its files in a clone or copy, where others lie beside them; the first pattern that
    fits a file counts, so that nothing is read twice."""
    split: str = ""
    """Split of a dataset of this project."""
