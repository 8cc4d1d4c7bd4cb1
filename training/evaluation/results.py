"""What an evaluation finds, as written to ``results.json``."""

from typing import Annotated

import msgspec

from schemas.fields import doc
from schemas.noise_ceiling import NoiseCeiling
from training.evaluation.style import Style
from training.uncertainty.intervals import IntervalFigures
from training.validation.bootstrap import Estimate
from training.validation.metrics import Bin, Figure

RESULTS_VERSION = "2.4.0"
"""Semantic version of the layout of ``results.json``."""
RESULTS_NAME = "results.json"


class BaselineFigure(msgspec.Struct, frozen=True, kw_only=True):
    """What a scorer that reads no text gets."""

    value: Annotated[float, doc("the figure, ties one half")]
    low: Annotated[float, doc("95 % interval over prompts")]
    high: float
    ahead: Annotated[
        Estimate, doc("model − baseline, on the same resampled prompts, ties one half")
    ]


class FigureResult(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of a suite."""

    name: str
    about: Annotated[str, doc("how it is made; ''")]
    count: Annotated[int, doc("comparisons, or items, behind it")]
    value: Annotated[float, doc("as published, ties included")]
    low: Annotated[float, doc("95 % bootstrap interval over prompts")]
    high: float
    half: Annotated[float, doc("the same with ties at one half, as the baselines have them")]
    half_low: Annotated[
        float | None, doc("95 % interval of that; null: written by 2.2 or before")
    ] = None
    half_high: float | None = None
    baselines: Annotated[dict[str, BaselineFigure], doc("by name")]
    noise_ceiling: Annotated[
        NoiseCeiling | None,
        doc(
            "highest accuracy to be expected of a scorer without the votes, by the labels' "
            "confidence; null: not known, or no accuracy over pairs"
        ),
    ] = None

    @property
    def with_ties_half(self) -> Estimate:
        """What stands beside the baselines: one rule for ties."""
        if self.half_low is None or self.half_high is None:
            return Estimate(self.half, self.low, self.high)
        return Estimate(self.half, self.half_low, self.half_high)


class Human(msgspec.Struct, frozen=True, kw_only=True):
    """How often one picks what two people agree on, over the same votes, each left out once."""

    agreement: Annotated[float, doc("of a third person")]
    model: Annotated[float, doc("of the model, ties one half")]
    votes: int


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Expected worth of the best of k responses."""

    k: tuple[int, ...]
    model: tuple[float, ...]
    longer: tuple[float, ...]
    best: Annotated[tuple[float, ...], doc("of a perfect scorer")]


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Whether sigmoid(difference) is a probability."""

    ece: float | None
    ece_with_temperature: Annotated[
        float | None, doc("after one cross-fitted factor on all differences")
    ]
    temperature: Annotated[float | None, doc("its mean inverse over the folds; above 1: too sure")]
    bins: Annotated[tuple[Bin, ...], doc("accuracy by how sure the model is")]


class SuiteResult(msgspec.Struct, frozen=True, kw_only=True):
    """A model on a suite."""

    name: str
    title: str
    citation: str
    source: Annotated[str, doc("path or name on the Hub, as given")]
    sha256: Annotated[dict[str, str], doc("of the files, by name")]
    items: int
    prompts: int
    comparisons: int
    ties: Annotated[int, doc("comparisons that the model scores equal")]
    non_finite: Annotated[
        int,
        doc("responses whose reward is not a finite number; comparisons with them count as wrong"),
    ]
    cut: Annotated[int, doc("responses that were read without a part of them or of the prompt")]
    figures: Annotated[tuple[FigureResult, ...], doc("the headline first")]
    breakdown: Annotated[
        dict[str, Figure], doc("accuracy, ties one half, by length, margin, site, language")
    ]
    noise_ceilings: Annotated[
        dict[str, NoiseCeiling], doc("of the rows of `breakdown`, where they are known")
    ] = {}
    style: Style | None
    calibration: Calibration
    human: Human | None = None
    curve: Curve | None = None
    vote_intervals: Annotated[
        IntervalFigures | None,
        doc(
            "intervals for shares of votes; null: no held-out votes, or a model without uncertainty"
        ),
    ] = None
    warnings: tuple[str, ...] = ()

    @property
    def headline(self) -> FigureResult:
        """The figure that the suite is known by."""
        return self.figures[0]


class GroupResult(msgspec.Struct, frozen=True, kw_only=True):
    """Mean over suites of their accuracy over comparisons in a group, ties one half."""

    group: str
    suites: tuple[str, ...]
    comparisons: int
    value: float
    low: float
    high: float
    baselines: Annotated[dict[str, Estimate], doc("longer, style and chance")]
    noise_ceiling: Annotated[
        Estimate | None, doc("mean over the suites; null: not known of one of them")
    ] = None


class ModelResult(msgspec.Struct, frozen=True, kw_only=True):
    """A model on all suites."""

    model: Annotated[
        str, doc("as given; of a language model also which form of its log-probabilities")
    ]
    fingerprint: Annotated[str, doc("of the weights and of how texts are read")]
    commit: Annotated[str | None, doc("of the model on the Hub; null: a folder")] = None
    ran_its_code: Annotated[bool, doc("whether --trust-remote-code was given")] = False
    reads: Annotated[str, doc("the text around prompt and response")]
    trained_on: Annotated[str | None, doc("dataset of its run")]
    unfinished: Annotated[
        str | None, doc("how far its run had come; null: it was finished, or is no run of ours")
    ] = None
    warnings: Annotated[tuple[str, ...], doc("about what it was trained on")] = ()
    groups: tuple[GroupResult, ...]
    suites: tuple[SuiteResult, ...]


class ModelDifference(msgspec.Struct, frozen=True, kw_only=True):
    """Another model minus the first, on the same resampled prompts."""

    suite: str
    figure: str
    difference: Estimate


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Another model beside the first."""

    result: ModelResult
    differences: tuple[ModelDifference, ...]


class CheckpointPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The headlines at a step of the run."""

    step: int
    pairs: int
    values: Annotated[dict[str, float], doc("by suite")]


class Stability(msgspec.Struct, frozen=True, kw_only=True):
    """Noise of a suite over the last k checkpoints, after Signal and Noise (arXiv 2508.13144)."""

    suite: str
    last: float
    mean: Annotated[float, doc("of the last k headlines")]
    noise: Annotated[float, doc("their standard deviation over their mean")]
    signal: Annotated[
        float | None,
        doc(
            "spread of the compared models' headlines over their mean; null: one model, or one run"
        ),
    ]
    ratio: Annotated[float | None, doc("signal / noise; null: not defined")]
    noise_of_means: Annotated[
        float | None,
        doc("noise of the means of k checkpoints in a row, over the last 2k − 1; null: too few"),
    ]


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """``results.json``; fractions are between 0 and 1, but for RewardBench 2's Ties (≤ 1.01)."""

    version: Annotated[str, doc("of this layout")] = RESULTS_VERSION
    kind: Annotated[str, doc("of the scores: 'reward', 'logprob' or 'density-ratio'")] = "reward"
    seed: int
    bootstrap: Annotated[int, doc("resamples behind each interval")]
    limit: Annotated[int | None, doc("items of each suite; null: all")]
    result: ModelResult
    compared: tuple[Comparison, ...] = ()
    checkpoints: tuple[CheckpointPoint, ...] = ()
    stability: tuple[Stability, ...] = ()
    warnings: tuple[str, ...] = ()
