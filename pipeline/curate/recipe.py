"""The recipe: every option that can change an output byte, defined once.

The command line, ``--config`` files, the manifest and docs/recipe.md all derive from the
fields of :class:`Recipe`, and those of filters and of votes and pairs from the tables of rules in
`transforms.filters.post_rules` and `transforms.pairing.label_rules`. Options that only say how to
run (workers, progress, output folder) are in :mod:`pipeline.curate.options`.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec

from pipeline.curate.set_rules import (
    FILTER_OPTIONS,
    LABEL_OPTIONS,
    SET_RULES,
    listed_for_sets,
    switched_off,
)
from pipeline.errors import RecipeError
from schemas.fields import doc, field_docs, field_meta
from schemas.pair import SPLITS
from schemas.small_files import (
    SmallFileError,
    decode_json,
    fault_of,
    is_utf8,
    read_small,
)
from transforms.core import Option
from transforms.filters import FilterRules, filter_rules_for_sets
from transforms.pairing import (
    PRESETS,
    PairingRules,
    SetPairingRules,
    VoteMode,
    preset,
    rules_for_sets,
)
from transforms.readers.base import ReadRules
from transforms.readers.preferences.formats import COLUMNS
from transforms.readers.preferences.rows import KIND
from transforms.readers.registry import SOURCES

if TYPE_CHECKING:
    from transforms.dedup import MinHashRules
    from transforms.filters import LanguageRules

SETS: Final = KIND
"""The kind of source that preference sets are."""


def _filter_field(option: Option) -> tuple[str, Any, Any]:
    kind, meta = field_meta(option.kind)  # a field has one Meta
    limits = {name: getattr(meta, name) for name in ("gt", "ge", "lt", "le")}
    described = Annotated[kind, doc(option.help, **limits)]  # type: ignore[valid-type]
    return str(option.option), described, option.write(option.default)


def _label_field(option: Option) -> tuple[str, Any, Any]:
    return str(option.option), Annotated[option.kind | None, doc(option.help)], None


if TYPE_CHECKING:

    class _RuleOptions(msgspec.Struct, frozen=True):
        def __getattr__(self, option: str) -> Any: ...

else:
    _RuleOptions = msgspec.defstruct(
        "_RuleOptions",
        [*map(_filter_field, FILTER_OPTIONS), *map(_label_field, LABEL_OPTIONS)],
        kw_only=True,
        frozen=True,
    )


class Recipe(_RuleOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to curate and how: the fields below and one for each rule.

    None in a field of a label rule means: as the `pairing` preset says.
    """

    input: Annotated[
        tuple[str, ...],
        doc(
            "KIND=PATH, repeatable; KIND is "
            + ", ".join(SOURCES)
            + "; PATH is a file, an archive, a folder or a glob; docs/sources.md lists what each "
            "kind accepts"
        ),
    ] = ()
    include_meta: Annotated[
        bool, doc("also use meta sites, where a vote means agreement rather than quality")
    ] = False
    takedown: Annotated[
        str | None,
        doc(
            "file of what to exclude: ids of posts (SITE:ID) and authors (SITE:uID), and links to "
            "them; docs/sources.md lists the forms"
        ),
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
            "SITE=LICENCE or KIND=LICENCE (SPDX) for texts whose source does not say; you assert "
            "that they may be published"
        ),
    ] = ()
    pairs_columns: Annotated[
        tuple[str, ...],
        doc("OURS=THEIRS for preference sets with columns of other names, e.g. chosen=better"),
    ] = ()
    pairs_rules: Annotated[
        tuple[str, ...],
        doc(
            "options of filters, languages, votes and pairs that hold for preference sets, too, or "
            "`all`, or `none`; default: those that you give, for the defaults of the others are "
            "meant for forums"
        ),
    ] = ()

    languages: Annotated[
        tuple[str, ...], doc("ISO codes to keep, or `all`, which keeps and labels everything")
    ] = ("en",)
    language_model: Annotated[
        Literal["fasttext", "langdetect"], doc("langdetect is about 45 times slower")
    ] = "fasttext"
    min_language_probability: Annotated[
        float,
        doc(
            "a post whose language is less probable takes its thread's, if that can be "
            "(docs/design.md says when)",
            ge=0,
            le=1,
        ),
    ] = 0.65
    min_prose_chars: Annotated[
        int,
        doc(
            "posts with less prose take the language of their thread; a Chinese, Japanese or "
            "Korean character counts as three",
            ge=0,
        ),
    ] = 50

    dedup: Annotated[
        Literal["near", "exact", "off"],
        doc("near: exact, plus MinHash candidates verified by Jaccard similarity"),
    ] = "near"
    dedup_threshold: Annotated[
        float,
        doc(
            "Jaccard similarity of word 5-grams at or above which posts are duplicates", gt=0, le=1
        ),
    ] = 0.8

    pairing: Annotated[str, doc("preset of pairing rules: " + ", ".join(PRESETS))] = "all"
    vote_model: Annotated[
        str | None,
        doc(
            "file with the vote model to use, or manifest.json of a run that fitted one; fills the "
            "debiased columns in every vote mode; default: `votes: debiased` fits one on the input"
        ),
    ] = None

    split: Annotated[
        str,
        doc(
            "weights of train/validation/test; threads that share text or are linked as duplicates "
            "are never divided"
        ),
    ] = "90/5/5"
    seed: Annotated[int, doc("seed of the split and of the choice of pairs", ge=0)] = 0
    shard_bytes: Annotated[int, doc("target size of a shard's rows before compression", ge=1)] = (
        512 * 1024 * 1024
    )
    conversational: Annotated[
        bool | None,
        doc("fill the *_turns columns; default: only when `reply_depth` is over 1"),
    ] = None
    ids_only: Annotated[
        bool,
        doc("write ids and labels without texts; `forumprefs hydrate` fills these in again"),
    ] = False


