"""Write the pages that follow from the code: ``python -m docs.generate``."""

from pathlib import Path
from typing import Any

from docs.architectures_page import architectures_page
from docs.export_page import export_page
from docs.losses_page import losses_page
from docs.tables import NOTE, rows_of
from docs.threads_page import threads_page
from pipeline.curate.options import GROUPS
from pipeline.curate.recipe import Recipe
from pipeline.curate.set_rules import LABEL_OPTIONS
from schemas.audit import (
    AUDIT_SCHEMA_VERSION,
    REASON_DOCS,
    Duplicate,
    Reason,
    Rejected,
    Stage,
)
from schemas.fields import field_docs
from schemas.manifest import Accounting, InputFile, Manifest, Shard, StageCount
from schemas.metadata import PostMetadata
from schemas.pair import FORMER_NAMES, PAIR_SCHEMA_VERSION, Pair
from schemas.post import Post, Thread
from schemas.vote_model import VoteEffects, VoteModel
from training.config import options

DOCS = Path(__file__).parent


LABEL_NAMES = {str(option.option) for option in LABEL_OPTIONS}


def schema_page() -> str:
    """Everything in a dataset folder, and the rows between the steps."""
    reasons = "\n".join(f"- `{reason.value}`: {REASON_DOCS[reason]}" for reason in Reason)
    stages = " → ".join(f"`{stage.value}`" for stage in Stage)
    renamed = "\n".join(f"| `{former}` | `{name}` |" for former, name in FORMER_NAMES.items())
    return (
        NOTE
        + f"""# Schema

A dataset folder holds `data/` (pairs), `duplicates/`, `rejected/`, `manifest.json`, `report.json`
and the card `README.md`. Every row type is defined once, in `schemas/`; the Arrow schemas, the
dataset card and this page are derived from there.

## Pairs: `data/SPLIT-NNNNN-of-NNNNN.parquet` (version {PAIR_SCHEMA_VERSION})

Ordered by a stable hash of the thread, so all pairs of a thread lie together, and within a thread
all pairs of a chosen response. A thread is never divided over two row groups.

{rows_of(Pair, arrow=True)}
Where a source gives no date (some sets of preferences), `*_created_at` is 1970-01-01. A
`thread_id` is made of what the source calls its threads: the id of the question or post, or what
stands for it in a set of preferences.

### Version 1

Version 2 calls {len(FORMER_NAMES)} columns by other names, because trainers took the former ones
for columns of theirs ([Names that trainers take](trainers.md#names-that-trainers-take)):

| version 1 | version 2 |
|---|---|
{renamed}

Folders of version 1 are still read: everything that reads a finished dataset (`train`, `export`,
`inspect`, `diff`, `publish`, …) finds these columns under their former names, and a dataset that is
published keeps them. Only `hydrate`, which writes pairs, takes no dataset of ids of version 1: use
the forumprefs that made it, which its manifest names, and export what that makes.

## Duplicates: `duplicates/*.parquet` (version {AUDIT_SCHEMA_VERSION})

{rows_of(Duplicate, arrow=True)}
## Rejects: `rejected/*.parquet` (version {AUDIT_SCHEMA_VERSION})

{rows_of(Rejected, arrow=True)}
Stages, in order: {stages}. Reasons:

{reasons}

## `manifest.json`

{rows_of(Manifest)}
### Shard

{rows_of(Shard)}
### Input file

{rows_of(InputFile)}
### Accounting

{rows_of(Accounting)}
### Stage

{rows_of(StageCount)}
### Vote model

What the effects mean: [the vote model](vote_model.md).

{rows_of(VoteModel)}
### Vote effects

{rows_of(VoteEffects)}
## Between the steps

What a reader produces and every later step consumes. A new kind of forum is a module that turns
files into these.

### Post

{rows_of(Post)}
### Facts about posts from other files

{rows_of(PostMetadata)}
### Thread

{rows_of(Thread)}"""
    )


def recipe_page() -> str:
    """Every option that changes an output byte."""
    parts = [
        NOTE,
        "# Recipe\n\n"
        "Every option that can change an output byte. On the command line `min_margin` is "
        "`--min-margin`; in a `--config` file it is `min_margin:`. Flags override the file. The "
        "resolved recipe is in `manifest.json`, which can itself be given to `--config`. A "
        "`--config` file may also hold `output`, `runner`, `workers`, `partitions`, `work_dir`, "
        "`quiet` and the like, which change no byte.\n\n"
        "```yaml\ninput:\n  - stackexchange=dumps/ai.stackexchange.com\n"
        "languages: [en, fr]\nvotes: common_window\n```\n",
    ]
    docs = field_docs(Recipe)
    defaults = dict(zip(Recipe.__struct_fields__, Recipe.__struct_defaults__, strict=True))
    for heading, names in GROUPS.items():
        parts.append(
            f"\n## {heading.capitalize()}\n\n| option | default | meaning |\n|---|---|---|\n"
        )
        for name in names:
            meta = docs[name][1]
            from_preset = name == "pairing" or name in LABEL_NAMES
            default = default_text(defaults[name], from_preset=from_preset)
            parts.append(f"| `{name}` | {default} | {meta.description} |\n")
    parts.append(
        "\n`from the preset`: the value of the chosen `pairing` preset, see [labels](labels.md).\n"
    )
    return "".join(parts)


def default_text(default: Any, *, from_preset: bool) -> str:
    """Readable default of an option."""
    if default is None:
        return "from the preset" if from_preset else "none"
    if isinstance(default, tuple):
        return f"`{','.join(default)}`" if default else ""
    if isinstance(default, bool):
        return "yes" if default else "no"
    return f"`{default}`"


def training_settings_page() -> str:
    """Every setting of ``forumprefs train``."""
    parts = [
        NOTE,
        "# Settings of training\n\nGive them as `--set section.name=value`, or in a table of a "
        "TOML or JSON file with `--config`. See [training](training.md).\n",
    ]
    section = ""
    for group, name, default, text in options():
        if group != section:
            parts.append(f"\n## {group}\n\n| setting | default | meaning |\n|---|---|---|\n")
            section = group
        shown = "null" if default is None else str(default).lower()
        parts.append(f"| `{name}` | `{shown}` | {text.replace('|', '&#124;')} |\n")
    return "".join(parts)


PAGES = {
    "architectures.md": architectures_page,
    "schema.md": schema_page,
    "recipe.md": recipe_page,
    "threads.md": threads_page,
    "export.md": export_page,
    "losses.md": losses_page,
    "training_settings.md": training_settings_page,
}


def main() -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
