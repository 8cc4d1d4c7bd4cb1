"""An export from end to end: read once, write all that was asked for, put in place when whole."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from pipeline.console import ProgressDisplay
from pipeline.dataset.atomic import folder_of_run, locked, recover, replace_folder
from pipeline.dataset.folder import CARD_NAME, DatasetFolder
from pipeline.errors import AccountingError, OutputExistsError, UsageError
from pipeline.export.card import export_card
from pipeline.export.formats import FORMATS, Export
from pipeline.export.thread_pairs import ThreadPair, read_threads
from pipeline.export.write_rows import SeenRows, SplitWriter
from schemas.exports import (
    EXPORT_MANIFEST_NAME,
    EXPORT_VERSION,
    MARGINS,
    ExportCounts,
    ExportManifest,
    ExportShard,
    LeftOut,
)
from schemas.manifest import Manifest, major
from schemas.pair import PAIR_SCHEMA_VERSION, SPLITS
from transforms.pairing.votes import VoteMode

DEFAULT_SHARD_BYTES: Final = 512 * 1024 * 1024
"""Texts of a shard where the dataset's recipe names no size."""

RECORDED_PACKAGES: Final = ("forumprefs", "pyarrow")


@dataclass(frozen=True)
class ExportOptions:
    """Everything ``forumprefs export`` was told."""

    dataset: str
    """Path or URL of a finished dataset folder."""
    output: str
    exports: tuple[str, ...]
    """Names in `FORMATS`, in any order."""
    margin: str = "none"
    splits: tuple[str, ...] = ()
    """Those to export; (): all that have pairs."""
    overwrite: bool = False
    quiet: bool = False


@dataclass
class _Tally:
    """What became of the dataset in one export, so far."""

    considered: int = 0
    written: int = 0
    left_out: Counter[LeftOut] = field(default_factory=Counter)
    rows: dict[str, int] = field(default_factory=dict)
    labels: Counter[bool] = field(default_factory=Counter)


def export_dataset(options: ExportOptions) -> ExportManifest:
    """Make the folder of exports; returns its manifest.

    The folder appears at the very end, complete. Raises UsageError (and DatasetError, which is one)
    where nothing can be exported, and AccountingError where something would be lost.
    """
    _check_options(options)
    exports = [FORMATS[name] for name in FORMATS if name in options.exports]
    folder = DatasetFolder(options.dataset)
    output = _check_output(options)
    splits = _check_dataset(folder, options)
    output.parent.mkdir(parents=True, exist_ok=True)
    with locked(output):
        recover(output)
        _check_output(options)  # exports may have been put back
        with folder_of_run(output, "partial") as staging:
            _check_shards(folder, splits)
            manifest = _export(folder, splits, exports, staging, options)
            content = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
            (staging / EXPORT_MANIFEST_NAME).write_bytes(content)
            card = export_card(manifest, folder, Path(folder.location).resolve().name)
            (staging / CARD_NAME).write_text(card, encoding="utf-8")
            _check_output(options)
            replace_folder(staging, output)
    return manifest


def _check_options(options: ExportOptions) -> None:
    """Raise UsageError for names that there are not."""
    unknown = [name for name in options.exports if name not in FORMATS]
    if unknown or not options.exports:
        wrong = f"no export {unknown[0]!r}" if unknown else "no export was named"
        raise UsageError(f"--to: {wrong}; there are {', '.join(FORMATS)}")
    if options.margin not in MARGINS:
        raise UsageError(f"--margin {options.margin}: can be {', '.join(MARGINS)}")


def _check_output(options: ExportOptions) -> Path:
    """Decide what an existing output means; raises UsageError where it is in the way."""
    given = options.output
    if "://" in given:
        raise UsageError(f"--output {given}: a folder on this machine is needed")
    output = Path(given).resolve()
    if "://" not in options.dataset:
        dataset = Path(options.dataset).resolve()
        if output.is_relative_to(dataset) or dataset.is_relative_to(output):
            raise UsageError(
                f"--output {given}: is, holds or lies in the dataset, which stays as it is; choose "
                "a folder beside it"
            )
    if not output.exists():
        above = next(folder for folder in output.parents if folder.exists())
        if not above.is_dir():
            raise UsageError(f"--output {given}: {above} is a file; choose a folder")
        return output
    if not output.is_dir():
        raise UsageError(f"--output {given}: is a file; choose a folder")
    if not any(output.iterdir()):
        return output
    if not (output / EXPORT_MANIFEST_NAME).is_file():
        raise OutputExistsError(
            f"--output {given}: holds files but no {EXPORT_MANIFEST_NAME}, so it is not one of our "
            "exports and will not be touched; choose another folder"
        )
    if not options.overwrite:
        raise OutputExistsError(
            f"--output {given}: there are exports already; --overwrite replaces all of them"
        )
    return output


def _check_dataset(folder: DatasetFolder, options: ExportOptions) -> tuple[str, ...]:
    """Return the splits to export; raises UsageError where there is nothing to export."""
    manifest = folder.manifest
    if manifest.ids_only:
        hydrate = f"forumprefs hydrate {folder.location} --input KIND=PATH --output DIR"
        if major(manifest.pair_schema_version) != major(PAIR_SCHEMA_VERSION):
            made_by = manifest.versions.get("forumprefs", "unknown")
            hydrate += f", with the forumprefs that made it ({made_by}), then export DIR"
        raise UsageError(
            f"{folder.location}: holds ids and labels without texts; fill them in first: {hydrate}"
        )
    there = [split for split in SPLITS if folder.shards("data", split)]
    if not there:
        raise UsageError(f"{folder.location}: has no pairs, so there is nothing to export")
    for split in options.splits:
        if split not in there:
            raise UsageError(
                f"--split {split}: {folder.location} has no pairs in it; there are "
                f"{', '.join(there)}"
            )
    return tuple(split for split in there if split in options.splits or not options.splits)