def load(path: Path) -> dict[str, Any]:
    """Read a YAML recipe, or the recipe inside a ``manifest.json``, as a plain dict.

    Raises RecipeError. A pipe will do, as in ``--config <(...)``.
    """
    from schemas.small_yaml import decode_yaml  # loads PyYAML, so not for --help

    try:
        content = read_small(path, pipes=True)
        # Not YAML for a manifest: YAML 1.1 reads the JSON number 1e-06 as a string.
        values = decode_json(content) if path.suffix == ".json" else decode_yaml(content)
    except (OSError, SmallFileError) as error:
        raise RecipeError(f"--config {path}: {fault_of(error)}") from None
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
    values["pairs_rules"] = listed_for_sets(values)
    if isinstance(values.get("languages"), list):
        values["languages"] = [str(code).lower() for code in values["languages"]]
    # YAML takes a date without quotes for one.
    values = {k: v.isoformat() if isinstance(v, date) else v for k, v in values.items()}
    check_values(values)
    try:
        recipe = msgspec.convert(values, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(str(error).replace("`$.", "`")) from None
    _check(recipe)
    return recipe


def check_values(values: Mapping[str, Any]) -> None:
    """Refuse what no option takes and no manifest could hold; raises RecipeError."""
    for name, value in values.items():
        for one in value if isinstance(value, list | tuple) else (value,):
            _check_value(name, one)


def _check_value(name: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise RecipeError(f"{name}: {value} is not a finite number")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise RecipeError(f"{name}: a number has more than 64 bits")
    if isinstance(value, str) and ("\0" in value or not is_utf8(value)):
        raise RecipeError(f"{name}: {value!r:.60} holds a zero character, or one that is not UTF-8")


def _check(recipe: Recipe) -> None:
    if recipe.pairing not in PRESETS:
        raise RecipeError(
            f"pairing: no preset {recipe.pairing!r}; choose from {', '.join(PRESETS)}"
        )
    if not recipe.languages:
        raise RecipeError("languages: name at least one, or `all`")
    for low, high in (
        (recipe.min_prompt_chars, recipe.max_prompt_chars),
        (recipe.min_response_chars, recipe.max_response_chars),
    ):
        if low > high:
            raise RecipeError(f"lengths: minimum {low} is more than maximum {high}")
    unknown = sorted(set(recipe.pairs_rules) - set(SET_RULES))
    if unknown:
        raise RecipeError(
            f"pairs_rules: no option {unknown[0]!r} to hold for preference sets; choose from "
            f"{', '.join(SET_RULES)}, or all, or none"
        )
    split_shares(recipe)
    filter_rules(recipe)
    pairing_rules(recipe)
    for entry in recipe.input:
        kind, separator, path = entry.partition("=")
        if kind not in SOURCES or not separator or not path:
            raise RecipeError(
                f"input: {entry!r} is not KIND=PATH with KIND one of {', '.join(SOURCES)}"
            )
    read_rules(recipe)
    unnamed = sorted(_mapping("pairs_columns", recipe.pairs_columns).keys() - COLUMNS)
    if unnamed:
        raise RecipeError(
            f"pairs_columns: no column of ours is called {unnamed[0]!r}; choose from "
            f"{', '.join(sorted(COLUMNS))}, and write OURS=THEIRS"
        )


def read_rules(recipe: Recipe) -> ReadRules:
    """The recipe's options for readers."""
    return ReadRules(
        reply_depth=recipe.reply_depth,
        licenses=_mapping("licenses", recipe.licenses),
        columns=_mapping("pairs_columns", recipe.pairs_columns),
        include_meta=recipe.include_meta,
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


_SHARE = re.compile(r"\d{1,15}")


def split_shares(recipe: Recipe) -> dict[str, int]:
    """Parse ``90/5/5`` into {split: share}; shares are whole numbers of any sum."""
    parts = recipe.split.split("/")
    shares = [int(part) for part in parts if _SHARE.fullmatch(part.strip())]
    if len(parts) != len(SPLITS) or len(shares) != len(SPLITS) or not sum(shares):
        raise RecipeError(
            f"split: {recipe.split!r} is not TRAIN/VALIDATION/TEST in whole numbers, such as 90/5/5"
        )
    return dict(zip(SPLITS, shares, strict=True))


def filter_rules(recipe: Recipe) -> FilterRules:
    """The recipe's rules for single posts."""
    return FilterRules(**_read(FILTER_OPTIONS, recipe))


def set_filter_rules(recipe: Recipe) -> FilterRules:
    """The recipe's rules for single posts of preference sets."""
    return filter_rules_for_sets(filter_rules(recipe), recipe.pairs_rules)


def _read(options: Iterable[Option], recipe: Recipe) -> dict[str, Any]:
    """Values of the options that the recipe states, as the steps use them."""
    values = {}
    for option in options:
        name = str(option.option)
        written = getattr(recipe, name)
        if written is not None:
            try:
                values[name] = option.read(written)
            except ValueError as error:
                raise RecipeError(f"{name}: {error}") from None
    return values


def language_rules(recipe: Recipe) -> "LanguageRules":
    """The recipe's language rules."""
    from transforms.filters import LanguageRules  # loads Beam, so not for --help

    return LanguageRules(
        languages=None if "all" in recipe.languages else tuple(sorted(set(recipe.languages))),
        min_probability=recipe.min_language_probability,
        min_prose_chars=recipe.min_prose_chars,
        kept_sources=() if "languages" in recipe.pairs_rules else (SETS,),
    )


def minhash_rules(recipe: Recipe) -> "MinHashRules":
    """The recipe's deduplication rules."""
    from transforms.dedup import MinHashRules, bands_for  # loads numpy, so not for --help

    bands, rows = bands_for(recipe.dedup_threshold)
    return MinHashRules(
        bands=bands, rows=rows, threshold=recipe.dedup_threshold, near=recipe.dedup == "near"
    )


def contamination_rules(recipe: Recipe) -> "MinHashRules":
    """How threads are compared with benchmark texts: near-duplicates count, whatever ``dedup``."""
    return dataclasses.replace(minhash_rules(recipe), near=True)


def pairing_rules(recipe: Recipe) -> PairingRules:
    """The preset with the recipe's own values over it."""
    own = _read(LABEL_OPTIONS, recipe)
    return dataclasses.replace(preset(recipe.pairing), **own, seed=recipe.seed)


def fits_vote_model(recipe: Recipe) -> bool:
    """Whether the run fits a vote model of its own."""
    return recipe.vote_model is None and pairing_rules(recipe).votes is VoteMode.DEBIASED


def set_pairing_rules(recipe: Recipe) -> SetPairingRules:
    """The recipe's rules for pairs of preference sets."""
    return rules_for_sets(pairing_rules(recipe), recipe.pairs_rules)


MANIFEST_ORDER: Final = (
    *("input", "include_meta", "takedown", "decontaminate", "reply_depth", "licenses"),
    *("pairs_columns", "min_prompt_chars", "max_prompt_chars", "min_response_chars"),
    *("max_response_chars", "drop_closed", "max_flags", "drop_nsfw", "drop_pinned", "drop_bots"),
    *("drop_hidden_scores", "min_score_age_hours", "languages", "language_model"),
    *("min_language_probability", "min_prose_chars", "dedup", "dedup_threshold", "pairing"),
    *("votes", "min_margin", "min_ratio", "max_pairs_per_thread", "min_prompt_score"),
    *("min_response_score", "max_responses", "drop_edited", "drop_edited_prompts", "drop_staff"),
    *("drop_links", "created_before", "drop_deleted_authors", "drop_prompt_author"),
    *("later_must_win", "max_gap_days", "split", "seed", "shard_bytes", "conversational"),
    "ids_only",
)
"""How the options of the first manifests stand in them, so that these keep their bytes.

Nothing needs to be added here: other options follow in the order of the fields."""


def resolve(recipe: Recipe) -> dict[str, Any]:
    """Return every option with its final value, as plain data for manifest and ``--config``.

    Fields that the preset decided are filled in, lists whose order means nothing are sorted,
    so equal work has an equal resolved recipe.
    """
    values: dict[str, Any] = msgspec.to_builtins(recipe)
    rules = pairing_rules(recipe)
    for options, used in ((LABEL_OPTIONS, rules), (FILTER_OPTIONS, filter_rules(recipe))):
        for option in options:
            name = str(option.option)
            written = option.write(getattr(used, name))
            values[name] = list(written) if isinstance(written, tuple) else written
    values["conversational"] = is_conversational(recipe)
    values["input"] = sorted(recipe.input)
    values["pairs_rules"] = _asked_of_sets(recipe)
    for name in ("decontaminate", "licenses", "pairs_columns", "languages"):
        values[name] = sorted(set(values[name]))
    known = [name for name in MANIFEST_ORDER if name in values]
    return {name: values[name] for name in dict.fromkeys((*known, *values))}


def _asked_of_sets(recipe: Recipe) -> list[str]:
    """Which options change what becomes of preference sets; none where there are no sets."""
    if not any(entry.partition("=")[0] == SETS for entry in recipe.input):
        return []
    off = switched_off(FILTER_OPTIONS, filter_rules(recipe))
    off |= switched_off(LABEL_OPTIONS, pairing_rules(recipe))
    if "all" in recipe.languages:
        off.add("languages")
    return sorted(set(recipe.pairs_rules) - off)
