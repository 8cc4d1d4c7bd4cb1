"""What became of posts in a dataset: paired, rejected for a reason, a duplicate, or never read."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.folder import DatasetFolder
from schemas.audit import REASON_DOCS, Reason
from schemas.fields import doc
from schemas.ids import hash63
from transforms.pairing.votes import VoteMode

NOT_IN_INPUT = "not_in_input"
DUPLICATE = "duplicate"
UNKNOWN_REASON = "unknown_reason"

EQUAL_SCORES = "equal_scores"
THREAD_FULL = "thread_full"
OTHER_PAIRS = "only_in_other_pairs"

CONSEQUENCES = (
    Reason.ORPHAN_RESPONSE,
    Reason.TOO_FEW_RESPONSES,
    Reason.PROMPT_REJECTED,
    Reason.PROMPT_DUPLICATE,
    Reason.NO_PAIR,
    Reason.REPEATED_ID,
)
"""Reasons that follow from what happened to another post; they explain a pair last."""

_CAUSES = [reason for reason in Reason if reason not in CONSEQUENCES]
_AFTER_LANGUAGE = _CAUSES.index(Reason.LANGUAGE) + 1
OUTCOMES: Final = (
    "kept",
    NOT_IN_INPUT,
    *(reason.value for reason in _CAUSES[:_AFTER_LANGUAGE]),
    DUPLICATE,
    *(reason.value for reason in _CAUSES[_AFTER_LANGUAGE:]),
    *(reason.value for reason in CONSEQUENCES),
    UNKNOWN_REASON,
)
"""What can become of a post, in the order in which it explains a pair that is missing."""

OUTCOME_DOCS: Final[Mapping[str, str]] = {
    NOT_IN_INPUT: "not in the inputs",
    DUPLICATE: "a duplicate of a post that stays",
    UNKNOWN_REASON: "rejected for a reason that this version of forumprefs does not know",
    EQUAL_SCORES: "both responses are in other pairs, and have equal scores",
    THREAD_FULL: "both responses are in other pairs; their thread has as many as allowed",
    OTHER_PAIRS: "both responses are in other pairs, but not in one",
    **{reason.value: text for reason, text in REASON_DOCS.items()},
}
"""What each word of an `Explanation` means."""

_RANKS = {outcome: rank for rank, outcome in enumerate(OUTCOMES)}
_KEPT = _RANKS["kept"]
_UNSEEN = len(OUTCOMES)
_PAIR_ONLY = (OTHER_PAIRS, THREAD_FULL, EQUAL_SCORES)

Array = np.ndarray[tuple[int], np.dtype[Any]]
Posts = np.ndarray[tuple[int, int], np.dtype[np.int64]]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why pairs, and the posts in them, are not in a dataset: counts, the largest first."""

    pairs: Annotated[
        dict[str, int],
        doc(
            "pairs by what became of their posts there: a reason of the rejected table, "
            "'duplicate' or 'not_in_input', the first cause where there are several; when all "
            "posts are in other pairs: 'equal_scores', 'thread_full' (it has as many pairs as "
            "allowed) or 'only_in_other_pairs'"
        ),
    ] = {}
    posts: Annotated[dict[str, int], doc("posts of these pairs that are in no pair there")] = {}


def post_hashes(pairs: pa.Table) -> Posts:
    """Return hash63 of the prompt, chosen and rejected ids of every pair: int64 (pairs, 3)."""
    columns = [_hashes(pairs[name]) for name in ("prompt_id", "chosen_id", "rejected_id")]
    return np.stack(columns, axis=1)


