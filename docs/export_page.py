"""The page docs/export.md: what ``forumprefs export`` writes, its columns taken from the code."""

from docs.tables import NOTE, rows_of
from pipeline.export import FORMATS, columns_table
from schemas.exports import (
    EXPORT_VERSION,
    EXPORTS,
    LEFT_OUT_DOCS,
    ExportCounts,
    ExportManifest,
    ExportShard,
)


def _exports() -> str:
    parts = []
    for name in EXPORTS:
        table = "\n".join(columns_table(name, with_margin=True))
        parts.append(
            f"### {name}\n\nFor {FORMATS[name].use}.\n\n"
            f"| column | type | meaning |\n|---|---|---|\n{table}\n"
        )
    return "\n".join(parts)


def export_page() -> str:
    """What each export holds, how responses are labelled and ranked, and what is left out."""
    reasons = "\n".join(f"- `{reason.value}`, {why}" for reason, why in LEFT_OUT_DOCS.items())
    return f"""{NOTE}# Export

A dataset has a column for everything that defends a label. A trainer takes the columns it knows,
and some of those for something else. `forumprefs export` writes what a trainer reads, and nothing
besides (columns of version {EXPORT_VERSION}):

```
forumprefs export out/beer --to trl-chat --output out/beer-trl
forumprefs export out/beer --to kto,prompts --split train --output out/beer-kto
```

```python
from datasets import load_dataset

rows = load_dataset("out/beer-trl", "trl-chat", split="train")
```

Any dataset that this forumprefs reads can be exported, of the pair schema's version 1, too. A
dataset of ids and labels has no texts; `forumprefs hydrate` fills them in first.

## What there is

{_exports()}
## Text or messages

TRL joins the text of a prompt and of a response as they are, so that `trl-pairs` ends each prompt
with a blank line. Use it for a base model without a chat template. With a template, use `trl-chat`:
roles and ends of turns are then those of the model. Where the dataset has `*_turns` (replies to
replies, `--conversational`), they are the messages; else the whole prompt is one message of the
user.

## Margins

Votes are no margin of a loss. TRL's `RewardTrainer` and OpenRLHF subtract a column `margin` from
the difference of two rewards, as Llama 2 does, and its values there lie between 0 and 1 or 3; a
difference of 95 votes would say that the rewards are to differ by 95. So there is no such column
unless you ask for it: `--margin log` writes log(1 + `vote_margin`), which is 0.69 for one vote and
4.56 for 95.

## How `kto` labels a response

KTO wants responses that are good or bad by themselves. Taking pairs apart gives such rows, too, but
the second of three responses is then good in one row and bad in another, and a response of ten
pairs is there ten times. Here each response is there at most once, and its label is that of the
votes on all of its thread's responses that are in a pair:

1. **By its score**, under every vote mode but `common_window`, wherever a response has one score in
   all its pairs: it is good above the median of the thread's scores and bad below it. At the median
   it is neither, so that ties at the border and the middle of an odd number are left out. Where
   more than half of the responses tie for the best score they are good, since all others are worse;
   where they tie for the worst they are bad.
2. **A pair must agree**: at least one chooses what is good, at least one rejects what is bad. Votes
   and pairs differ where the recipe refuses pairs: under `later_wins` the earliest response may
   have most votes, and be in pairs only as the one that was overtaken.
3. **By its pairs**, where a response has no score of its own (sets that state preferences and no
   votes) and under `common_window`, whose scores count the votes since the later response of a pair
   and so are to be compared within it alone: it is good if no pair rejects it, and bad if no pair
   chooses it.

So no pair of a thread chooses a bad response over a good one, no text has both labels under one
prompt of a split, and a prompt has both good and bad responses or none. Where several threads have
the same prompt and response (preference sets that overlap, `--dedup off`), the first in the
dataset's order is kept, so that a pair of a later thread may say otherwise. The label says on which
side of its thread a response is, and not how far: `min_margin` of the recipe decides about pairs
alone. Good and bad responses are about as many as each other; `export.json` has the numbers, from
which trainers' weights of the two follow. Replies to a response are a thread of their own, with the
conversation above them as the prompt.

Measured on the beer site (dump of 2020-05, one curation for each vote mode); "contradictory" rows
are those whose response has the other label in another row of the same prompt:

| `--votes` | pairs | rows taken apart | contradictory | responses | `kto` rows | contradictory |
|---|---:|---:|---:|---:|---:|---:|
| `net_votes` | 1,911 | 3,822 | 1,338 | 1,794 | 1,533 | 0 |
| `later_wins` | 665 | 1,330 | 104 | 918 | 741 | 0 |
| `common_window` | 1,638 | 3,276 | 991 | 1,631 | 1,290 | 0 |

## How `rankings` orders responses

By their scores, in tie groups of equal ones, under every vote mode but `common_window`, wherever a
response has one score in all its pairs. Else by the pairs: a response is in the first group below
all those that beat it, directly or by way of others, and its score is the number of groups below
its own. Being in one group then means that none of the two beats the other, which may be because
they were not compared. Responses in a circle (a beats b, b beats c, c beats a) are left out. Either
way no pair is contradicted.

Only responses in a pair are there: `max_pairs_per_thread` (10 unless the recipe says otherwise) and
the other rules have decided which. For whole rankings, curate with `--max-pairs-per-thread 0`.

## What is left out

Pairs are all kept. For the other exports `export.json` counts what is not there, and the run fails
unless what was read is written or left out for one of these reasons:

{reasons}

`prompts` leaves out repeated prompts, and `kto` repeated responses to them, over the whole split;
the dataset has some only if duplicates were not removed.

## Files

```
out/beer-trl/
  README.md     card: `configs` by which load_dataset finds an export and its splits
  export.json   source, options, counts, every shard with its sha256
  trl-chat/     train-00000-of-0000N.parquet, validation-…, test-…
```

The folder appears complete, under its name, at the very end. The same dataset and options give the
same bytes, given the same pyarrow, whichever exports are made with it; only the card's title is
the name of the dataset's folder. Rows are in the dataset's order, shards of the size that its
recipe names, and rows of a thread are in one row group. Authors, links and licences are not in the
rows, so whoever passes an export on passes the dataset on with it, or names them in another way.

## To the Hub

```
forumprefs export out/beer --to kto,trl-chat --output out/beer-trl
forumprefs publish out/beer acme/beer-prefs --version v1.1.0 --exports out/beer-trl
```

```python
rows = load_dataset("acme/beer-prefs", "kto", revision="v1.1.0", split="train")
```

makes the exports further configurations of the version, below `exports/`, in the one commit that
the tag names. They must be of this very dataset: its manifest is compared. A version has the
exports that it was published with; one that is published without them has none. `pull` fetches the
dataset, from which the same exports can be made again.

## `export.json`

{rows_of(ExportManifest)}
### Counts of an export

{rows_of(ExportCounts)}
### Shard

{rows_of(ExportShard)}"""
