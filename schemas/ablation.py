"""What a comparison of labels asks of the trainer, and what comes back: the two small files that
pass between ``forumprefs ablate``, which makes the datasets, and the layer that trains on them."""

from typing import Annotated, Any, Final, Literal

import msgspec

from schemas.fields import doc
from schemas.noise_ceiling import NoiseCeiling

JOB_NAME: Final = "job.json"
RESULTS_NAME: Final = "results.json"
RESULTS_VERSION: Final = "1.0.0"
"""Layout of ``results.json``: major for a removed or renamed field, minor for a new one."""

WORDS: Final = "words"
"""Features that need no model: counts of hashed words."""

FORUM: Final = "forum"
"""Kind of a suite that is a dataset folder of pairs, of which each split is held out in turn."""


class ArmJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way of labelling, with the pairs that it gives."""

    name: str
    dataset: Annotated[str, doc("dataset folder")]
    loss: Annotated[dict[str, Any], doc("settings of the section `loss`")] = {}
    toss: Annotated[
        bool, doc("the control of shuffled labels: toss the coin anew for each seed of a head")
    ] = False
    runs: Annotated[
        tuple[str, ...], doc("finished runs of `train`, one a seed; empty: heads are trained here")
    ] = ()


class SuiteJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the arms are judged on."""

    name: Annotated[str, doc("as the results call it")]
    kind: Annotated[str, doc("'forum', or a benchmark of `evaluate`, such as 'llmbar'")]
    location: Annotated[str, doc("dataset folder, or the benchmark's files")]
    limit: Annotated[int | None, doc("so many items only; null: all")] = None


class AblationJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``job.json``: what is to be trained and judged."""

    arms: tuple[ArmJob, ...]
    reference: Annotated[str, doc("arm that the others are compared with")]
    suites: tuple[SuiteJob, ...]
    features: Annotated[str, doc("'words', or a model whose weights stay as they are")] = WORDS
    seeds: Annotated[int, doc("heads of an arm", ge=1)] = 5
    rotate: Annotated[
        bool, doc("judge each split by heads of the other two; else only `test`, by the others")
    ] = True
    max_length: Annotated[int, doc("tokens that a model reads", ge=16)] = 256
    batch_tokens: Annotated[int, doc("tokens of a batch", ge=16)] = 8192
    device: str = "auto"
    bootstrap: Annotated[int, doc("resamples behind each interval", ge=100)] = 2000
    seed: Annotated[int, doc("of everything that is drawn", ge=0)] = 0


class Span(msgspec.Struct, frozen=True):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class ArmFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracies of an arm on a suite, means over seeds; ties of scores count one half."""

    arm: str
    accuracy: Span
    chosen_longer: Annotated[Span | None, doc("where the preferred response is the longer one")]
    chosen_shorter: Annotated[Span | None, doc("where it is the shorter one")]
    without_style: Annotated[
        Span | None, doc("with what length and Markdown explain taken out of the scores")
    ]
    seed_deviation: Annotated[float, doc("standard deviation of the accuracy over seeds")]


class ArmDifference(msgspec.Struct, frozen=True, kw_only=True):
    """An arm against the reference on the same comparisons, questions and seeds."""

    arm: str
    figure: Literal["accuracy", "without_style"]
    difference: Annotated[Span, doc("accuracy of the arm minus that of the reference")]
    p: Annotated[float, doc("two-sided, by the normal distribution and the bootstrap's deviation")]
    p_holm: Annotated[float, doc("corrected over the arms of this suite and figure (Holm 1979)")]
    detectable: Annotated[
        float, doc("true difference that would be found 4 times in 5 at the corrected level")
    ]


class SuiteFigures(msgspec.Struct, frozen=True, kw_only=True):
    """All arms on one suite."""

    name: str
    kind: str
    comparisons: int
    questions: Annotated[int, doc("what is drawn as a whole: threads or prompts")]
    ceiling: Annotated[NoiseCeiling | None, doc("of its labels; null: no votes")]
    longer: Annotated[Span, doc("accuracy of 'the longer response wins'")]
    arms: tuple[ArmFigures, ...]
    differences: tuple[ArmDifference, ...]


class ArmSize(msgspec.Struct, frozen=True, kw_only=True):
    """What an arm was trained on."""

    arm: str
    pairs: int
    questions: int
    words: Annotated[int, doc("words and marks of prompts and responses, by pair")]
    longer: Annotated[float, doc("share of pairs whose preferred response is the longer one")]
    ridges: Annotated[tuple[float, ...], doc("penalties that its heads chose, by split")] = ()


class AblationResults(msgspec.Struct, frozen=True, kw_only=True):
    """``results.json``."""

    version: str = RESULTS_VERSION
    reference: str
    features: Annotated[str, doc("what the heads read, in words; or how the models were trained")]
    seeds: int
    rotate: bool
    bootstrap: int
    arms: tuple[ArmSize, ...]
    suites: tuple[SuiteFigures, ...]
    warnings: tuple[str, ...] = ()
