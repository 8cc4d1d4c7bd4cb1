"""Packages that libraries load because they are installed, and that no command of ours uses.

Beam registers types of pandas, and Arrow looks whether a list is one of its series; Beam loads its
connectors for MongoDB and BigQuery. All of it is optional to them, and takes processor time in
every process.
"""

import logging
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

UNUSED_PACKAGES: Final = ("pandas", "pymongo", "bson", "apache_beam.io.gcp.bigquery")


class _SkippingFinder(MetaPathFinder):
    """Finds that packages are not installed, before Python looks for them."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self.names:
            raise ModuleNotFoundError(f"{fullname} is not used here", name=fullname)
        return None


def skip_packages(names: Iterable[str] = UNUSED_PACKAGES) -> None:
    """Let libraries find that these packages are not installed; they must do without them.

    For the rest of the process, so only for one that does nothing but our work. A package that is
    loaded already stays as it is.
    """
    # None in sys.modules would do for Python's own imports, but not for those that Cython compiles.
    sys.meta_path.insert(0, _SkippingFinder(names))
    # Beam's connector for MongoDB warns that bson is missing, which is what we want.
    logging.getLogger("apache_beam.io.mongodbio").setLevel(logging.ERROR)
