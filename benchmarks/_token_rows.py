"""The pairs of a batch as other trainers take them: token ids of both sides."""

from typing import Any

from training.data.prompt_groups import GroupedBatch


def token_rows(batch: GroupedBatch) -> list[dict[str, Any]]:
    """A row for each pair, in the order of the batch: ids, and the tokens of the longer side."""
    laid = sorted(
        ((pair.row, group, pair) for group in batch.groups for pair in group.pairs),
        key=lambda entry: entry[0],
    )
    rows = []
    for _, group, pair in laid:
        chosen, rejected = (
            [*group.prompt.tolist(), *group.responses[side].tolist()]
            for side in (pair.chosen, pair.rejected)
        )
        longest = max(len(chosen), len(rejected))
        rows.append({"chosen_ids": chosen, "rejected_ids": rejected, "length": longest})
    return rows
