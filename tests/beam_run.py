"""Run one transform on in-memory inputs and get its output as a list."""

from typing import Any

import apache_beam as beam
from apache_beam.testing.test_pipeline import TestPipeline

_collected: list[Any] = []


def _collect(element: Any) -> None:
    _collected.append(element)


def output_of(transform: beam.PTransform, *inputs: tuple[list[Any], Any]) -> list[Any]:
    """Apply ``transform`` to inputs, each (elements, element type), in the runner's order."""
    _collected.clear()
    with TestPipeline(runner="FnApiRunner") as pipeline:
        created = tuple(
            pipeline | f"Create {place}" >> beam.Create(elements).with_output_types(element_type)
            for place, (elements, element_type) in enumerate(inputs)
        )
        output = (created[0] if len(created) == 1 else created) | transform
        _ = output | "Collect" >> beam.Map(_collect)
    return list(_collected)
