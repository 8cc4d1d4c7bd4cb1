"""The dataset card: README.md generated from the manifest and the report, no figure typed."""

import html
import re
from typing import Any, get_args

import yaml

from pipeline.report import share
from schemas.fields import field_docs, unwrap_optional
from schemas.manifest import Manifest
from schemas.pair import SPLITS, TEXT_COLUMNS, Message, Pair

SIZE_CATEGORIES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)

LICENSE_NAMES = {"CC-BY-SA-2.5", "CC-BY-SA-3.0", "CC-BY-SA-4.0"}


def make_card(manifest: Manifest, report: dict[str, Any], name: str) -> str:
    """Return the card of a dataset folder called ``name``: YAML front matter and Markdown."""
    front = yaml.safe_dump(
        front_matter(manifest, report), sort_keys=False, allow_unicode=True, width=1000
    )
    sections = (
        _summary(manifest, report, name),
        _funnel(manifest),
        _figures(report),
        _columns(ids_only=manifest.ids_only),
        _licence(manifest, report),
        _recipe(manifest),
    )
    return f"---\n{front}---\n\n" + "\n".join(sections)


def front_matter(manifest: Manifest, report: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata that the Hub reads."""
    pairs = report["pairs"]["total"]
    size = next((label for limit, label in SIZE_CATEGORIES if pairs < limit), "100M<n<1B")
    languages = sorted(
        code
        for code in report["pairs_by_language"]
        if re.fullmatch("[a-z]{2,3}", code) and code != "und"
    )
    present = [split for split in SPLITS if manifest.accounting.pairs.get(split)]
    configs: list[dict[str, Any]] = []
    if present:
        configs.append(
            {
                "config_name": "default",
                "default": True,
                "data_files": [
                    {"split": split, "path": f"data/{split}-*.parquet"} for split in present
                ],
            }
        )
    configs += [
        {"config_name": table, "data_files": [{"split": "train", "path": f"{table}/*.parquet"}]}
        for table in ("duplicates", "rejected")
        if any(shard.table == table for shard in manifest.shards)
    ]
    return {
        "license": "cc-by-sa-4.0" if _is_cc_by_sa(report) else "other",
        **({"language": languages} if languages else {}),
        "task_categories": ["text-ranking", "reinforcement-learning"],
        "tags": ["preference", "reward-model", "forum-votes", *report["pairs_by_source"], "trl"],
        "size_categories": [size],
        "configs": configs,
    }


def _is_cc_by_sa(report: dict[str, Any]) -> bool:
    return set(report["texts_by_license"]) <= LICENSE_NAMES


_LEAKS = {
    "near": "Questions that are near-duplicates or linked as duplicates are in the same split.",
    "exact": "Questions that are equal or linked as duplicates are in the same split; "
    "near-duplicates were not looked for.",
    "off": "Questions that are linked as duplicates are in the same split; duplicate texts were "
    "not looked for.",
}


def _summary(manifest: Manifest, report: dict[str, Any], name: str) -> str:
    recipe, pairs = manifest.recipe, report["pairs"]
    splits = ", ".join(f"{split}: {pairs.get(split, 0):,}" for split in SPLITS)
    sites = ", ".join(_text(site) for site in list(report["pairs_by_site"])[:20]) or "none"
    return f"""# {_text(name)}

{pairs["total"]:,} preference pairs ({splits}) from {report["threads"]["total"]:,} threads.
{_ROWS[manifest.ids_only]}; which of the two is
chosen follows from forum votes (`{recipe["votes"]}`, pairing `{recipe["pairing"]}`).
Sites: {sites}.

```python
from datasets import load_dataset

pairs = load_dataset("parquet", data_files={{"train": "data/train-*.parquet"}}, split="train")
```

{_USE[manifest.ids_only]}{_turns(report)}
All pairs of one thread lie together in a shard. {_LEAKS[recipe["dedup"]]}
"""


_ROWS = {
    False: "Each row holds a `prompt`, a `chosen` and a `rejected` response as Markdown",
    True: "Each row names a prompt, a chosen and a rejected response by their ids, without texts",
}

_USE = {
    False: "`prompt`, `chosen` and `rejected` can be used as they are by TRL's reward and "
    "preference trainers.",
    True: "`forumprefs hydrate` fills in the texts from dumps that you have.",
}


def _turns(report: dict[str, Any]) -> str:
    pairs = report["multi_turn_pairs"]
    return f" In {pairs:,} pairs the prompt is a conversation of several turns." if pairs else ""


def _funnel(manifest: Manifest) -> str:
    accounting = manifest.accounting
    lines = [
        "## Where every post went",
        "",
        f"{accounting.posts_read:,} posts read = {accounting.posts_kept:,} kept + "
        f"{accounting.duplicates:,} duplicates + {accounting.rejected:,} rejected. The tables "
        "`duplicates` and `rejected` name each one with its reason.",
        "",
        "| stage | in | out | duplicates | rejected |",
        "|---|---:|---:|---:|---|",
    ]
    for stage in accounting.stages:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in stage.rejected.items())
        lines.append(
            f"| {stage.stage} | {stage.entered:,} | {stage.left:,} | {stage.duplicates:,} "
            f"| {reasons or '–'} |"
        )
    return "\n".join([*lines, ""])


def _figures(report: dict[str, Any]) -> str:
    bias, window = report["bias"], report["window_votes"]
    lines = [
        "## Figures",
        "",
        "| figure | value |",
        "|---|---|",
        f"| the earlier response is chosen | {share(bias['earlier_wins'], bias['later_wins'])} |",
        f"| the longer response is chosen | {share(bias['longer_wins'], bias['shorter_wins'])} |",
        f"| votes cast after both existed agree / disagree / are tied | {window['agrees']:,} / "
        f"{window['disagrees']:,} / {window['tied']:,} |",
        "| mean characters of prompt / chosen / rejected | "
        + " / ".join(str(report["mean_characters"][k]) for k in ("prompt", "chosen", "rejected"))
        + " |",
        "",
    ]
    for title, key in (
        ("Pairs by site", "pairs_by_site"),
        ("Pairs by language", "pairs_by_language"),
        ("Pairs by margin", "margin"),
        ("Pairs by confidence", "confidence"),
    ):
        rows = [(value, count) for value, count in report[key].items() if count]
        lines += [f"### {title}", "", "| value | pairs |", "|---|---:|"]
        lines += [f"| {_text(value)} | {count:,} |" for value, count in rows[:50]]
        if len(rows) > 50:
            lines.append(f"| {len(rows) - 50} more | {sum(count for _, count in rows[50:]):,} |")
        lines.append("")
    return "\n".join(lines)


def _columns(*, ids_only: bool) -> str:
    lines = ["## Columns", "", "| column | type | meaning |", "|---|---|---|"]
    for name, (annotation, meta) in field_docs(Pair).items():
        if ids_only and name in TEXT_COLUMNS:
            continue
        base, nullable = unwrap_optional(annotation)
        kind = "timestamp[ms, UTC]" if (meta.extra or {}).get("arrow") else _type_name(base)
        lines.append(f"| `{name}` | {kind}{' or null' if nullable else ''} | {meta.description} |")
    return "\n".join([*lines, ""])


def _type_name(base: Any) -> str:
    if isinstance(base, type):
        return base.__name__
    return "list of {role, content}" if Message in get_args(base) else "list of str"


def _licence(manifest: Manifest, report: dict[str, Any]) -> str:
    counts = ", ".join(f"{_text(k)}: {v:,}" for k, v in report["texts_by_license"].items())
    changes = "Changes: HTML was converted to Markdown, and posts were selected and paired."
    paragraphs = [
        "## Licence and attribution",
        f"""The texts were written by the people named in each row. Every text keeps the licence it
was published under (`prompt_license`, `chosen_license`, `rejected_license`, `context_licenses`;
{counts or "no texts"}). {changes} The `*_url`, `*_author` and `*_author_url` columns are there for
attribution.""",
    ]
    if manifest.not_publishable_because:
        paragraphs.append("**Not to be published:**")
        paragraphs.append(
            "\n".join(f"- {_text(reason)}" for reason in manifest.not_publishable_because)
        )
    if manifest.ids_only:
        paragraphs.append(
            "This dataset holds ids and labels without texts. `forumprefs hydrate` fills the texts "
            "in from dumps that you have; `text_hash` tells whether they are the same."
        )
    if "stackexchange" in report["pairs_by_source"]:
        paragraphs.append(
            "Texts from Stack Exchange are under versions of CC BY-SA; where all are, the set "
            "as a whole is marked with the latest, 4.0. Whoever shares the rows on must name the "
            "site, link the question, and name and link the authors. Share-alike applies to "
            "adaptations."
        )
    paragraphs.append(
        "To have a post removed, name its `*_id` or link to whoever publishes this dataset; the "
        "pipeline's `--takedown` option leaves listed posts and authors out of the next version."
    )
    return "\n\n".join(paragraphs) + "\n"


def _recipe(manifest: Manifest) -> str:
    recipe = yaml.safe_dump(manifest.recipe, sort_keys=False, allow_unicode=True)
    inputs = [
        f"| {_text(item.site)} | {_text(item.name)} | {item.bytes:,} | `{item.sha256[:16]}` "
        f"| {_text(item.note) or 'used'} |"
        for item in manifest.inputs
    ]
    longest = max((len(run) for run in re.findall("`+", recipe)), default=0)
    fence = "`" * max(3, longest + 1)
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return "\n".join(
        [
            "## How it was made",
            "",
            f"By forumprefs ({versions}). The same inputs and recipe give the same bytes.",
            "",
            f"{fence}yaml",
            recipe.rstrip(),
            fence,
            "",
            "| site | input | bytes | sha256 | |",
            "|---|---|---:|---|---|",
            *inputs,
            "",
        ]
    )


def _text(value: Any) -> str:
    """Escape text from outside for a Markdown table cell."""
    escaped = html.escape(str(value), quote=False).replace("\n", " ")
    return re.sub(r"([\\`*_{}\[\]|])", r"\\\1", escaped)
