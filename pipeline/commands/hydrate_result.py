"""What came of filling texts in: who is told what, and the documents of the folder."""

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from pipeline.curate.inputs import DECONTAMINATE, Inputs
from pipeline.errors import HydrateError
from schemas.manifest import Accounting, Manifest, Shard, StageCount
from transforms.hydrate.fill_texts import EXAMPLES, HYDRATE, TEXT_MISSING, FilledShard
from transforms.writers.parquet import ShardReport


def check_filled(filled: Sequence[FilledShard], manifest: Manifest, inputs: Inputs) -> None:
    """Raise HydrateError, with what a person can do, when a row could not be filled."""
    problems = _describe_missing(filled)
    if not problems:
        return
    rows = sum(manifest.accounting.pairs.values())
    bad = sum(result.missing + result.changed for result in filled)
    lines = [f"{bad:,} of {rows:,} rows cannot be filled; nothing was written", *problems]
    absent = _absent_inputs(manifest, inputs)
    if absent:
        lines.append(f"the labels were made from other files than these: {absent}")
        lines.append("use the same dumps, or exclude these rows with --allow-missing")
    else:
        lines.append("--allow-missing excludes these rows")
    raise HydrateError("\n  ".join(lines))


def _describe_missing(filled: Sequence[FilledShard]) -> list[str]:
    lines = []
    missing = sum(result.missing for result in filled)
    changed = sum(result.changed for result in filled)
    if missing:
        ids = list(dict.fromkeys(name for result in filled for name in result.missing_ids))
        posts = sum(result.lost.get(TEXT_MISSING, 0) for result in filled)
        lines.append(
            f"{missing:,} rows with posts that are not in the input, or whose text is gone "
            f"there: {_first(ids, posts)}"
        )
    if changed:
        ids = [name for result in filled for name in result.changed_ids]
        lines.append(f"{changed:,} rows whose texts have changed: {_first(ids, changed)}")
    return lines


def _first(ids: Sequence[str], total: int) -> str:
    return ", ".join(ids[:EXAMPLES]) + (", …" if total > min(len(ids), EXAMPLES) else "")


def _absent_inputs(manifest: Manifest, inputs: Inputs) -> str:
    """Name the files that the labels were made from and that were not read now."""
    given = {(item.name, item.sha256) for item in inputs.files}
    names = [
        f"{item.site}/{item.name}" if item.site else item.name
        for item in manifest.inputs
        if item.used and item.kind not in ("", DECONTAMINATE) and item.sha256
        if (item.name, item.sha256) not in given
    ]
    return _first(names, len(names)) if names else ""


def filled_manifest(
    source: Manifest,
    reports: Sequence[ShardReport],
    filled: Sequence[FilledShard],
    not_publishable_because: tuple[str, ...],
) -> Manifest:
    """Return the manifest of the folder with texts.

    It says what the run that made the labels would have said: recipe, inputs and versions are
    that run's. Rows that could not be filled are a last stage of the accounting.
    """
    accounting = _accounting(source.accounting, reports, filled)
    if not _describe_missing(filled) and accounting != source.accounting:
        raise RuntimeError("the rows with texts are not the rows of the dataset")
    return msgspec.structs.replace(
        source,
        recipe=source.recipe | {"ids_only": False},
        accounting=accounting,
        publishable=not not_publishable_because,
        not_publishable_because=not_publishable_because,
        ids_only=False,
        shards=tuple(sorted((report.shard for report in reports), key=_path_of)),
    )


def _path_of(shard: Shard) -> str:
    return shard.path


def _accounting(
    source: Accounting, reports: Sequence[ShardReport], filled: Sequence[FilledShard]
) -> Accounting:
    """The accounting of the run that made the labels, and what could not be filled."""
    data = [report for report in reports if report.shard.table == "data"]
    pairs: Counter[str] = Counter()
    threads: Counter[str] = Counter()
    for report in data:
        pairs[str(report.shard.split)] += report.stats["pairs"]
        threads[str(report.shard.split)] += report.stats["threads"]
    kept = sum(report.stats["posts"] for report in data)
    lost: Counter[str] = Counter()
    for result in filled:
        lost.update(result.lost)
    stages, others = source.stages, source.other_records
    if _describe_missing(filled):
        stage = StageCount(
            stage=HYDRATE,
            entered=source.posts_kept,
            left=kept,
            rejected=dict(sorted(lost.items())),
        )
        stages = (*stages, stage)
        rows = {
            f"{HYDRATE}.pairs_missing": sum(result.missing for result in filled),
            f"{HYDRATE}.pairs_changed": sum(result.changed for result in filled),
        }
        others = dict(sorted((others | rows).items()))
    return msgspec.structs.replace(
        source,
        posts_kept=kept,
        rejected=source.rejected + lost.total(),
        pairs=dict(sorted(pairs.items())),
        threads=dict(sorted(threads.items())),
        stages=stages,
        other_records=others,
    )


def notes_on(
    made: Manifest, inputs: Inputs, filled: Sequence[FilledShard], versions: Mapping[str, str]
) -> list[str]:
    """What a person should know of a folder that was made; ``versions``: those in use here."""
    lines = [f"excluded: {line}" for line in _describe_missing(filled)]
    lines += [f"not used: {item.name}: {item.note}" for item in inputs.files if not item.used]
    different = [
        f"{name} {version} (here {versions.get(name, 'not installed')})"
        for name, version in made.versions.items()
        if versions.get(name) != version
    ]
    if different:
        lines.append(
            f"made with {', '.join(different)}: rows and texts are equal, the bytes of the files "
            "may differ from those that would have been written there"
        )
    return lines
