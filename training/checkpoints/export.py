"""A model folder from checkpoints: of one, or with the mean of the weights of several."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from training.checkpoints.checkpoint import checkpoints, find_checkpoint_damage
from training.errors import ConfigError
from training.model.merging import load_merged, refuse_existing, write_model
from training.model.source import ModelSource


def newest_whole_checkpoints(folder: Path, count: int) -> list[Path]:
    """The newest ``count`` checkpoints that are not damaged, newest first.

    Raises ConfigError where there are fewer.
    """
    found: list[Path] = []
    damaged: list[str] = []
    for path in reversed(checkpoints(folder)):
        if len(found) == count:
            break
        damage = find_checkpoint_damage(path)
        if damage is None:
            found.append(path)
        else:
            damaged.append(f"{path.name}: {damage}")
    if len(found) < count:
        told = f" ({'; '.join(damaged)})" if damaged else ""
        more = "; a run keeps run.keep_checkpoints of them" if count > 1 else ""
        raise ConfigError(f"{folder} holds {len(found)} whole checkpoints, not {count}{told}{more}")
    return found


def export_model(sources: Sequence[ModelSource], output: Path) -> None:
    """Write a folder that transformers loads, from one checkpoint or the mean of several.

    Args:
        sources: checkpoints of one run in either form, newest first: tokenizer, template and
            buffers are the first one's. An adapter is merged into its base. That they are whole is
            not looked at here.
        output: a folder that does not exist yet; it appears when it is complete.

    Raises ConfigError.
    """
    refuse_existing(output)
    newest = load_merged(sources[0], verify=False)
    weights: Mapping[str, Tensor] = newest.model.hf.state_dict()
    if len(sources) > 1:
        rest = (load_merged(source, verify=False) for source in sources[1:])
        weights = mean_weights(weights, (loaded.model.hf.state_dict() for loaded in rest))
    write_model(output, newest, weights)


def mean_weights(
    first: Mapping[str, Tensor], others: Iterable[Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Mean of each weight, added up in fp64; integers are those of ``first``.

    Source: checkpoint averaging as in Vaswani et al. 2017 (arXiv 1706.03762, 6.1). Raises
    ConfigError where names or shapes differ.
    """
    sums = {name: value.double() for name, value in first.items() if value.is_floating_point()}
    count = 1
    for other in others:
        for name, total in sums.items():
            if name not in other or other[name].shape != total.shape:
                raise ConfigError(f"the checkpoints are of different models: {name} differs")
            total.add_(other[name])
        count += 1
    return {
        name: (sums[name].div_(count)).float() if name in sums else value
        for name, value in first.items()
    }
