"""The dataset card: README.md generated from the manifest and the report, no figure typed."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

import yaml

from pipeline.dataset.card_figures import figures_section, markdown_text
from pipeline.dataset.card_trainers import trainers_section
from pipeline.dataset.report import decontamination
from schemas.fields import field_docs, unwrap_optional
from schemas.manifest import Manifest
from schemas.pair import SPLITS, TEXT_COLUMNS, Message, Pair, stored_columns

SIZE_CATEGORIES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"),
)

LICENSE_NAMES = {"CC-BY-SA-2.5", "CC-BY-SA-3.0", "CC-BY-SA-4.0"}


_MARK = "<!-- made by forumprefs; text {}: an edited card is published as it stands -->\n"


@dataclass(frozen=True)
class Release:
    """What a card says of a published version beyond what is in the folder."""

    repo: str
    version: str
    changes: str = ""
    """Markdown section on the changes since the version before; '' where there is none."""
    configs: Sequence[dict[str, Any]] = ()
    """Further entries of `configs` in the front matter, for what is beside the dataset."""
    sections: Sequence[str] = ()
    """Markdown sections on it."""


def make_card(
    manifest: Manifest, report: dict[str, Any], name: str, release: Release | None = None
) -> str:
    """Return the card of a dataset called ``name``: YAML front matter and Markdown.

    The last line holds a hash of the others, by which :func:`is_generated` tells an edited card.
    """
    metadata = make_front_matter(manifest, report, name)
    if release is not None:
        metadata["configs"] += release.configs
    front = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=1000)
    sections = (
        _summary(manifest, report, name, release),
        *((release.changes,) if release is not None and release.changes else ()),
        *(() if manifest.ids_only else (trainers_section(manifest.pair_schema_version),)),
        *(release.sections if release is not None else ()),
        _funnel(manifest),
        figures_section(manifest, report),
        _columns(manifest),
        _licence(manifest, report),
        _citing(name, release),
        _removal(release),
        _recipe(manifest),
    )
    text = f"---\n{front}---\n\n" + "\n".join(sections) + "\n"
    return text + _MARK.format(_hash(text))


def is_generated(card: str) -> bool:
    """Whether a card is as some version of forumprefs made it, and no hand has changed it."""
    text, mark, _ = card.rpartition(_MARK.partition("{}")[0])
    return bool(mark) and card == text + _MARK.format(_hash(text))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def make_front_matter(manifest: Manifest, report: dict[str, Any], name: str) -> dict[str, Any]:
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
        # Without line ends: a line of hyphens would end the front matter.
        "pretty_name": " ".join(name.split()),
        "license": "cc-by-sa-4.0" if _is_cc_by_sa(report) else "other",
        **({"language": languages} if languages else {}),
        "task_categories": ["text-ranking", "reinforcement-learning"],
        "tags": ["preference", "reward-model", "forum-votes", *report["pairs_by_source"], "trl"],
        "size_categories": [size],
        "configs": configs,
    }


def _is_cc_by_sa(report: dict[str, Any]) -> bool:
    return set(report["texts_by_license"]) <= LICENSE_NAMES


_LEAKS = (
    "Threads that share much of a text are in the same split, as are questions that are linked as "
    "duplicates and one author's sequels."
)
_LEFT_IN = {
    "near": "",
    "exact": " Near-duplicates were not looked for and are still there.",
    "off": " Duplicates were not looked for and are still there.",
}


def _summary(manifest: Manifest, report: dict[str, Any], name: str, release: Release | None) -> str:
    recipe, pairs = manifest.recipe, report["pairs"]
    splits = ", ".join(f"{split}: {pairs.get(split, 0):,}" for split in SPLITS)
    sites = ", ".join(markdown_text(site) for site in list(report["pairs_by_site"])[:20]) or "none"
    return f"""# {markdown_text(name)}

{pairs["total"]:,} preference pairs ({splits}) from {report["threads"]["total"]:,} threads.
{_ROWS[manifest.ids_only]}; which of the two is
chosen {_chosen_by(manifest, report)}.
Sites: {sites}.

```python
from datasets import load_dataset

{_LOAD if release is None else _load_release(release, manifest)}
```

