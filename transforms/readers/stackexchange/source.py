"""Stack Exchange as a source: sites of several XML tables, which are joined when they are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from schemas.manifest import InputFile
from transforms.readers.base import ReadRules, Unpacking
from transforms.readers.source import FoundInputs, Source

if TYPE_CHECKING:  # Beam takes a second to load
    import apache_beam as beam

    from transforms.readers.forum_rows import ForumRows
    from transforms.readers.stackexchange.archives import Site

META_NOTE: Final = "a meta site, where votes mean agreement; --include-meta reads it"


@dataclass(frozen=True, kw_only=True)
class StackExchangeSource(Source["Site"]):
    """Dumps of Stack Exchange; every row states the licence of its text."""

    def find(
        self,
        specs: Sequence[str],
        rules: ReadRules,
        work_dir: Path,
        unpacking: Unpacking | None = None,
    ) -> FoundInputs["Site"]:
        """Find the sites, unpack their archives below ``work_dir`` and fingerprint them."""
        from transforms.readers.stackexchange.archives import find_sites, is_meta  # loads Beam

        sites, problems = find_sites(specs, work_dir, unpacking=unpacking)
        notes = {
            site.name: META_NOTE for site in sites if is_meta(site.name) and not rules.include_meta
        }
        files = [
            InputFile(
                site=site.name,
                kind=self.kind,
                name=Path(given.path).name,
                bytes=given.size,
                sha256=given.sha256,
                used=site.name not in notes,
                note=notes.get(site.name, ""),
            )
            for site in sites
            for given in site.inputs
        ]
        used = (site for site in sites if site.name not in notes)
        prints = {
            given.path: given.found
            for site in sites
            for given in site.inputs
            if given.found is not None
        }
        return FoundInputs(tuple(used), tuple(files), tuple(problems), prints)

    def list_paths(self, specs: Sequence[str]) -> set[str]:
        from transforms.readers.stackexchange.archives import list_paths  # loads Beam

        return list_paths(specs)

    def read(
        self, inputs: Sequence["Site"], rules: ReadRules, partitions: int, workers: int | None
    ) -> "beam.PTransform[beam.Pipeline, ForumRows]":
        from transforms.readers.stackexchange.reader import ReadStackExchange  # loads Beam

        return ReadStackExchange(inputs, partitions)

    def why_undated(self, inputs: Sequence["Site"]) -> str | None:
        without = [site.name for site in inputs if "Votes" not in site.tables]
        if not without:
            return None
        names = ", ".join(without)
        return f"there is no Votes.xml for {names}; add the file, or exclude these sites"


STACKEXCHANGE: Final = StackExchangeSource(
    kind="stackexchange",
    help="folder or archive (.7z, .zip) of a site, named by its host, or a folder of these",
    publishable=True,
    license_in_rows=True,
    card_note=(
        "Texts from Stack Exchange are under versions of CC BY-SA; where all are, the set as a "
        "whole is marked with the latest, 4.0. Whoever shares the rows on must name the site, link "
        "the question, and name and link the authors. Share-alike applies to adaptations."
    ),
    has_sites=True,
)
