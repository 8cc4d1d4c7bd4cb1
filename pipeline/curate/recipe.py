"""The recipe: every option that can change an output byte, defined once.

The command line, ``--config`` files, the manifest and docs/recipe.md all derive from the
fields of :class:`Recipe`. Options that only say how to run (workers, progress, output
folder) are in :mod:`pipeline.curate.options`.
"""

import dataclasses
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from pipeline.errors import RecipeError
from schemas.fields import doc, field_docs
from schemas.pair import SPLITS
from schemas.post import ClosedAs
from transforms.dedup.minhash import MinHashRules
from transforms.filters.language import LanguageRules
from transforms.filters.posts import FilterRules
from transforms.pairing.pairs import PRESETS, PairingRules, VoteMode, preset
from transforms.readers.base import ReadRules
from transforms.readers.preferences.formats import COLUMNS
from transforms.readers.registry import SOURCES
from transforms.writers.parquet import DEFAULT_SHARD_BYTES

NonNegative = Annotated[float, msgspec.Meta(ge=0)]
NonNegativeInt = Annotated[int, msgspec.Meta(ge=0)]


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to curate and how. None in a pairing field means: as the `pairing` preset says."""

    input: Annotated[
        tuple[str, ...],
        doc(
            "KIND=PATH, repeatable; KIND is "
            + ", ".join(("stackexchange", *SOURCES))
            + "; PATH is a file, an archive, a folder or a glob; docs/sources.md says of what"
        ),
    ] = ()
    include_meta: Annotated[
        bool, doc("also use meta sites, where a vote means agreement rather than quality")
    ] = False
    takedown: Annotated[
        str | None,
        doc("file of post ids (SITE:ID), author ids (SITE:uID) or their links to exclude"),
    ] = None
    decontaminate: Annotated[
        tuple[str, ...],
        doc(
            "benchmark files, folders or globs (JSON, JSON Lines, Parquet, text); threads that "
            "share 13 words in a row with any text in them, or are near-duplicates, are excluded"
        ),
    ] = ()
    reply_depth: Annotated[
        int,
        doc(
            "1: responses to the prompt; N: also replies down to the Nth level, compared with "
            "their siblings, the conversation above them being the prompt",
            ge=1,
        ),
    ] = 1
    licenses: Annotated[
        tuple[str, ...],
        doc(
            "SITE=LICENCE or KIND=LICENCE (SPDX) for texts whose source does not say; your word "
            "that they may be published"
        ),
    ] = ()
    pairs_columns: Annotated[
        tuple[str, ...],
        doc("OURS=THEIRS for preference sets with columns of other names, e.g. chosen=better"),
    ] = ()

    min_prompt_chars: Annotated[
        int, doc("shortest prompt, characters of title + Markdown", ge=0)
    ] = 20
    max_prompt_chars: Annotated[int, doc("longest prompt", ge=1)] = 40_000
    min_response_chars: Annotated[int, doc("shortest response, characters of Markdown", ge=0)] = 20
    max_response_chars: Annotated[int, doc("longest response", ge=1)] = 40_000
    drop_closed: Annotated[
        tuple[str, ...],
        doc("drop prompts closed as: " + ", ".join(kind.value for kind in ClosedAs)),
    ] = (ClosedAs.OFF_TOPIC.value, ClosedAs.SPAM.value)
    max_flags: Annotated[int, doc("most spam and offensive flags of a kept post", ge=0)] = 0
    drop_nsfw: Annotated[bool, doc("leave posts marked as not safe for work out")] = True
    drop_pinned: Annotated[bool, doc("leave posts out that staff put on top")] = True
    drop_bots: Annotated[bool, doc("leave posts by programs out")] = True
    drop_hidden_scores: Annotated[
        bool, doc("leave posts out whose score the forum did not show yet")
    ] = True
    min_score_age_hours: Annotated[
        float,
        doc("least hours between a post and the reading of its score, where known; 0: any", ge=0),
    ] = 24.0

    languages: Annotated[
        tuple[str, ...], doc("ISO codes to keep, or `all`, which keeps and labels everything")
    ] = ("en",)
    language_model: Annotated[
        Literal["fasttext", "langdetect"], doc("langdetect is about 45 times slower")
    ] = "fasttext"
    min_language_probability: Annotated[
        float, doc("below it the language is unknown", ge=0, le=1)
    ] = 0.65
    min_prose_chars: Annotated[
        int, doc("posts with less prose take the language of their thread", ge=0)
    ] = 50

    dedup: Annotated[
        Literal["near", "exact", "off"], doc("near: also MinHash with verified Jaccard")
    ] = "near"
    dedup_threshold: Annotated[
        float, doc("Jaccard similarity of word 5-grams from which posts are duplicates", gt=0, le=1)
    ] = 0.8

    pairing: Annotated[str, doc("preset of pairing rules: " + ", ".join(PRESETS))] = "all"
    votes: Annotated[
        str | None, doc("what a score is: " + ", ".join(mode.value for mode in VoteMode))
    ] = None
    min_margin: Annotated[NonNegative | None, doc("least difference of scores; 0: any")] = None
    min_ratio: Annotated[NonNegative | None, doc("least ratio of positive scores; 0: any")] = None
    max_pairs_per_thread: Annotated[
        NonNegativeInt | None, doc("most pairs of one thread; 0: all")
    ] = None
    min_prompt_score: Annotated[int | None, doc("least upvotes − downvotes of a prompt")] = None
    min_response_score: Annotated[int | None, doc("least upvotes − downvotes of a response")] = None
    max_responses: Annotated[
        NonNegativeInt | None, doc("responses to one post that are compared, at random; 0: all")
    ] = None
    drop_edited: Annotated[bool | None, doc("leave edited prompts and responses out")] = None
    drop_edited_prompts: Annotated[bool | None, doc("leave edited prompts out")] = None
    drop_staff: Annotated[bool | None, doc("leave posts of moderators and employees out")] = None
    drop_links: Annotated[
        bool | None, doc("leave prompts out that share a link rather than a text")
    ] = None
    created_before: Annotated[
        str | None, doc("leave posts from this UTC date (YYYY-MM-DD) on out; '': none")
    ] = None
    drop_deleted_authors: Annotated[bool | None, doc("leave posts of deleted accounts out")] = None
    drop_prompt_author: Annotated[bool | None, doc("leave self-answers out")] = None
    later_must_win: Annotated[bool | None, doc("the winner must not be the earlier response")] = (
        None
    )
    max_gap_days: Annotated[
        NonNegative | None, doc("most days between the two responses; 0: any")
    ] = None

    split: Annotated[
        str, doc("weights of train/validation/test; a question cluster is never divided")
    ] = "90/5/5"
    seed: Annotated[int, doc("seed of the split and of the choice of pairs", ge=0)] = 0
    shard_bytes: Annotated[int, doc("target size of a shard's rows before compression", ge=1)] = (
        DEFAULT_SHARD_BYTES
    )
    conversational: Annotated[
        bool | None,
        doc("fill the *_messages columns; default: only when `reply_depth` is over 1"),
    ] = None
    ids_only: Annotated[
        bool,
        doc("write ids and labels without texts; `forumprefs hydrate` fills these in again"),
    ] = False


def load(path: Path) -> dict[str, Any]:
    """Read a YAML recipe, or the recipe inside a ``manifest.json``, as a plain dict."""
    try:
        text = path.read_text(encoding="utf-8")
        # Not YAML for a manifest: YAML 1.1 reads the JSON number 1e-06 as a string.
        values = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RecipeError(f"--config {path}: {error}") from None
    if isinstance(values, dict) and "manifest_version" in values:
        values = values.get("recipe")
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise RecipeError(f"--config {path}: expected `option: value` lines, found {values!r:.60}")
    return {str(key).replace("-", "_"): value for key, value in values.items()}


def make(values: dict[str, Any]) -> Recipe:
    """Validate option values and build the recipe; raises RecipeError naming the option."""
    values = dict(values)
    docs = field_docs(Recipe)
    for name, value in values.items():
        wants_list = name in docs and str(docs[name][0]).startswith("tuple")
        if wants_list and isinstance(value, str):
            values[name] = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(values.get("languages"), list):
        values["languages"] = [str(code).lower() for code in values["languages"]]
    if isinstance(values.get("created_before"), date):
        values["created_before"] = values["created_before"].isoformat()
    try:
        recipe = msgspec.convert(values, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(str(error).replace("`$.", "`")) from None
    _check(recipe)
    return recipe


def _check(recipe: Recipe) -> None:
    if recipe.pairing not in PRESETS:
        raise RecipeError(
            f"pairing: no preset {recipe.pairing!r}; choose from {', '.join(PRESETS)}"
        )
    modes = [mode.value for mode in VoteMode]
    if recipe.votes is not None and recipe.votes not in modes:
        raise RecipeError(f"votes: no mode {recipe.votes!r}; choose from {', '.join(modes)}")
    kinds = [kind.value for kind in ClosedAs]
    for kind in recipe.drop_closed:
        if kind not in kinds:
            raise RecipeError(f"drop_closed: no kind {kind!r}; choose from {', '.join(kinds)}")
    if not recipe.languages:
        raise RecipeError("languages: name at least one, or `all`")
    for low, high in (
        (recipe.min_prompt_chars, recipe.max_prompt_chars),
        (recipe.min_response_chars, recipe.max_response_chars),
    ):
        if low > high:
            raise RecipeError(f"lengths: least {low} is more than most {high}")
    split_shares(recipe)
    _date_ms(recipe.created_before or "")
    for entry in recipe.input:
        kind, separator, path = entry.partition("=")
        if kind not in KINDS or not separator or not path:
            raise RecipeError(
                f"input: {entry!r} is not KIND=PATH with KIND one of {', '.join(KINDS)}"
            )
    read_rules(recipe)
    unknown = sorted(_mapping("pairs_columns", recipe.pairs_columns).keys() - COLUMNS)
    if unknown:
        raise RecipeError(
            f"pairs_columns: no column of ours is called {unknown[0]!r}; choose from "
            f"{', '.join(sorted(COLUMNS))}, and write OURS=THEIRS"
        )


STACKEXCHANGE = "stackexchange"
KINDS = (STACKEXCHANGE, *SOURCES)
"""Kinds of input there are."""


def read_rules(recipe: Recipe) -> ReadRules:
    """The recipe's options for readers."""
    return ReadRules(
        reply_depth=recipe.reply_depth,
        licenses=_mapping("licenses", recipe.licenses),
        columns=_mapping("pairs_columns", recipe.pairs_columns),
    )


