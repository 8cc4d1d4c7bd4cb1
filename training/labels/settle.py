"""``loss.label_noise`` before the first step: as given, from the votes, or estimated."""

import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import numpy as np
import torch

from schemas.fields import doc
from training.config import TrainConfig
from training.data.dataset import PairDataset
from training.errors import ConfigError
from training.labels.cross_fit import cross_fitted_differences
from training.labels.flip_rates import MOST, FlipRate, doubtful, flip_rates
from training.labels.sample import sample_features
from training.losses.registry import noise_of
from training.model.reward_model import LoadedModel
from training.parallel.distributed import DistributedContext

OTHER_SITES = "*"
"""In a table of rates: all sites that it does not name."""
SHOWN = 6
"""Sites that are named in the introduction."""


class LabelNoise(msgspec.Struct, frozen=True, kw_only=True):
    """``label_noise.json``: the shares of flipped labels that a run's loss goes by."""

    source: Annotated[str, doc("'given', 'votes' or 'cross_fitted'")]
    sites: Annotated[dict[str, FlipRate], doc("by site, in the order of their names")]
    pairs: Annotated[int, doc("that were read for it; of cross_fitted, the sample")] = 0
    seconds: Annotated[float, doc("that it took")] = 0.0

    @property
    def rates(self) -> list[float]:
        """In the order of the sites."""
        return [rate.value for rate in self.sites.values()]

    def __str__(self) -> str:
        by_pairs = sorted(self.sites.items(), key=lambda one: (-one[1].pairs, one[0]))
        told = ", ".join(f"{site} {_shown(rate)}" for site, rate in by_pairs[:SHOWN])
        more = f" and {len(by_pairs) - SHOWN:,} more sites" if len(by_pairs) > SHOWN else ""
        how = {
            "given": "as given",
            "votes": f"1 − mean confidence of {self.pairs:,} pairs",
            "cross_fitted": f"cross-fitted on {self.pairs:,} pairs in {self.seconds:,.0f} s",
        }[self.source]
        line = f"flipped labels, {how}: {told}{more}"
        if unclear := doubtful(list(self.sites.values())):
            line += (
                f". Of {unclear:,} of {len(self.sites):,} sites the pairs do not tell it (the "
                "interval is wide), so it is 1 − mean confidence there, within the interval"
            )
        return line


def settle_label_noise(
    config: TrainConfig,
    sites: Sequence[str],
    dataset: PairDataset,
    loaded: LoadedModel,
    context: DistributedContext,
) -> LabelNoise | None:
    """Find the shares of flips that the loss asks for; None where it takes one number, or none.

    Every rank must call, with the model at its place. Raises ConfigError where there is no rate of
    a site.
    """
    noise = noise_of(config.loss)
    if noise is None or not sites:
        return None
    began = time.perf_counter()
    if isinstance(noise, Mapping):
        return LabelNoise(source="given", sites=_given(noise, sites))
    if isinstance(noise, float):
        return LabelNoise(source="given", sites={site: FlipRate(value=noise) for site in sites})
    if noise == "votes":
        rates = _of_votes(dataset, sites, context)
    else:
        rates = _cross_fitted(config, sites, dataset, loaded, context)
    return LabelNoise(
        source=noise,
        sites=dict(zip(sites, rates, strict=True)),
        pairs=sum(rate.pairs for rate in rates),
        seconds=round(time.perf_counter() - began, 1),
    )


def _given(table: Mapping[str, float], sites: Sequence[str]) -> dict[str, FlipRate]:
    other = table.get(OTHER_SITES)
    if other is None and (missing := [site for site in sites if site not in table]):
        raise ConfigError(
            f"loss.label_noise names no rate for {', '.join(missing[:3])}"
            f"{' and others' if len(missing) > 3 else ''}; add it, or one for all others as "
            f'"{OTHER_SITES}"'
        )
    if strange := sorted(set(table) - {OTHER_SITES, *sites}):
        raise ConfigError(
            f"loss.label_noise names {strange[0]}, but the training pairs are of "
            f"{', '.join(sites[:5])}{' and others' if len(sites) > 5 else ''}"
        )
    return {site: FlipRate(value=table.get(site, other or 0.0)) for site in sites}


def _of_votes(
    dataset: PairDataset, sites: Sequence[str], context: DistributedContext
) -> list[FlipRate]:
    """1 − mean confidence of the pairs of each site that are trained on."""
    number = {site: place for place, site in enumerate(sites)}
    doubt, pairs = np.zeros(len(sites)), np.zeros(len(sites))
    columns = ("site", "confidence", "vote_margin")
    for table in dataset.light_columns(columns, context.rank, context.count):
        confidence, margin = (table[name].to_numpy() for name in columns[1:])
        used = dataset.selection.keeps(confidence, margin)
        place = np.array([number[site] for site in table["site"].to_pylist()], dtype=np.int64)[used]
        doubt += np.bincount(place, weights=1 - confidence[used], minlength=len(sites))
        pairs += np.bincount(place, minlength=len(sites))
    parts = context.gather((doubt, pairs))
    doubt, pairs = (np.sum([part[side] for part in parts], axis=0) for side in (0, 1))
    mean = np.minimum(doubt / np.maximum(pairs, 1), MOST)
    return [
        FlipRate(value=float(rate), pairs=int(count))
        for rate, count in zip(mean, pairs, strict=True)
    ]


def _cross_fitted(
    config: TrainConfig,
    sites: Sequence[str],
    dataset: PairDataset,
    loaded: LoadedModel,
    context: DistributedContext,
) -> list[FlipRate]:
    if context.context_degree > 1:
        raise ConfigError(
            "loss.label_noise=cross_fitted reads the state of whole sequences, which "
            f"run.context_parallel_degree={context.context_degree} divides; set one of them back"
        )
    sample = sample_features(config, sites, dataset, loaded, context)
    rates: list[FlipRate] | str = []
    if context.is_first:  # the others take its numbers, which might be rounded otherwise there
        try:
            differences = cross_fitted_differences(sample.features, sample.cluster)
            rates = flip_rates(differences, sample.site, sample.cluster, len(sites))
        except (ValueError, np.linalg.LinAlgError) as error:
            rates = str(error)
    agreed: list[FlipRate] | str = context.gather(rates)[0]
    if isinstance(agreed, str):
        raise ConfigError(
            f"loss.label_noise=cross_fitted: {agreed}; take votes, or a number between 0 and 0.5"
        )
    votes = _of_votes(dataset, sites, context)
    return [
        instead_of_wide(rate, by_votes.value) for rate, by_votes in zip(agreed, votes, strict=True)
    ]


def instead_of_wide(rate: FlipRate, by_votes: float) -> FlipRate:
    """The rate; where the pairs do not tell it, what the votes say, within its interval.

    There the most likely rate is often near one half, with which nothing would be learned.
    """
    if not rate.is_wide or rate.low is None or rate.high is None:
        return rate
    value = min(max(by_votes, rate.low), rate.high)
    return msgspec.structs.replace(rate, value=value, from_votes=True)


def noise_tensor(noise: LabelNoise, device: torch.device) -> torch.Tensor:
    """The rates [sites] in fp32."""
    return torch.tensor(noise.rates, dtype=torch.float32, device=device)


def _shown(rate: FlipRate) -> str:
    if rate.low is None or rate.high is None:
        return f"{rate.value:.3f}"
    return f"{rate.value:.3f} [{rate.low:.3f}, {rate.high:.3f}]"
