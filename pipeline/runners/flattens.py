"""Flattens without a copy: phases of Beam's translation that its local runner lacks.

Beam's runner makes a buffer of every Flatten: what is flattened is written there, read by workers,
and written again into the group that it is for. With these phases it is written into the group.
Each is a function like those in Beam's ``translations``: from the stages of a pipeline, of one
transform each, to other stages that do the same.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import translations
from apache_beam.runners.worker import bundle_processor

FLATTEN = common_urns.primitives.FLATTEN.urn


def merge_flattens(stages: Iterable[Any], context: Any) -> list[Any]:
    """Give the inputs of a Flatten that only other Flattens read to those."""
    left = list(stages)
    while True:
        readers = _readers(left)
        inner = next(
            (s for s in left if _is_flatten(s) and _only_flattens(readers[_output(s)])), None
        )
        if inner is None:
            return left
        left.remove(inner)
        for outer in readers[_output(inner)]:
            inputs = outer.transforms[0].inputs
            for name in [name for name, source in inputs.items() if source == _output(inner)]:
                del inputs[name]
                for own, source in inner.transforms[0].inputs.items():
                    inputs[f"{name}/{own}"] = source
            outer.must_follow = translations.union(outer.must_follow, inner.must_follow)


def write_into_groups(stages: Iterable[Any], context: Any) -> list[Any]:
    """Have what is flattened for a group written into it, by whoever makes it."""
    stages = list(translations.fix_flatten_coders(stages, context, FLATTEN))
    flattens = {_output(stage): stage for stage in stages if _is_flatten(stage)}
    kept: list[Any] = []
    for stage in stages:
        (transform,) = stage.transforms
        flatten = flattens.get(next(iter(transform.inputs.values()), ""))
        if flatten is None or not _is_group_write(transform):
            kept.append(stage)
            continue
        sources = flatten.transforms[0].inputs
        _, group = translations.split_buffer_id(transform.spec.payload)
        (into,) = context.components.transforms[group].inputs
        # The runner takes the coder of a group from the first PCollection that is written to it;
        # all of them have the same here.
        context.components.transforms[group].inputs[into] = next(iter(sources.values()))
        writes = [
            translations.Stage(
                f"{stage.name}/{name}",
                [
                    beam_runner_api_pb2.PTransform(
                        unique_name=f"{transform.unique_name}/{name}",
                        inputs={name: source},
                        spec=transform.spec,
                    )
                ],
                downstream_side_inputs=frozenset(),
                must_follow=translations.union(stage.must_follow, flatten.must_follow),
            )
            for name, source in sources.items()
        ]
        kept += writes
        for reader in stages:
            if stage in reader.must_follow:
                reader.must_follow = reader.must_follow - {stage} | frozenset(writes)
    readers = _readers(kept)
    return [stage for stage in kept if not _is_flatten(stage) or readers[_output(stage)]]


def read_flattened_directly(stages: Iterable[Any], context: Any) -> list[Any]:
    """Let readers that cannot be fused with the others read the buffer of a Flatten themselves.

    To be done after Beam's ``sink_flattens``. Those readers, such as steps whose side input is made
    of the same rows, would be given a second copy. That is what one gets that would wait for ever:
    to Beam 2.77 a buffer with several writers is complete when everything that they read has been
    read by all its readers, and this one would have to wait for such a buffer.
    """
    stages = list(stages)
    readers = _readers(stages)
    side_inputs = {name for stage in stages for name in stage.side_inputs()}
    extra: list[Any] = []
    for stage in stages:
        (transform,) = stage.transforms
        if transform.spec.urn != bundle_processor.DATA_INPUT_URN:
            continue
        kind, _ = translations.split_buffer_id(transform.spec.payload)
        output = _output(stage)
        if kind != "materialize" or output in side_inputs:
            continue
        apart = [
            reader
            for reader in readers[output]
            if not stage.can_fuse(reader, context)
            and not _waits_for(reader, output, [*stages, *extra])
        ]
        for number, reader in enumerate(apart, 1):
            name = f"{transform.unique_name}/{number}"
            pcollections = context.components.pcollections
            alias = translations.unique_name(pcollections, f"{output}/{number}")
            pcollections[alias].CopyFrom(pcollections[output])
            pcollections[alias].unique_name = alias
            read = beam_runner_api_pb2.PTransform()
            read.CopyFrom(transform)
            read.unique_name = name
            (into,) = read.outputs
            read.outputs[into] = alias
            extra.append(
                translations.Stage(
                    name,
                    [read],
                    downstream_side_inputs=reader.downstream_side_inputs,
                    must_follow=stage.must_follow,
                )
            )
            inputs = reader.transforms[0].inputs
            for key in [key for key, source in inputs.items() if source == output]:
                inputs[key] = alias
    return [*stages, *extra]


def _waits_for(reader: Any, source: str, stages: list[Any]) -> bool:
    """Whether a reader waits for a buffer that several write, of whom one reads ``source``."""
    readers = _readers(stages)
    makers = {name: stage for stage in stages for name in stage.transforms[0].outputs.values()}
    writers: defaultdict[bytes, list[Any]] = defaultdict(list)
    for stage in stages:
        if stage.transforms[0].spec.urn == bundle_processor.DATA_OUTPUT_URN:
            writers[stage.transforms[0].spec.payload].append(stage)
    together = [reader]  # with what may be fused to it
    for stage in together:
        for output in stage.transforms[0].outputs.values():
            together += [other for other in readers[output] if other not in together]
    pending = [(makers[name], False) for stage in together for name in stage.side_inputs()]
    for stage, several in pending:
        (transform,) = stage.transforms
        if several and source in transform.inputs.values():
            return True
        if transform.spec.urn == bundle_processor.DATA_INPUT_URN:
            before = writers[transform.spec.payload]
            several = several or len(before) > 1
        else:
            before = [makers[name] for name in transform.inputs.values()]
        pending += [(other, several) for other in before if (other, several) not in pending]
    return False


def _readers(stages: Iterable[Any]) -> "defaultdict[str, list[Any]]":
    """Stages by what they read, each once."""
    readers: defaultdict[str, list[Any]] = defaultdict(list)
    for stage in stages:
        for source in dict.fromkeys(stage.transforms[0].inputs.values()):
            readers[source].append(stage)
    return readers


def _output(stage: Any) -> str:
    (output,) = stage.transforms[0].outputs.values()
    return str(output)


def _is_flatten(stage: Any) -> bool:
    """Whether a stage is a Flatten that is more than another name."""
    (transform,) = stage.transforms
    return bool(transform.spec.urn == FLATTEN and len(transform.inputs) > 1)


def _only_flattens(stages: list[Any]) -> bool:
    return bool(stages) and all(map(_is_flatten, stages))


def _is_group_write(transform: Any) -> bool:
    return bool(
        transform.spec.urn == bundle_processor.DATA_OUTPUT_URN
        and translations.split_buffer_id(transform.spec.payload)[0] == "group"
    )
