"""A batch of pairs as prompts with their distinct responses, each to be encoded once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from schemas.words import count_words_and_signs
from training.data.context_line import ContextKind, with_context
from training.data.dataset import PairDataset, PairRows, concatenate, tags_of
from training.data.sampler import BatchSampler, window_order
from training.data.selection import ALL_PAIRS, Selection
from training.data.tokenizer import Ids, PairTokenizer


@dataclass(frozen=True)
class PairOfGroup:
    """One pair: indices of its responses in the group, and its labels."""

    chosen: int
    rejected: int
    row: int
    """Number of the pair in its batch."""
    weight: float
    confidence: float
    margin: float
    site: str
    chosen_length: int = 0
    """Words and marks of the uncut text, where they were asked for."""
    rejected_length: int = 0


@dataclass(frozen=True)
class PromptGroup:
    """A prompt, its distinct responses, and the pairs among them."""

    prompt: Ids
    responses: tuple[Ids, ...]
    pairs: tuple[PairOfGroup, ...]

    @property
    def shared_tokens(self) -> int:
        """Tokens when the prompt is encoded once."""
        return len(self.prompt) + sum(map(len, self.responses))

    @property
    def packed_tokens(self) -> int:
        """Tokens when each (prompt, response) is a sequence of its own."""
        return len(self.prompt) * len(self.responses) + sum(map(len, self.responses))


@dataclass
class GroupedBatch:
    """One rank's part of a step, and what was excluded from it."""

    groups: list[PromptGroup] = field(default_factory=list)
    identical: int = 0
    """Pairs whose two responses became the same tokens when they were cut."""
    unsure: int = 0
    """Pairs under `min_confidence`."""
    too_clear: int = 0
    """Other pairs over `max_margin`."""
    at_limit: int = 0
    """Sequences of `max_length` or with a prompt of `max_prompt_length`: cut, or just so long."""


class ShuffleWindows:
    """The shuffled rows of windows; keeps the last two, since a step can lie in both."""

    def __init__(self, dataset: PairDataset) -> None:
        self._dataset = dataset
        self._rows = lru_cache(maxsize=2)(self._read)

    def _read(self, row_groups: tuple[int, ...], key: str) -> PairRows:
        with ThreadPoolExecutor(4) as pool:  # far away, reading is waiting
            rows = concatenate(list(pool.map(self._dataset.read, row_groups)))
        return rows.take(window_order(rows.prompts, key))

    def batch(self, sampler: BatchSampler, step: int) -> PairRows:
        """The rows of a step, in the sampler's order."""
        return concatenate(
            [
                self._rows(piece.row_groups, piece.key).take(range(piece.begin, piece.end))
                for piece in sampler.slices(step)
            ]
        )


def prompt_runs(rows: PairRows) -> list[range]:
    """Cut rows into runs of neighbours that share their prompt."""
    return equal_runs(rows.prompts)


def equal_runs(keys: Sequence[object]) -> list[range]:
    """Cut a sequence into runs of equal neighbours."""
    starts = [at for at in range(len(keys)) if at == 0 or keys[at] != keys[at - 1]]
    return [range(a, b) for a, b in zip(starts, [*starts[1:], len(keys)], strict=True)]


def shard_by_rank(rows: PairRows, ranks: int) -> list[list[range]]:
    """Shard a batch's prompts by rank, so that each gets about as much text.

    Longest first, each to the rank with the smallest load: a pure function of the rows and
    ``ranks``.
    A rank's runs come back in the order of the rows.
    """
    runs = prompt_runs(rows)
    sizes = [
        len(rows.prompt[run.start])
        + sum(map(len, {rows.chosen[row] for row in run} | {rows.rejected[row] for row in run}))
        for run in runs
    ]
    return balanced(runs, sizes, ranks)


def balanced(runs: Sequence[range], sizes: Sequence[int], ranks: int) -> list[list[range]]:
    """Give runs of some sizes to ranks; see :func:`shard_by_rank`."""
    loads = [0] * ranks
    shards: list[list[range]] = [[] for _ in range(ranks)]
    for size, run in sorted(zip(sizes, runs, strict=True), key=lambda x: (-x[0], x[1].start)):
        rank = loads.index(min(loads))
        loads[rank] += size
        shards[rank].append(run)
    return [sorted(shard, key=lambda run: run.start) for shard in shards]


