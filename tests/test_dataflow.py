"""The job for Dataflow, to the last step before the cloud.

What Beam hands to every portable runner is looked at everywhere. The dry run needs Google's
packages: ``make test-dataflow`` gives them an environment of their own.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders.coders import deserialize_coder
from apache_beam.options.pipeline_options import PipelineOptions
from google.protobuf.wrappers_pb2 import BytesValue

from pipeline.curate.graph import CurateJob, build
from pipeline.curate.recipe import make
from pipeline.errors import UsageError
from pipeline.runners.dataflow import check_installed, dataflow_arguments
from tests.patience import PATIENCE_S
from transforms.core.coders import StructCoder
from transforms.readers.base import ForumFile
from transforms.readers.stackexchange.archives import Site, TableFile

ROOT = Path(__file__).parents[1]
CLOUD = ("--project=some-project", "--region=europe-west4")
IMAGE = "--sdk_container_image=europe-west4-docker.pkg.dev/some-project/images/forumprefs:1"
GROUP_BY_KEY = "beam:transform:group_by_key:v1"
PICKLED_CODER = "beam:coder:pickled_python:v1"
STEPS = (
    "Read stackexchange",
    "Read reddit",
    "Assemble threads",
    "Convert to Markdown",
    "Filter threads",
    "Label languages",
    "Find duplicates",
    "Cluster questions",
    "Resolve duplicates",
    "Pair threads",
    "Write tables",
    "Save result",
)


def job() -> CurateJob:
    tables = {name: TableFile(f"gs://bucket/in/{name}.xml", 10**9) for name in ("Posts", "Votes")}
    file = ForumFile(kind="reddit", site="", path="gs://bucket/in/RC_2019-05.zst", size=10**9)
    return CurateJob(
        recipe=make({"input": ["stackexchange=gs://bucket/in", "reddit=gs://bucket/in"]}),
        inputs={"stackexchange": (Site("tinycode.example.com", tables),), "reddit": (file,)},
        problems=(),
        takedown={},
        folder="gs://bucket/work/dataset",
        partitions=64,
    )


@pytest.fixture(scope="module")
def proto() -> Any:
    pipeline = beam.Pipeline(options=PipelineOptions(["--runner=PortableRunner"]))
    build(pipeline, job())
    return pipeline.to_runner_api()


def coders_of(proto: Any, coder_id: str) -> Iterator[str]:
    """Name a coder and those inside it; of a coder in Python, its class and its row."""
    coder = proto.components.coders[coder_id]
    if coder.spec.urn == PICKLED_CODER:
        found = deserialize_coder(BytesValue.FromString(coder.spec.payload).value)
        yield (
            f"{type(found).__name__}({found.row.__name__})"
            if isinstance(found, StructCoder)
            else type(found).__name__
        )
    else:
        yield coder.spec.urn.removeprefix("beam:coder:").removesuffix(":v1")
    for part in coder.component_coder_ids:
        yield from coders_of(proto, part)


def check_graph(proto: Any) -> None:
    """Steps have their names, and whatever is shuffled has a coder that we chose."""
    transforms = proto.components.transforms.values()
    names = {transform.unique_name for transform in transforms}
    for step in STEPS:
        assert step in names, step
    rows = set()
    for transform in transforms:
        if transform.spec.urn != GROUP_BY_KEY:
            continue
        (source,) = transform.inputs.values()
        coders = set(coders_of(proto, proto.components.pcollections[source].coder_id))
        ours = {coder for coder in coders if coder.startswith("StructCoder")}
        rows |= ours
        # Beam's own: Reshuffle sends time and pane along, CombineGlobally has None for a key.
        beams = {"FastPrimitivesCoder", "PaneInfoCoder", "tuple", "nullable"}
        if "/ReshufflePerKey/" not in transform.unique_name:
            beams = set()
        if "/Plan shards/" in transform.unique_name:
            beams = {"DeterministicFastPrimitivesCoderV2"}
        known = {"kv", "varint", "bytes", "string_utf8"} | ours | beams
        assert coders <= known, (transform.unique_name, coders - known)
    assert {"StructCoder(ShardKey)", "StructCoder(SinkBlock)", "StructCoder(Candidate)"} <= rows


def test_every_shuffle_has_a_coder_of_ours_and_every_step_its_name(proto: Any) -> None:
    check_graph(proto)


def test_what_dataflow_is_told() -> None:
    pytest.importorskip("apache_beam.runners.dataflow.internal.apiclient", exc_type=ImportError)
    found = dataflow_arguments([*CLOUD, IMAGE], "gs://bucket/tmp/")
    assert "--temp_location=gs://bucket/tmp/dataflow-temp" in found
    assert "--staging_location=gs://bucket/tmp/dataflow-staging" in found
    assert "--no_save_main_session" in found
    given = dataflow_arguments([*CLOUD, IMAGE, "--temp_location=gs://other/t"], "gs://bucket/tmp")
    assert sum("temp_location" in argument for argument in given) == 1


def test_what_dataflow_would_find_out_late_is_found_out_at_once() -> None:
    with pytest.raises(UsageError, match="--project and --region"):
        dataflow_arguments([IMAGE], "gs://bucket/tmp")
    with pytest.raises(UsageError, match="--sdk_container_image"):
        dataflow_arguments(CLOUD, "gs://bucket/tmp")


def test_without_googles_packages_the_error_names_the_extra() -> None:
    try:
        check_installed()
    except UsageError as error:
        assert "forumprefs[gcp]" in str(error)


@pytest.mark.parametrize("packaging", ["image", "setup.py"])
def test_a_dry_run_builds_the_whole_job(packaging: str, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam.runners.dataflow.internal.apiclient", exc_type=ImportError)
    package = IMAGE if packaging == "image" else f"--setup_file={ROOT / 'setup.py'}"
    arguments = dataflow_arguments([*CLOUD, package, "--dry_run=True"], "gs://bucket/tmp")
    # In a process of its own: Beam writes the package's metadata where setup.py is.
    code = (
        "import json, sys\n"
        "from tests.test_dataflow import dry_run\n"
        "dry_run(json.loads(sys.argv[1]), sys.argv[2])\n"
    )
    output = tmp_path / "pipeline.pb"
    subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments), str(output)],
        cwd=ROOT, check=True, timeout=PATIENCE_S,
    )  # fmt: skip
    from apache_beam.portability.api import beam_runner_api_pb2

    proto = beam_runner_api_pb2.Pipeline.FromString(output.read_bytes())
    check_graph(proto)
    (environment,) = proto.components.environments.values()
    image = beam_runner_api_pb2.DockerPayload.FromString(environment.payload).container_image
    staged = b" ".join(item.role_payload for item in environment.dependencies)
    if packaging == "image":
        assert image == IMAGE.partition("=")[2]
        assert b"workflow.tar.gz" not in staged
    else:
        assert "beam_python" in image
        assert b"workflow.tar.gz" in staged
    assert b"pickled_main_session" not in staged


def dry_run(arguments: list[str], output: str) -> None:
    """Build the job with Dataflow's translation and save its proto."""
    pipeline = beam.Pipeline(options=PipelineOptions(["--runner=DataflowRunner", *arguments]))
    build(pipeline, job())
    result: Any = pipeline.run()
    Path(output).write_bytes(result.job.proto_pipeline.SerializeToString())
