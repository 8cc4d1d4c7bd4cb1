"""The uncertainty of a model, beside it: ``uncertainty.safetensors`` and ``.json``."""

from pathlib import Path
from typing import Annotated

import msgspec
import torch
from safetensors.torch import load_file, save

from schemas.fields import doc
from schemas.small_files import SmallFileError, decode_json, fault_of, read_small
from training.durable_files import write_file
from training.errors import ConfigError
from training.model.checksums import CHECKSUMS_NAME, FolderChecksums, write_checksums
from training.uncertainty.fit import Uncertainty
from training.uncertainty.posterior import LastLayerPosterior
from training.uncertainty.vote_shares import ShareModel

UNCERTAINTY_NAME = "uncertainty.json"
POSTERIOR_NAME = "uncertainty.safetensors"
VERSION = 1


class UncertaintyRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``uncertainty.json``: what turns features and rewards into intervals, and of what."""

    version: Annotated[int, doc("layout of this file")] = VERSION
    weights: Annotated[dict[str, str], doc("sha256 of the model's weights, by file")]
    dataset: Annotated[str, doc("that it was fitted to")]
    manifest_sha256: Annotated[str, doc("of that dataset's version")]
    reads: Annotated[str, doc("the text around prompt and response, length and precision")]
    train_pairs: Annotated[int, doc("behind the posterior")]
    prior_precision: Annotated[float, doc("λ, of the last layer's weights")]
    shares: ShareModel


def save_uncertainty(
    folder: Path, found: Uncertainty, *, dataset: str, manifest_sha256: str, reads: str
) -> UncertaintyRecord:
    """Write an uncertainty into a model folder, and add it to its checksums.

    At no moment do the checksums name a file that is not whole. The model's own files keep the
    checksums that they were written with: they are not read again, and what became damaged since is
    still found. Raises ConfigError for a folder without checksums, which is none of ours.
    """
    record = UncertaintyRecord(
        weights=weights_of(folder),
        dataset=dataset,
        manifest_sha256=manifest_sha256,
        reads=reads,
        train_pairs=found.train_pairs,
        prior_precision=found.prior_precision,
        shares=found.shares,
    )
    names = (UNCERTAINTY_NAME, POSTERIOR_NAME)
    written = {name: one for name, one in _checksums(folder).files.items() if name not in names}
    if any((folder / name).exists() for name in names):
        for name in names:
            (folder / name).unlink(missing_ok=True)
        write_checksums(folder, written)
    posterior = found.posterior
    tensors = {"reference": posterior.reference, "factor": posterior.factor}
    write_file(
        folder / POSTERIOR_NAME, save({name: one.contiguous() for name, one in tensors.items()})
    )
    write_file(folder / UNCERTAINTY_NAME, msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    write_checksums(folder, written)
    return record


def has_uncertainty(folder: Path) -> bool:
    """Whether an uncertainty lies beside a model."""
    return (folder / UNCERTAINTY_NAME).is_file()


def load_uncertainty(folder: Path) -> tuple[LastLayerPosterior, UncertaintyRecord]:
    """Read the uncertainty beside a model, whose checksums were compared already.

    Raises ConfigError where there is none, or one of other weights.
    """
    if not has_uncertainty(folder):
        raise ConfigError(
            f"model {folder}: has no uncertainty; forumprefs uncertainty fits one to its dataset"
        )
    try:
        record = decode_json(read_small(folder / UNCERTAINTY_NAME), UncertaintyRecord)
        if record.version != VERSION:
            raise ConfigError(
                f"{folder / UNCERTAINTY_NAME} has version {record.version}, this release reads "
                f"{VERSION}"
            )
        tensors = load_file(folder / POSTERIOR_NAME)
        posterior = LastLayerPosterior(tensors["reference"], tensors["factor"])
        size = posterior.reference.numel()
        if posterior.factor.shape != (size, size) or posterior.factor.dtype != torch.float32:
            raise ValueError("reference and factor do not fit together")
    except SmallFileError as error:
        raise ConfigError(f"{folder / UNCERTAINTY_NAME}: {fault_of(error)}") from None
    except ConfigError:
        raise
    except Exception as error:  # safetensors has its own
        raise ConfigError(
            f"{folder / POSTERIOR_NAME}: {error}; run forumprefs uncertainty again"
        ) from None
    if record.weights != weights_of(folder):
        raise ConfigError(
            f"{folder / UNCERTAINTY_NAME} is of other weights than those beside it; run forumprefs "
            "uncertainty again"
        )
    return posterior, record


def weights_of(folder: Path) -> dict[str, str]:
    """sha256 of each file of weights, as the folder's checksums say; raises ConfigError."""
    return {
        name: one.sha256
        for name, one in _checksums(folder).files.items()
        if name.endswith(".safetensors") and name != POSTERIOR_NAME
    }


def _checksums(folder: Path) -> FolderChecksums:
    try:
        return decode_json(read_small(folder / CHECKSUMS_NAME), FolderChecksums)
    except (OSError, SmallFileError) as error:
        raise ConfigError(
            f"{folder / CHECKSUMS_NAME}: {fault_of(error)}; an uncertainty is kept beside a model "
            "that forumprefs train has written"
        ) from None