def explain_missing_pairs(posts: Posts, folder: DatasetFolder) -> Explanation:
    """Look up why pairs of ``posts`` (see `post_hashes`) are not in ``folder``.

    Posts are told apart by 63-bit hashes: among 10**8 posts here and there, one is counted
    under another's reason with a chance of about 0.1 %. Memory: about 130 bytes per pair.
    """
    if not len(posts):
        return Explanation()
    known = _Known(posts)
    known.read_audit(folder)
    known.read_pairs(folder)
    ranks = np.where(known.ranks == _UNSEEN, np.int8(_RANKS[NOT_IN_INPUT]), known.ranks)
    place = np.searchsorted(known.names, posts)
    of_posts = ranks[place]
    of_pairs = np.where(of_posts == _KEPT, _UNSEEN, of_posts).min(axis=1)
    in_other_pairs = of_pairs == _UNSEEN
    recipe = folder.manifest.recipe
    limit = recipe.get("max_pairs_per_thread")
    if isinstance(limit, int) and limit > 0:
        of_pairs[in_other_pairs & (known.pairs[place[:, 0]] >= limit)] = _UNSEEN + 1
    if recipe.get("votes") != VoteMode.COMMON_WINDOW.value:  # there, scores are of a pair
        scores = known.scores[place]
        of_pairs[in_other_pairs & (scores[:, 1] == scores[:, 2])] = _UNSEEN + 2
    return Explanation(pairs=_counts(of_pairs), posts=_counts(ranks[ranks != _KEPT]))


class _Known:
    """What is known about each of some posts, ordered by their hashes."""

    def __init__(self, posts: Posts) -> None:
        self.names = np.unique(posts)
        self.ranks = np.full(len(self.names), _UNSEEN, np.int8)
        self.scores = np.full(len(self.names), np.nan)
        self.pairs = np.zeros(len(self.names), np.int32)

    def read_audit(self, folder: DatasetFolder) -> None:
        """Take the outcomes of posts that the dataset excludes."""
        for batch in folder.read_columns("rejected", ("id", "reason", "record")):
            rows = batch.filter(pc.equal(batch["record"], "post"))
            reasons = rows["reason"].dictionary_encode()
            unknown = _RANKS[UNKNOWN_REASON]
            ranks = [_RANKS.get(name, unknown) for name in reasons.dictionary.to_pylist()]
            self._rank(rows["id"], np.array(ranks, np.int8)[reasons.indices.to_numpy()])
        for batch in folder.read_columns("duplicates", ("removed_id",)):
            self._rank(batch["removed_id"], np.int8(_RANKS[DUPLICATE]))

    def read_pairs(self, folder: DatasetFolder) -> None:
        """Take the scores of posts in pairs, and the number of pairs of each prompt."""
        columns = ["prompt_id", "chosen_id", "rejected_id", "chosen_score", "rejected_score"]
        schema = folder.schema("data")
        if schema is not None and "context_ids" in schema.names:
            columns.append("context_ids")
        for batch in folder.read_columns("data", columns):
            for side in ("chosen", "rejected"):
                place, found = self._rank(batch[f"{side}_id"], np.int8(_KEPT))
                self.scores[place] = batch[f"{side}_score"].to_numpy()[found]
            if "context_ids" in columns:
                context = pc.list_flatten(batch["context_ids"])
                self._rank(pc.unique(context), np.int8(_KEPT))
            prompts = batch["prompt_id"].value_counts()
            place, found = self._rank(prompts.field("values"), np.int8(_KEPT))
            self.pairs[place] += prompts.field("counts").to_numpy()[found]

    def _rank(self, ids: pa.Array, ranks: Array | np.int8) -> tuple[Array, Array]:
        """Note the ranks of posts; return the places of those that are known, and which are."""
        hashes = _hashes(ids)
        place = np.minimum(np.searchsorted(self.names, hashes), len(self.names) - 1)
        found = self.names[place] == hashes
        place = place[found]
        np.minimum.at(self.ranks, place, np.broadcast_to(ranks, len(found))[found])
        return place, found


def _hashes(ids: pa.Array) -> Array:
    return np.array([hash63(name) for name in ids.to_pylist()], np.int64)


def _counts(ranks: Iterable[int]) -> dict[str, int]:
    names = (*OUTCOMES, *_PAIR_ONLY)
    found = zip(*np.unique(np.asarray(ranks), return_counts=True), strict=True)
    counts = Counter({names[rank]: int(count) for rank, count in found})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
