"""The shares of flipped labels of a run: found once, at its beginning, and kept in its folder."""

from pathlib import Path

import msgspec

from schemas.small_files import SmallFileError, decode_json, read_small
from training.durable_files import write_file
from training.labels.settle import LabelNoise, noise_tensor, settle_label_noise
from training.run.folder import LABEL_NOISE_NAME
from training.run.state import TrainingRun


def estimate_noise(run: TrainingRun, sites: tuple[str, ...]) -> None:
    """Find the shares that the loss asks for, and tell it; every rank must call.

    A run that is resumed has them in its checkpoint. Raises ConfigError.
    """
    run.label_noise = settle_label_noise(run.config, sites, run.dataset, run.loaded, run.context)
    if run.label_noise is not None:
        run.objective.set_flip_rates(noise_tensor(run.label_noise, run.context.device))


def write_noise(run: TrainingRun) -> None:
    """Write ``label_noise.json``, or read that of a run that is resumed; on the first rank."""
    path = run.options.output / LABEL_NOISE_NAME
    if run.label_noise is not None:
        write_file(path, msgspec.json.format(msgspec.json.encode(run.label_noise)) + b"\n")
    elif run.step:
        run.label_noise = _read(path)


def _read(path: Path) -> LabelNoise | None:
    """None where there is none, or it is damaged: the checkpoint has the shares themselves."""
    try:
        return decode_json(read_small(path), LabelNoise)
    except (OSError, SmallFileError):
        return None
