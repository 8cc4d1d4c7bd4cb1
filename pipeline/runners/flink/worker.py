"""Entry point of a Beam Python worker that a Flink TaskManager starts; no Docker is needed.

Beam's Flink runner starts a worker of environment type PROCESS as ``COMMAND --id=ID
--provision_endpoint=HOST:PORT``. In Beam's container images a Go program, ``boot``, answers that;
this module does the same for a machine where forumprefs is installed: it asks the runner's
provision service what to connect to, and runs Beam's worker in this process.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.runners.worker import end_with_parent, run_worker, worker_command

WORKER_MODULE = "pipeline.runners.flink.worker"
PROVISION_TIMEOUT_S = 60.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one worker until the runner closes the connection or dies."""
    parser = argparse.ArgumentParser(prog=f"python -m {WORKER_MODULE}", description=__doc__)
    parser.add_argument("--id", required=True, help="name of this worker, given by the runner")
    parser.add_argument("--provision_endpoint", required=True, metavar="HOST:PORT")
    # boot has further flags (--logging_endpoint and so on), which the provision service repeats.
    given, _ = parser.parse_known_args(arguments)
    end_with_parent()
    os.environ |= worker_environment(given.id, provision(given.id, given.provision_endpoint))
    run_worker()


def provision(worker: str, endpoint: str) -> Any:
    """Ask the runner for the ProvisionInfo of ``worker``; raises grpc.RpcError."""
    import grpc
    from apache_beam.portability.api import (
        beam_provision_api_pb2,
        beam_provision_api_pb2_grpc,
    )

    with grpc.insecure_channel(endpoint) as channel:
        stub = beam_provision_api_pb2_grpc.ProvisionServiceStub(channel)
        answer = stub.GetProvisionInfo(
            beam_provision_api_pb2.GetProvisionInfoRequest(),
            metadata=[("worker_id", worker)],
            timeout=PROVISION_TIMEOUT_S,
            wait_for_ready=True,
        )
    return answer.info


def worker_environment(worker: str, info: Any) -> Mapping[str, str]:
    """Environment variables from which Beam's ``sdk_worker_main`` learns what to do."""
    from google.protobuf import json_format, text_format

    found = {
        "WORKER_ID": worker,
        "PIPELINE_OPTIONS": json_format.MessageToJson(info.pipeline_options),
        "LOGGING_API_SERVICE_DESCRIPTOR": text_format.MessageToString(info.logging_endpoint),
        "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(info.control_endpoint),
        "RUNNER_CAPABILITIES": " ".join(info.runner_capabilities),
    }
    if info.status_endpoint.url:
        found["STATUS_API_SERVICE_DESCRIPTOR"] = text_format.MessageToString(info.status_endpoint)
    return found


def write_command(path: Path, log: Path | None = None) -> Path:
    """Write a program to ``path`` that runs this module; ``log``: file that stderr is appended to.

    The runner takes one path and no arguments.
    """
    command = worker_command(WORKER_MODULE, log, arguments='"$@"')
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)
    return path


if __name__ == "__main__":
    main()
