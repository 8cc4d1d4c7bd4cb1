"""Counts of records, from which the accounting of a run is made."""

from typing import Annotated

import msgspec

from schemas.fields import doc


class RecordCount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`count` records of kind `key` seen at `stage`; summed over the run for the accounting."""

    stage: Annotated[str, doc("a Stage value, 'rejected' or 'duplicates'")]
    key: Annotated[str, doc("what was counted, e.g. 'posts', 'Votes.up', 'duplicates'")]
    count: Annotated[int, doc("how many")]