def _check_shards(folder: DatasetFolder, splits: Sequence[str]) -> None:
    """Compare the shards with their checksums: the exports will name the manifest as their source.

    Raises DatasetError for one that is missing, damaged or another one.
    """
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        for split in splits:
            for shard in folder.shards("data", split):
                folder.copy_shard(shard, nowhere)


def _export(
    folder: DatasetFolder,
    splits: Sequence[str],
    exports: Sequence[Export],
    staging: Path,
    options: ExportOptions,
) -> ExportManifest:
    tallies = {export.name: _Tally() for export in exports}
    shards: list[ExportShard] = []
    columns = list(dict.fromkeys(column for export in exports for column in export.columns))
    with _Progress(folder, splits, options.quiet) as progress:
        for split in splits:
            with _writers(staging, exports, split, options.margin, folder.manifest) as writers:
                for pairs in read_threads(folder, split, columns):
                    for writer in writers:
                        writer.add(pairs, tallies[writer.export.name])
                    progress.advance(len(pairs))
                for writer in writers:
                    found = writer.close()
                    shards += found
                    if found:
                        tally = tallies[writer.export.name]
                        tally.rows[split] = sum(shard.rows for shard in found)
    _check_tallies(tallies)
    return ExportManifest(
        export_version=EXPORT_VERSION,
        source_manifest_sha256=hashlib.sha256(folder.manifest_bytes).hexdigest(),
        source_pair_schema_version=folder.manifest.pair_schema_version,
        margin=options.margin,
        splits=tuple(splits),
        versions={name: version(name) for name in RECORDED_PACKAGES},
        publishable=folder.manifest.publishable,
        not_publishable_because=folder.manifest.not_publishable_because,
        exports=tuple(_counts(export, tallies[export.name]) for export in exports),
        shards=tuple(sorted(shards, key=lambda shard: shard.path)),
    )


class _ExportWriter:
    """Converts and writes the threads of one split for one export."""

    def __init__(self, export: Export, rows: SplitWriter, by_pairs: bool) -> None:
        self.export = export
        self._by_pairs = by_pairs
        self.rows = rows
        self._seen = None if export.distinct is None else SeenRows(export.distinct, rows.folder)

    def add(self, pairs: Sequence[ThreadPair], tally: _Tally) -> None:
        converted = self.export.convert(pairs, by_pairs=self._by_pairs)
        rows = converted.rows
        if self._seen is not None:
            rows = self._seen.new(rows)
            tally.left_out[self.export.repeated] += len(converted.rows) - len(rows)
        self.rows.add(rows)
        tally.considered += converted.considered
        tally.written += sum(map(self.export.units, rows))
        tally.left_out.update(converted.left_out)
        if self.export.label is not None:
            tally.labels.update(map(self.export.label, rows))

    def close(self) -> list[ExportShard]:
        return self.rows.close()

    def abandon(self) -> None:
        self.rows.abandon()
        if self._seen is not None:
            self._seen.close()


@contextmanager
def _writers(
    staging: Path, exports: Sequence[Export], split: str, margin: str, manifest: Manifest
) -> Iterator[list[_ExportWriter]]:
    asked = manifest.recipe.get("shard_bytes")
    shard_bytes = asked if isinstance(asked, int) and asked > 0 else DEFAULT_SHARD_BYTES
    # There a score counts the votes since the later response of a pair: another one in each pair.
    by_pairs = manifest.recipe.get("votes") == VoteMode.COMMON_WINDOW.value
    with ExitStack() as stack:
        writers = []
        for export in exports:
            rows = SplitWriter(staging, export.name, split, export.schema(margin), shard_bytes)
            writers.append(_ExportWriter(export, rows, by_pairs))
            stack.callback(writers[-1].abandon)
        yield writers


def _check_tallies(tallies: dict[str, _Tally]) -> None:
    for name, tally in tallies.items():
        accounted = tally.written + tally.left_out.total()
        if tally.considered != accounted:
            raise AccountingError(
                f"{name}: {tally.considered:,} were read, {accounted:,} are accounted for"
            )
        if not tally.rows:
            reasons = ", ".join(f"{reason} {n:,}" for reason, n in tally.left_out.items() if n)
            raise UsageError(
                f"--to {name}: would have no row, as everything is left out ({reasons}); export "
                "without it"
            )


def _counts(export: Export, tally: _Tally) -> ExportCounts:
    return ExportCounts(
        name=export.name,
        unit=export.unit,
        considered=tally.considered,
        written=tally.written,
        left_out={
            reason.value: tally.left_out[reason] for reason in LeftOut if tally.left_out[reason]
        },
        rows=tally.rows,
        labels={str(label).lower(): tally.labels[label] for label in (True, False)}
        if export.label is not None
        else {},
    )


class _Progress(ProgressDisplay):
    """Shows how many pairs were read."""

    def __init__(self, folder: DatasetFolder, splits: Sequence[str], quiet: bool) -> None:
        columns = (TimeElapsedColumn(), BarColumn(bar_width=16), TextColumn("{task.description}"))
        super().__init__(columns, quiet=quiet, transient=True)
        self._total = sum(shard.rows for split in splits for shard in folder.shards("data", split))
        self._done = 0
        self.start("", self._total)

    def advance(self, pairs: int) -> None:
        self._done += pairs
        self.show(self._done, f"{self._done:,} of {self._total:,} pairs")
