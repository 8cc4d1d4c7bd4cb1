"""Pipelines that end badly, in an importable module because workers must import them."""

import os
import signal
import time
from pathlib import Path

import apache_beam as beam


def die(element: int) -> int:
    if element == 7:
        os._exit(9)
    return element


def be_killed(element: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return element


def fail(element: int) -> int:
    raise ValueError(f"cannot take {element}")


def sleep(element: int) -> int:
    """Say in a file of $SLEEPING that this process is at work, and do not end."""
    (Path(os.environ["SLEEPING"]) / str(os.getpid())).touch()
    time.sleep(600)
    return element


class NeverEnds(beam.DoFn):
    """Its worker does its work, but does not end by itself."""

    def process(self, element: int):
        yield element

    def teardown(self) -> None:
        time.sleep(600)


class LeavesAtOnce(beam.DoFn):
    """Its worker does its work, and is gone before its streams are closed."""

    def setup(self) -> None:
        from apache_beam.runners.worker.data_plane import GrpcClientDataChannelFactory

        GrpcClientDataChannelFactory.close = lambda _: os._exit(0)

    def process(self, element: int):
        yield element


def build_leaves_at_once(pipeline: beam.Pipeline) -> None:
    _ = pipeline | beam.Create(range(20)) | beam.Reshuffle() | beam.ParDo(LeavesAtOnce())


def build_never_ends(pipeline: beam.Pipeline) -> None:
    _ = pipeline | beam.Create(range(20)) | beam.Reshuffle() | beam.ParDo(NeverEnds())


def build(function):
    def add(pipeline: beam.Pipeline) -> None:
        _ = pipeline | beam.Create(range(20)) | beam.Reshuffle() | beam.Map(function)

    return add