def _mapping(option: str, entries: tuple[str, ...]) -> dict[str, str]:
    """Parse ``NAME=VALUE`` entries."""
    mapping: dict[str, str] = {}
    for entry in entries:
        name, _, value = entry.partition("=")
        if not name.strip() or not value.strip():
            raise RecipeError(f"{option}: {entry!r} is not NAME=VALUE")
        if mapping.setdefault(name.strip(), value.strip()) != value.strip():
            raise RecipeError(f"{option}: {name.strip()!r} is given twice, with different values")
    return mapping


def is_conversational(recipe: Recipe) -> bool:
    """Whether the columns in turns are filled."""
    return recipe.reply_depth > 1 if recipe.conversational is None else recipe.conversational


def split_shares(recipe: Recipe) -> dict[str, int]:
    """Parse ``90/5/5`` into {split: share}; shares are whole numbers of any sum."""
    parts = recipe.split.split("/")
    shares = [int(part) for part in parts if part.strip().isdecimal()]
    if len(parts) != len(SPLITS) or len(shares) != len(SPLITS) or not sum(shares):
        raise RecipeError(
            f"split: {recipe.split!r} is not TRAIN/VALIDATION/TEST in whole numbers, such as 90/5/5"
        )
    return dict(zip(SPLITS, shares, strict=True))


