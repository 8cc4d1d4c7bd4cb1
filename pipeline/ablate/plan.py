"""The file of arms: what is compared, on what, and how it is trained."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from pipeline.errors import UsageError
from schemas.ablation import WORDS
from schemas.fields import doc
from schemas.small_files import SmallFileError, convert, decode_toml, fault_of, read_small

Control = Literal["no_votes", "shuffled_labels"]

_NAME: Final = r"^[A-Za-z0-9][\w.-]{0,60}$"
_OURS: Final = ("input", "output", "votes", "split", "seed", "ids_only", "publish", "config")
"""Options of curate that a plan says elsewhere, or that would undo it."""

ROTATING: Final = "1/1/1"
HELD_OUT: Final = "80/10/10"


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Refuses what it does not know: a misspelt option must not be ignored."""


class Arm(_Strict, frozen=True, kw_only=True):
    """One way of labelling."""

    name: Annotated[str, doc("as the results call it", pattern=_NAME)]
    votes: Annotated[str, doc("vote mode of `curate`")] = "net_votes"
    curate: Annotated[dict[str, Any], doc("more options of `curate`, for this arm alone")] = {}
    control: Annotated[Control | None, doc("a control made from the pairs of this label")] = None
    loss: Annotated[dict[str, Any], doc("settings of the section `loss` of training")] = {}


class Suite(_Strict, frozen=True, kw_only=True):
    """What the arms are judged on: held-out pairs of the forum, or a benchmark of `evaluate`."""

    name: Annotated[str, doc("as the results call it", pattern=_NAME)]
    path: Annotated[str | None, doc("files of a benchmark; absent: held-out pairs")] = None
    benchmark: Annotated[str | None, doc("which benchmark; absent: `name`")] = None
    limit: Annotated[int | None, doc("so many items of a benchmark only")] = None
    votes: Annotated[str, doc("label of held-out pairs")] = "common_window"
    same_day: Annotated[bool, doc("only answers of the same day")] = False
    min_votes: Annotated[int, doc("votes of both after both were there, at least", ge=0)] = 0
    min_confidence: Annotated[float, doc("of the label, at least", ge=0, le=1)] = 0.0


class Training(_Strict, frozen=True, kw_only=True):
    """How models are trained."""

    how: Annotated[
        Literal["heads", "full"] | None,
        doc("heads on frozen features, or whole models; heads where absent"),
    ] = None
    model: Annotated[str, doc("'words' (no model), or a folder or name of a model")] = WORDS
    seeds: Annotated[int, doc("of each arm", ge=1)] = 5
    max_length: Annotated[int, doc("tokens of prompt and response", ge=16)] = 256
    settings: Annotated[dict[str, Any], doc("of `train`, for whole models: 'optim.lr' = …")] = {}
    launch: Annotated[
        tuple[str, ...], doc("command that trains a whole model; default: this Python")
    ] = ()
    bootstrap: Annotated[int, doc("resamples behind each interval", ge=100)] = 2000


class Plan(_Strict, frozen=True, kw_only=True):
    """The whole file."""

    arms: Annotated[tuple[Arm, ...], doc("two or more")]
    input: Annotated[tuple[str, ...], doc("KIND=PATH, as of `curate`")] = ()
    reference: Annotated[str | None, doc("arm that all are compared with; absent: the first")] = (
        None
    )
    curate: Annotated[dict[str, Any], doc("options of `curate` for all arms")] = {}
    equal: Annotated[bool, doc("cut all arms to the same number of pairs and words")] = True
    rotate: Annotated[
        bool | None, doc("hold out each third of the questions in turn; absent: with heads")
    ] = None
    split: Annotated[str | None, doc("shares of the splits; absent: 1/1/1 or 80/10/10")] = None
    seed: Annotated[int, doc("of the splits and of all that is drawn", ge=0)] = 0
    train: Training = Training()
    suites: tuple[Suite, ...] = (
        Suite(name="fair", same_day=True, min_votes=6, min_confidence=0.95),
        Suite(name="window", min_confidence=0.8),
    )

    @property
    def compared_with(self) -> str:
        """Name of the reference arm."""
        return self.reference or self.arms[0].name

    @property
    def how(self) -> str:
        """'heads' or 'full'."""
        return self.train.how or "heads"

    @property
    def rotates(self) -> bool:
        """Whether each split is held out in turn."""
        return self.how == "heads" if self.rotate is None else self.rotate

    @property
    def shares(self) -> str:
        """Of the splits."""
        return self.split or (ROTATING if self.rotates else HELD_OUT)


def read_plan(path: str, inputs: Sequence[str] = ()) -> Plan:
    """Read and check a file of arms; ``inputs`` replace its own. Raises UsageError."""
    try:
        found = convert(decode_toml(read_small(path, pipes=True)), Plan)
    except OSError as error:
        raise UsageError(f"{path}: {fault_of(error)}") from None
    except SmallFileError as error:
        raise UsageError(f"{path}: {error}") from None
    if inputs:
        found = msgspec.structs.replace(found, input=tuple(inputs))
    try:
        check_plan(found)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return found


def check_plan(plan: Plan) -> None:
    """Raise UsageError for a plan that cannot be run."""
    if not plan.input:
        raise UsageError("input: say what to read, here or with --input KIND=PATH")
    for what, names in (
        ("arms", [arm.name for arm in plan.arms]),
        ("suites", [suite.name for suite in plan.suites]),
    ):
        if twice := {name for name in names if names.count(name) > 1}:
            raise UsageError(f"{what}: two are called {min(twice)!r}")
    if len(plan.arms) < 2:
        raise UsageError("arms: one alone has nothing to be compared with")
    if plan.compared_with not in {arm.name for arm in plan.arms}:
        raise UsageError(f"reference: no arm is called {plan.reference!r}")
    if not plan.suites:
        raise UsageError("suites: name at least one to judge on")
    for section, options in (
        ("curate", plan.curate),
        *((f"arms, {arm.name}, curate", arm.curate) for arm in plan.arms),
    ):
        for name in options:
            if name.replace("-", "_") in _OURS:
                raise UsageError(f"{section}: {name} is set by the plan itself")
    if plan.how == "full" and plan.train.model == WORDS:
        raise UsageError("train.model: whole models are trained from one; name a folder or model")
    if plan.how == "full" and plan.rotates:
        raise UsageError("rotate: only heads are trained for each split; leave it out")
    for suite in plan.suites:
        if suite.path is not None and (suite.same_day or suite.min_votes or suite.min_confidence):
            raise UsageError(f"suites, {suite.name}: a benchmark has no votes to choose by")
