"""The fitted vote model, as it stands in the manifest and in a file of its own.

What the numbers mean and how they are found: transforms/pairing/vote_model.py.
"""

from typing import Annotated, Any

import msgspec

from schemas.fields import doc
from schemas.small_files import SmallFileError, convert, decode_json


class VoteEffects(msgspec.Struct, frozen=True, kw_only=True):
    """What moves votes on a site, in log-odds, and how far qualities lie apart there."""

    log_rank: Annotated[float, doc("upvotes: of the log of the place on the page")]
    accepted: Annotated[float, doc("upvotes: of being accepted")]
    log_age: Annotated[float, doc("upvotes: of the log of the age in days")]
    fresh: Annotated[float, doc("upvotes: of the first two days")]
    first_day: Annotated[float, doc("upvotes: of the day of appearance")]
    head_start: Annotated[
        float, doc("quality: of asinh of the net votes from before there was another response")
    ]
    down_log_rank: Annotated[float, doc("downvotes: the same effects")]
    down_accepted: Annotated[float, doc("downvotes")]
    down_log_age: Annotated[float, doc("downvotes")]
    down_fresh: Annotated[float, doc("downvotes")]
    down_first_day: Annotated[float, doc("downvotes")]
    down_head_start: Annotated[float, doc("downvotes")]
    accept_log_rank: Annotated[float, doc("acceptance: the same effects")]
    accept_log_age: Annotated[float, doc("acceptance")]
    accept_fresh: Annotated[float, doc("acceptance")]
    accept_first_day: Annotated[float, doc("acceptance")]
    accept_head_start: Annotated[float, doc("acceptance")]
    down_scale: Annotated[float, doc("how much of the quality, negated, moves downvotes")]
    accept_scale: Annotated[float, doc("how much of the quality moves acceptance")]
    sigma: Annotated[float, doc("standard deviation of qualities, in log-odds; > 0", gt=0)]


class VoteModel(msgspec.Struct, frozen=True, kw_only=True):
    """Effects of every site that had votes, and those common to sites."""

    common: Annotated[VoteEffects, doc("for sites without their own")]
    sites: Annotated[dict[str, VoteEffects], doc("by site, drawn to the common ones")]
    votes: Annotated[int, doc("number of votes they were fitted on", ge=0)]
    questions: Annotated[int, doc("number of questions with such votes", ge=0)]

    def effects_of(self, site: str) -> VoteEffects:
        return self.sites.get(site, self.common)


def encode_vote_model(model: VoteModel) -> bytes:
    """Return the bytes of a file that :func:`decode_vote_model` reads."""
    ordered = msgspec.structs.replace(model, sites=dict(sorted(model.sites.items())))
    return msgspec.json.format(msgspec.json.encode(ordered), indent=2) + b"\n"


def decode_vote_model(content: bytes) -> VoteModel:
    """Decode a vote model, or the one inside a manifest.json; raises SmallFileError."""
    values: Any = decode_json(content)
    if isinstance(values, dict) and "manifest_version" in values:
        values = values.get("vote_model")
        if values is None:
            raise SmallFileError("is the manifest of a run that fitted no vote model")
    return convert(values, VoteModel)