def filter_rules(recipe: Recipe) -> FilterRules:
    """The recipe's rules for single posts."""
    return FilterRules(
        min_prompt_chars=recipe.min_prompt_chars,
        max_prompt_chars=recipe.max_prompt_chars,
        min_response_chars=recipe.min_response_chars,
        max_response_chars=recipe.max_response_chars,
        drop_closed=frozenset(ClosedAs(kind) for kind in recipe.drop_closed),
        max_flags=recipe.max_flags,
        drop_nsfw=recipe.drop_nsfw,
        drop_pinned=recipe.drop_pinned,
        drop_bots=recipe.drop_bots,
        drop_hidden_scores=recipe.drop_hidden_scores,
        min_score_age_hours=recipe.min_score_age_hours,
    )


def language_rules(recipe: Recipe) -> LanguageRules:
    """The recipe's language rules."""
    return LanguageRules(
        languages=None if "all" in recipe.languages else tuple(sorted(set(recipe.languages))),
        min_probability=recipe.min_language_probability,
        min_prose_chars=recipe.min_prose_chars,
    )


def minhash_rules(recipe: Recipe) -> MinHashRules:
    """The recipe's deduplication rules."""
    bands, rows = bands_for(recipe.dedup_threshold)
    return MinHashRules(
        bands=bands, rows=rows, threshold=recipe.dedup_threshold, near=recipe.dedup == "near"
    )


