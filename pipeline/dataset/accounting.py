"""The accounting of a run: where every record went, and the proof that none was lost."""

from collections import Counter, defaultdict

from pipeline.errors import AccountingError
from schemas.audit import Reason, Stage
from schemas.manifest import POSTS_REPAIRED, Accounting, StageCount
from transforms.writers.counts import RunResult

POSTS_READ = ("read", "Posts.rows")

OTHER_TABLES = {
    "Votes": ("up", "down", "accepted", "flags", "other"),
    "PostHistory": ("closings", "other"),
    "PostLinks": ("duplicates", "other"),
}
"""What the rows of a table other than Posts are counted as, beside rejects."""


def add_up(result: RunResult) -> Accounting:
    """Build the accounting of a run from its counts and its shards.

    The numbers come from three independent places: what the readers counted, what each step
    let through, and what the writers put into the files. Raises AccountingError naming every
    equation that does not hold.
    """
    counts = Counter({(c.stage, c.key): c.count for c in result.counts})
    stats = total_stats(result)
    rejected = _rejected_posts(stats)
    duplicates = sum(r.shard.rows for r in result.shards if r.shard.table == "duplicates")
    stages = _funnel(counts, rejected, duplicates)
    kept = stats["posts"]
    accounting = Accounting(
        posts_read=counts[POSTS_READ],
        posts_kept=kept,
        duplicates=duplicates,
        rejected=sum(sum(reasons.values()) for reasons in rejected.values()),
        pairs=_by_split(result, "pairs"),
        threads=_by_split(result, "threads"),
        stages=tuple(stages),
        other_records=_other_records(counts, stats),
    )
    _check(accounting, result, counts)
    return accounting


def total_stats(result: RunResult) -> Counter[str]:
    """Add the statistics of all shards."""
    totals: Counter[str] = Counter()
    for report in result.shards:
        totals.update(report.stats)
    return totals


def _rejected_posts(stats: Counter[str]) -> dict[str, dict[str, int]]:
    rejected: dict[str, dict[str, int]] = defaultdict(dict)
    for key, amount in sorted(stats.items()):
        if key.startswith("rejected:post:"):
            _, _, stage, reason = key.split(":")
            rejected[stage][reason] = amount
    return rejected


def _by_split(result: RunResult, key: str) -> dict[str, int]:
    totals: Counter[str] = Counter()
    for report in result.shards:
        if report.shard.split is not None:
            totals[report.shard.split] += report.stats[key]
    return dict(sorted(totals.items()))


def _funnel(
    counts: Counter[tuple[str, str]], rejected: dict[str, dict[str, int]], duplicates: int
) -> list[StageCount]:
    stages = []
    entered = counts[POSTS_READ]
    for stage in Stage:
        if stage is Stage.HYDRATE:
            continue  # no step of this run
        left = counts[("read", "Posts.kept") if stage is Stage.READ else (stage.value, "posts")]
        reasons = rejected.get(stage.value, {})
        order = [reason.value for reason in Reason]
        stages.append(
            StageCount(
                stage=stage.value,
                entered=entered,
                left=left,
                duplicates=duplicates if stage is Stage.DEDUP else 0,
                rejected=dict(sorted(reasons.items(), key=lambda item: order.index(item[0]))),
            )
        )
        entered = left
    return stages


def _other_records(counts: Counter[tuple[str, str]], stats: Counter[str]) -> dict[str, int]:
    others = {
        key: amount
        for (stage, key), amount in counts.items()
        if stage == "read" and (key == POSTS_REPAIRED or not key.startswith("Posts."))
    }
    for key, amount in stats.items():
        if key.startswith("rejected:") and not key.startswith("rejected:post:"):
            others[key] = amount
    return dict(sorted(others.items()))


def _check(accounting: Accounting, result: RunResult, counts: Counter[tuple[str, str]]) -> None:
    errors = []
    for stage in accounting.stages:
        out = stage.left + stage.duplicates + sum(stage.rejected.values())
        if stage.entered != out:
            errors.append(f"{stage.stage}: {stage.entered} posts came in, {out} are accounted for")
    if accounting.stages[-1].left != accounting.posts_kept:
        errors.append(
            f"write: {accounting.stages[-1].left} posts were to be written, "
            f"{accounting.posts_kept} were"
        )
    written = sum(r.shard.rows for r in result.shards if r.shard.table == "rejected")
    sent = sum(n for (stage, _), n in counts.items() if stage == "rejected")
    if written != sent:
        errors.append(f"rejected table: {sent} rows were to be written, {written} were")
    total = accounting.posts_kept + accounting.duplicates + accounting.rejected
    if accounting.posts_read != total:
        errors.append(f"{accounting.posts_read} posts were read, {total} are accounted for")
    removed = counts["duplicates", "duplicates"]
    if accounting.duplicates != removed:
        errors.append(
            f"duplicates table: {removed} rows were to be written, {accounting.duplicates} were"
        )
    for table, kinds in OTHER_TABLES.items():
        rows = counts["read", f"{table}.rows"]
        known = sum(counts["read", f"{table}.{kind}"] for kind in (*kinds, "rejected"))
        if rows != known:
            errors.append(f"{table}: {rows} rows were read, {known} are accounted for")
    pairs = sum(r.shard.rows for r in result.shards if r.shard.table == "data")
    if pairs != sum(accounting.pairs.values()):
        errors.append(f"data: {pairs} rows in files, {sum(accounting.pairs.values())} pairs")
    if errors:
        raise AccountingError("the accounting does not add up:\n  " + "\n  ".join(errors))