def group_pairs(
    rows: PairRows,
    runs: Sequence[range],
    tokenizer: PairTokenizer,
    *,
    prompt_weights: Literal["prompt", "pair"] = "prompt",
    selection: Selection = ALL_PAIRS,
    lengths: bool = False,
) -> GroupedBatch:
    """Tokenise runs of rows: each prompt once, each distinct response once.

    ``lengths``: count the words and marks of the responses, too.

    Pairs that ``selection`` leaves out and pairs that became identical are excluded and counted.
    """
    batch = GroupedBatch()
    prompts = tokenizer.prompts(
        [prompt_text(rows, run.start, tokenizer.template.context) for run in runs]
    )
    for run, prompt in zip(runs, prompts, strict=True):
        of_run = slice(run.start, run.stop)
        confidence, margin = rows.confidence[of_run], rows.vote_margin[of_run]
        counts = selection.count(confidence, margin)
        batch.unsure += counts["below_min_confidence"]
        batch.too_clear += counts["above_max_margin"]
        used = selection.keeps(confidence, margin)
        kept = [row for row, is_used in zip(run, used, strict=True) if is_used]
        texts = list(
            dict.fromkeys(t for row in kept for t in (rows.chosen[row], rows.rejected[row]))
        )
        if not texts:
            continue
        length = {text: count_words_and_signs(text) if lengths else 0 for text in texts}
        # Texts that are the same tokens are one response.
        responses: dict[bytes, int] = {}
        distinct: list[Ids] = []
        index = {}
        for text, ids in zip(texts, tokenizer.responses(texts, len(prompt)), strict=True):
            index[text] = responses.setdefault(ids.tobytes(), len(distinct))
            if index[text] == len(distinct):
                distinct.append(ids)
        batch.at_limit += sum(
            len(prompt) == tokenizer.max_prompt_length
            or len(prompt) + len(ids) == tokenizer.max_length
            for ids in distinct
        )
        pairs = []
        for row in kept:
            chosen, rejected = index[rows.chosen[row]], index[rows.rejected[row]]
            if chosen == rejected:
                batch.identical += 1
                continue
            weight = 1.0 / rows.prompt_pairs[row] if prompt_weights == "prompt" else 1.0
            pairs.append(
                PairOfGroup(
                    chosen=chosen,
                    rejected=rejected,
                    row=row,
                    weight=float(weight) * float(rows.propensity_weight[row]),
                    confidence=float(rows.confidence[row]),
                    margin=float(rows.vote_margin[row]),
                    site=rows.site[row],
                    chosen_length=length[rows.chosen[row]],
                    rejected_length=length[rows.rejected[row]],
                )
            )
        if pairs:
            batch.groups.append(_used(PromptGroup(prompt, tuple(distinct), tuple(pairs))))
    return batch


def prompt_text(rows: PairRows, row: int, context: ContextKind) -> str:
    """The prompt of a row, with the line before it that the model reads."""
    return with_context(rows.prompt[row], rows.site[row], tags_of(rows, row), context)


def _used(group: PromptGroup) -> PromptGroup:
    """Drop responses that no pair uses any more."""
    used = sorted({i for pair in group.pairs for i in (pair.chosen, pair.rejected)})
    return subgroup(group, group.pairs) if len(used) < len(group.responses) else group


def subgroup(group: PromptGroup, pairs: Sequence[PairOfGroup]) -> PromptGroup:
    """Some pairs of a group, with the responses that they use."""
    used = sorted({i for pair in pairs for i in (pair.chosen, pair.rejected)})
    place = {index: number for number, index in enumerate(used)}
    return PromptGroup(
        group.prompt,
        tuple(group.responses[index] for index in used),
        tuple(
            replace(pair, chosen=place[pair.chosen], rejected=place[pair.rejected])
            for pair in pairs
        ),
    )


def split_group(group: PromptGroup, tokens: int) -> list[PromptGroup]:
    """Cut a group into ones of at most ``tokens`` tokens, prompt shared; a pair stays whole."""
    if group.shared_tokens <= tokens:
        return [group]
    parts: list[PromptGroup] = []
    taken: list[PairOfGroup] = []
    for pair in group.pairs:
        grown = subgroup(group, [*taken, pair])
        if taken and grown.shared_tokens > tokens:
            parts.append(subgroup(group, taken))
            taken = []
        taken.append(pair)
    return [*parts, subgroup(group, taken)]