def contamination_rules(recipe: Recipe) -> MinHashRules:
    """How threads are compared with benchmark texts: near-duplicates count, whatever ``dedup``."""
    return dataclasses.replace(minhash_rules(recipe), near=True)


SIGNATURE_LENGTH = MinHashRules().num_perm
LEAST_RECALL = 0.985


def bands_for(threshold: float) -> tuple[int, int]:
    """Return (bands, rows) with which pairs at ``threshold`` still become candidates.

    The most rows, that is the fewest false candidates, at which a pair of exactly that
    similarity shares a band with probability 0.985: 1 − (1 − threshold**rows)**bands.
    """
    for rows in range(MinHashRules().rows, 1, -1):
        bands = SIGNATURE_LENGTH // rows
        if 1 - (1 - threshold**rows) ** bands >= LEAST_RECALL:
            return bands, rows
    return SIGNATURE_LENGTH, 1


def pairing_rules(recipe: Recipe) -> PairingRules:
    """The preset with the recipe's own values over it."""
    names = {field.name for field in dataclasses.fields(PairingRules)}
    overrides = {
        name: value
        for name in Recipe.__struct_fields__
        if name in names and (value := getattr(recipe, name)) is not None
    }
    if recipe.votes is not None:
        overrides["mode"] = VoteMode(recipe.votes)
    if recipe.created_before is not None:
        overrides["created_before"] = _date_ms(recipe.created_before)
    return dataclasses.replace(preset(recipe.pairing), **overrides)


def _date_ms(text: str) -> int | None:
    """Milliseconds since the epoch at the start of a UTC date; None for ''."""
    if not text:
        return None
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        raise RecipeError(f"created_before: {text!r} is no date like 2023-01-31") from None


def resolve(recipe: Recipe) -> dict[str, Any]:
    """Return every option with its final value, as plain data for manifest and ``--config``.

    Fields that the preset decided are filled in, lists whose order means nothing are sorted,
    so equal work has an equal resolved recipe.
    """
    rules = pairing_rules(recipe)
    values: dict[str, Any] = msgspec.to_builtins(recipe)
    for name in values:
        if hasattr(rules, name):
            values[name] = getattr(rules, name)
    values["votes"] = rules.mode.value
    if rules.created_before is None:
        values["created_before"] = ""
    else:
        before = datetime.fromtimestamp(rules.created_before / 1000, UTC)
        values["created_before"] = before.date().isoformat()
    values["conversational"] = is_conversational(recipe)
    values["input"] = sorted(recipe.input)
    values["decontaminate"] = sorted(set(recipe.decontaminate))
    values["licenses"] = sorted(set(recipe.licenses))
    values["pairs_columns"] = sorted(set(recipe.pairs_columns))
    values["languages"] = sorted(set(recipe.languages))
    values["drop_closed"] = sorted(set(recipe.drop_closed))
    return values
