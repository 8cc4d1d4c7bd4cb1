"""The settings ``loss.…``; which loss reads which is said by the loss itself."""

from typing import Annotated

import msgspec

from schemas.fields import doc


class LossConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The loss on the rewards of a pair; formulas and known failures are in docs/losses.md."""

    name: Annotated[str, doc("one of the losses in docs/losses.md")] = "bt"
    label_smoothing: Annotated[
        float, doc("share of labels taken as flipped, mixed into the target", ge=0, lt=0.5)
    ] = 0.0
    label_noise: Annotated[
        float, doc("share of flipped labels that `robust` assumes", ge=0, lt=0.5)
    ] = 0.1
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
    lcpo_decay: Annotated[float, doc("share of the old estimate that a step keeps", ge=0, lt=1)] = (
        0.99
    )
