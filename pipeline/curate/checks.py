"""What can be known to go wrong, and is refused before hours are spent."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.curate import recipe as recipes
from pipeline.curate.finalize import package_versions
from pipeline.curate.inputs import Inputs
from pipeline.curate.options import CurateOptions
from pipeline.dataset.folder import DatasetFolder
from pipeline.dataset.licenses import unlicensed_sources
from pipeline.errors import OutputExistsError, RefusedError, UsageError
from schemas.checksums import shard_fault
from schemas.manifest import MANIFEST_NAME
from transforms.filters.identifiers import known_languages
from transforms.pairing import VoteMode
from transforms.readers.registry import SOURCES


def check_languages(options: CurateOptions) -> None:
    """Refuse a language that the model never answers, before hours are spent."""
    recipe = options.recipe
    known = known_languages(recipe.language_model)
    for code in recipe.languages:
        if code not in known | {"all"}:
            raise UsageError(
                f"--languages {code}: {recipe.language_model} does not know this code; "
                "use ISO codes such as en, fr, pt, zh"
            )


def check_output(options: CurateOptions) -> Path:
    """Decide what an existing output means, before any work is done."""
    if "://" in options.output:
        raise UsageError(
            f"--output {options.output}: a folder on this machine is needed; where workers run "
            "elsewhere, --work-dir gs://… is what they write to, the result is fetched from there, "
            "and --publish sends it on"
        )
    try:
        output = Path(options.output).resolve()
        exists = output.exists()
    except (OSError, ValueError, RuntimeError) as error:  # links in a ring, names too long
        raise UsageError(
            f"--output {options.output!r}: is no place for a folder: {error}"
        ) from None
    if not exists:
        above = next((folder for folder in output.parents if folder.exists()), output.parent)
        if not above.is_dir():
            raise UsageError(f"--output {output}: {above} is a file; choose a folder")
        return output
    if not output.is_dir():
        raise UsageError(f"--output {output}: is a file")
    if not any(output.iterdir()):
        return output
    if not (output / MANIFEST_NAME).is_file():
        raise OutputExistsError(
            f"--output {output}: holds files but no {MANIFEST_NAME}, so it is not one of our "
            "datasets and will not be touched; choose another folder"
        )
    if options.on_existing == "refuse":
        raise OutputExistsError(
            f"--output {output}: there is a dataset already; --resume keeps it if it is what "
            "this run would make, --overwrite replaces it"
        )
    return output


def check_inputs(inputs: Inputs, options: CurateOptions) -> None:
    """Refuse a run that cannot give what was asked for."""
    inputs.check_any()
    check_licenses(inputs.to_read, options)
    found = [(SOURCES[kind], items) for kind, items in sorted(inputs.to_read.items())]
    named = {name for source, items in found for name in source.license_names(items)}
    sites_in_rows = any(source.sites_in_rows for source, _ in found)
    for name in recipes.read_rules(options.recipe).licenses:
        if name not in named and not (sites_in_rows and "/" in name):
            raise UsageError(
                f"--license {name}=…: no input is of this site or kind; there are "
                f"{', '.join(sorted(named)) or 'none that need one'}"
            )
    if recipes.pairing_rules(options.recipe).votes is VoteMode.COMMON_WINDOW:
        undated = [source.why_undated(items) for source, items in found]
        if any(undated):
            raise UsageError(
                f"--votes common_window needs dated votes, but {'; '.join(filter(None, undated))}"
            )


def check_licenses(to_read: Mapping[str, Sequence[Any]], options: CurateOptions) -> None:
    """Refuse to curate for publishing what cannot be published; inputs are given by kind."""
    if options.publish is None or options.recipe.ids_only:
        return
    reasons = unlicensed_sources(to_read, recipes.read_rules(options.recipe))
    if reasons:
        raise RefusedError("\n  ".join(("--publish: this may not be published:", *reasons)))


def is_same(output: Path, options: CurateOptions, inputs: Inputs) -> bool:
    """Whether the finished dataset in ``output`` is what this run would make."""
    if not (output / MANIFEST_NAME).is_file():
        return False
    manifest = DatasetFolder(output).manifest
    different = [
        name
        for name, equal in (
            ("recipe", manifest.recipe == recipes.resolve(options.recipe)),
            ("input", manifest.inputs == inputs.files),
            ("version of a package", manifest.versions == package_versions()),
            (
                "content of its shards",
                not any(shard_fault(output, shard) for shard in manifest.shards),
            ),
        )
        if not equal
    ]
    if different:
        raise OutputExistsError(
            f"--output {output}: the dataset there differs from this run in: "
            f"{', '.join(different)}; --overwrite replaces it"
        )
    return True
