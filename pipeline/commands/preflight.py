"""``forumprefs curate --dry-run``: what can be known to go wrong, asked before hours are spent."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.console import print_text, print_warning
from pipeline.curate.benchmark_files import find_benchmark_files
from pipeline.curate.checks import check_languages, check_licenses, check_output
from pipeline.curate.inputs import named_inputs
from pipeline.curate.options import CurateOptions
from pipeline.curate.takedown import read_takedown
from pipeline.errors import HubError, RefusedError
from pipeline.hub.client import connect, quiet_client
from pipeline.hub.permissions import check_target
from pipeline.hub.publish_target import PublishTarget
from pipeline.hub.repo_state import read_refs
from pipeline.hub.retries import hub_retry_policy, retry_at_hub
from pipeline.runners.dispatch import check_runner
from schemas.exit_codes import ExitCode
from transforms.readers.base import ForumFile, InputProblem
from transforms.readers.registry import SOURCES
from transforms.readers.source import FileSource


def preflight(options: CurateOptions) -> int:
    """Check options, inputs and where to publish; unpack, read and change nothing.

    Raises UsageError, and RefusedError or HubError where it could not be published.
    """
    check_output(options)
    check_languages(options)
    check_runner(options)
    inputs = named_inputs(options.recipe)
    if options.recipe.takedown:
        read_takedown(Path(options.recipe.takedown))
    find_benchmark_files(options.recipe.decontaminate)
    lines = [f"would read {kind}: {', '.join(specs)}" for kind, specs in inputs.items()]
    lines.append(f"would write {options.output} with the runner {options.runner}")
    if options.publish is not None:
        check_licenses(list_files(inputs), options)
        try:
            target = check_target(options.publish, make_repo=False, say=print_warning)
            lines.append(describe_target(target))
        except HubError as error:
            if error.transient:
                raise
            raise RefusedError(str(error)) from None  # a token that may not write, say
    for line in lines if not options.quiet else ():
        print_text(line)
    return ExitCode.FINISHED


def list_files(inputs: Mapping[str, Sequence[str]]) -> dict[str, list[ForumFile]]:
    """Files of the kinds of forum whose inputs are listed without unpacking them, by kind."""
    trouble: list[InputProblem] = []
    return {
        kind: source.list_files(paths, trouble)
        for kind, paths in sorted(inputs.items())
        if isinstance(source := SOURCES[kind], FileSource)
    }


def describe_target(target: PublishTarget) -> str:
    """Say whether the version is there; raises RefusedError where its name is taken."""
    api = connect(target.endpoint)
    with quiet_client():
        refs = retry_at_hub(hub_retry_policy(), target.repo, lambda: read_refs(api, target.repo))
    name = f"{target.repo}@{target.version}"
    if refs is None:
        return f"would publish {name}: the dataset would be made"
    for other in refs.versions():
        if other == target.version and other.tag != target.version.tag:
            raise RefusedError(
                f"{name}: the version is there already, spelled {other.tag}; use that name, or "
                "another number"
            )
    if target.version.tag in refs.tags:
        return f"{name} has been published; other data under this number will be refused"
    return f"would publish {name}: the number is free, and the token may write"