{_USE[manifest.ids_only]}{_turns(report)}
All pairs of one thread lie together in a shard. {_LEAKS}{_LEFT_IN[recipe["dedup"]]}
"""


_LOAD = (
    'pairs = load_dataset("parquet", data_files={"train": "data/train-*.parquet"}, split="train")'
)


def _load_release(release: Release, manifest: Manifest) -> str:
    pairs = manifest.accounting.pairs
    split = next((split for split in SPLITS if pairs.get(split)), SPLITS[0])
    return f'pairs = load_dataset("{release.repo}", revision="{release.version}", split="{split}")'


_ROWS = {
    False: "Each row holds a `prompt`, a `chosen` and a `rejected` response as Markdown",
    True: "Each row names a prompt, a chosen and a rejected response by their ids, without texts",
}

_USE = {
    False: "How to train with them is said under “In a trainer”.",
    True: "`forumprefs hydrate` fills in the texts from dumps that you have.",
}


def _chosen_by(manifest: Manifest, report: dict[str, Any]) -> str:
    recipe = manifest.recipe
    votes = f"follows from forum votes (`{recipe['votes']}`, pairing `{recipe['pairing']}`)"
    sources = report["pairs_by_source"]
    if "pairs" not in sources:
        return votes
    stated = "is what the preference sets say that it was made from"
    return stated if len(sources) == 1 else f"{votes}, or {stated}"


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
    for line in decontamination(manifest):
        lines += ["", f"{markdown_text(line[0].upper() + line[1:])}."]
    return "\n".join([*lines, ""])


def _columns(manifest: Manifest) -> str:
    stored = stored_columns(manifest.pair_schema_version)
    lines = ["## Columns", "", "| column | type | meaning |", "|---|---|---|"]
    for name, (annotation, meta) in field_docs(Pair).items():
        if name not in stored or (manifest.ids_only and name in TEXT_COLUMNS):
            continue
        base, nullable = unwrap_optional(annotation)
        kind = "timestamp[ms, UTC]" if (meta.extra or {}).get("arrow") else _type_name(base)
        kind += " or null" if nullable else ""
        lines.append(f"| `{stored[name]}` | {kind} | {meta.description} |")
    return "\n".join([*lines, ""])


def _type_name(base: Any) -> str:
    if isinstance(base, type):
        return base.__name__
    return "list of {role, content}" if Message in get_args(base) else "list of str"


def _licence(manifest: Manifest, report: dict[str, Any]) -> str:
    counts = ", ".join(f"{markdown_text(k)}: {v:,}" for k, v in report["texts_by_license"].items())
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
            "\n".join(f"- {markdown_text(reason)}" for reason in manifest.not_publishable_because)
        )
    if manifest.ids_only:
        paragraphs.append(
            "This dataset holds ids and labels without texts. `forumprefs hydrate` fills the texts "
            "in from dumps that you have; `text_hash` tells whether they are the same."
        )
    from transforms.readers.registry import SOURCES  # loads all readers

    used = [source for kind, source in SOURCES.items() if kind in report["pairs_by_source"]]
    paragraphs += [source.card_note for source in used if source.card_note]
    return "\n\n".join(paragraphs) + "\n"


def _citing(name: str, release: Release | None) -> str:
    """How to cite; a year would need a clock, so the version stands for it."""
    plain = re.sub(r"[^\w ./-]", " ", name).strip() or "dataset"
    key = re.sub(r"[^a-z0-9]+", "-", f"{plain} {release.version if release else ''}".lower())
    fields = [f"  title = {{{plain}: preference pairs from forum votes}},"]
    if release is not None:
        fields += [
            f"  author = {{{release.repo.partition('/')[0]}}},",
            f"  howpublished = {{Hugging Face Hub, dataset {release.repo}}},",
            f"  version = {{{release.version}}},",
        ]
    lines = [f"@misc{{{key.strip('-')},", *fields, "}"]
    return "\n".join(
        [
            "## How to cite",
            "",
            "Name the version: versions do not change. The texts are the work of the authors whom "
            "the rows name.",
            "",
            "```bibtex",
            *lines,
            "```",
            "",
        ]
    )


def _removal(release: Release | None) -> str:
    where = (
        "whoever gave you this dataset"
        if release is None
        else f"the publisher, in the discussions of {release.repo}"
    )
    return f"""## How to have something removed

Tell {where}, with the `*_id` or the link of the post, or with the `*_author_url` of the author.
The next version is made without what is on the list (`--takedown`), and versions that hold it can
be withdrawn.
"""


def _recipe(manifest: Manifest) -> str:
    recipe = yaml.safe_dump(manifest.recipe, sort_keys=False, allow_unicode=True)
    inputs = [
        f"| {markdown_text(item.site)} | {markdown_text(item.name)} | {item.bytes:,} "
        f"| `{item.sha256[:16]}` | {markdown_text(item.note) or 'used'} |"
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
