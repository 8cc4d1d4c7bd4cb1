"""The settings ``loss.…``; which loss reads which is said by the loss itself."""

from typing import Annotated, Literal

import msgspec

from schemas.fields import doc

Rate = Annotated[float, msgspec.Meta(ge=0, lt=0.5)]


class LossConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The loss on the rewards of a pair; formulas and known failures are in docs/losses.md."""

    name: Annotated[str, doc("one of the losses in docs/losses.md")] = "bt"
    label_smoothing: Annotated[
        float, doc("share of labels taken as flipped, mixed into the target", ge=0, lt=0.5)
    ] = 0.0
    label_noise: Annotated[
        Rate | dict[str, Rate] | Literal["votes", "cross_fitted"] | None,
        doc(
            "share of flipped labels that `robust` and `lcpo` go by: a number; a table by site, "
            '"*" for the others, e.g. {"beer.stackexchange.com": 0.2, "*": 0.1}; votes: 1 − mean '
            "confidence of a site's pairs; cross_fitted: estimated before the first step, by site, "
            "from predictions for pairs that were not fitted. null: 0.1 for `robust`, cross_fitted "
            "for `lcpo`"
        ),
    ] = None
    noise_pairs: Annotated[
        int,
        doc(
            "pairs of the shuffled order by which cross_fitted estimates; each costs a forward "
            "pass, about a third of what a pair costs in training",
            ge=20,
        ),
    ] = 20_000
    margin_scale: Annotated[
        float, doc("`margin` and `scaled` use margin_scale · log(1 + vote_margin)", ge=0)
    ] = 0.1
    length_penalty: Annotated[
        float,
        doc("coefficient in `length` of the squared correlation of rewards and lengths", ge=0),
    ] = 0.0
    length_correlation: Annotated[
        float,
        doc("coefficient in the head `length` of the correlations with length", ge=0),
    ] = 1.0
    head_orthogonality: Annotated[
        float,
        doc("coefficient in the head `length` of cos² of its weight and the reward's", ge=0),
    ] = 1.0
    centring: Annotated[
        float, doc("coefficient of (r_chosen + r_rejected)², which keeps rewards near zero", ge=0)
    ] = 0.0
    lcpo_decay: Annotated[
        Annotated[float, msgspec.Meta(ge=0, lt=1)] | None,
        doc(
            "share of its estimate that a step of `lcpo` keeps, the rest being what the training "
            "fit says, as in the paper; null: the estimate is held as it is"
        ),
    ] = None
