"""What Dataflow has to be told before it can run a job of ours."""

from collections.abc import Sequence

from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    WorkerOptions,
)

from pipeline.errors import UsageError

NEEDED = ("project", "region")


def dataflow_arguments(given: Sequence[str], work_dir: str) -> list[str]:
    """Return Beam's options for a job on Dataflow: those given, and what follows from them.

    ``work_dir``: folder in a bucket, where Dataflow may also put its own files. Raises UsageError
    for what Dataflow would only find out after minutes, or never.
    """
    options = PipelineOptions(list(given))
    cloud = options.view_as(GoogleCloudOptions)
    missing = [f"--{name}" for name in NEEDED if not getattr(cloud, name)]
    if missing:
        raise UsageError(f"--runner dataflow needs {' and '.join(missing)}")
    setup = options.view_as(SetupOptions)
    if not (
        options.view_as(WorkerOptions).sdk_container_image
        or setup.setup_file
        or setup.extra_packages
    ):
        raise UsageError(
            "Dataflow's workers need forumprefs: give --sdk_container_image IMAGE, made from the "
            "Dockerfile of this project, or --setup_file ./setup.py, which is slower to start"
        )
    found = list(given)
    for name in ("temp_location", "staging_location"):
        if not getattr(cloud, name):
            # With one of them missing, Beam would try to make a bucket of its own.
            found.append(f"--{name}={work_dir.rstrip('/')}/dataflow-{name.partition('_')[0]}")
    # Nothing of ours lives in __main__, and what does would travel to every worker.
    if setup.save_main_session is None:
        found.append("--no_save_main_session")
    check_installed()
    return found


def check_installed() -> None:
    """Raise UsageError when Beam's half for Google Cloud is missing."""
    try:
        from apache_beam.runners.dataflow.internal import apiclient  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"--runner dataflow needs more packages: pip install 'forumprefs[gcp]' ({error})"
        ) from None
