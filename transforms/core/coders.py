"""The one coder of the pipeline: msgspec structs as MessagePack."""

from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.coders import registry


class StructCoder(beam.coders.Coder):
    """Encode one msgspec.Struct type; deterministic, so it also works for keys."""

    def __init__(self, row: type[msgspec.Struct]) -> None:
        self.row = row
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(row)

    def encode(self, value: Any) -> bytes:
        return self._encoder.encode(value)

    def decode(self, encoded: bytes) -> Any:
        return self._decoder.decode(encoded)

    def is_deterministic(self) -> bool:
        return True

    def to_type_hint(self) -> type[msgspec.Struct]:
        return self.row

    @classmethod
    def from_type_hint(cls, typehint: Any, registry: Any) -> "StructCoder":
        return cls(typehint)

    # Beam compares the coders of joined inputs and the workers receive pickled copies.
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.row is getattr(other, "row", None)

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.row.__qualname__))

    def __reduce__(self) -> tuple[type, tuple[type[msgspec.Struct]]]:
        return type(self), (self.row,)


def register(*rows: type[msgspec.Struct]) -> None:
    """Make Beam use :class:`StructCoder` wherever one of ``rows`` is the element type."""
    for row in rows:
        registry.register_coder(row, StructCoder)
