"""Says whether the data a model was trained on were cleaned of the suites that it is scored on."""

from pathlib import Path

import fsspec

from schemas.manifest import MANIFEST_NAME, Manifest, decode_manifest
from schemas.small_files import read_small, read_stream
from training.evaluation.suites.registry import LoadedSuite

KIND = "decontaminate"
"""``kind`` of a manifest's inputs that ``forumprefs curate --decontaminate`` read."""


def contamination_warnings(dataset: str | None, suites: list[LoadedSuite]) -> dict[str, str]:
    """A sentence for each public suite against which the dataset was not decontaminated.

    ``dataset``: as the run names it; None where the model names none, of which nothing is said.
    The key '' holds one sentence for all of them.
    """
    public = [loaded for loaded in suites if loaded.sha256]
    if dataset is None or not public:
        return {}
    manifest = _manifest(dataset)
    if manifest is None:

        def unknown(titles: str) -> str:
            return (
                f"the manifest of {dataset} cannot be read, so nothing says whether it holds texts "
                f"of {titles}"
            )

        return {
            **{loaded.suite.name: unknown(loaded.suite.title) for loaded in public},
            "": unknown(", ".join(loaded.suite.title for loaded in public)),
        }
    cleaned = {entry.sha256 for entry in manifest.inputs if entry.kind == KIND}
    left = [loaded for loaded in public if not set(loaded.sha256.values()) <= cleaned]

    def sentence(of: list[LoadedSuite]) -> str:
        titles = ", ".join(loaded.suite.title for loaded in of)
        files = ",".join(loaded.files for loaded in of)
        return (
            f"{dataset} was not decontaminated against {titles}; make it with forumprefs curate "
            f"--decontaminate {files}"
        )

    if not left:
        return {}
    return {**{loaded.suite.name: sentence([loaded]) for loaded in left}, "": sentence(left)}


def _manifest(dataset: str) -> Manifest | None:
    path = Path(dataset)
    try:
        if path.exists():
            return decode_manifest(read_small(path / MANIFEST_NAME))
        if "@" in dataset or "://" in dataset:
            where = dataset if "://" in dataset else f"hf://datasets/{dataset}"
            with fsspec.open(f"{where.rstrip('/')}/{MANIFEST_NAME}", "rb") as file:
                return decode_manifest(read_stream(file))
    except Exception:  # each store has errors of its own; the caller says what follows
        return None
    return None
