"""The one coder of the pipeline: msgspec structs as MessagePack."""

import functools
from typing import Any

import apache_beam as beam
import msgspec
from apache_beam.coders import registry

from transforms.core.blobs import Blob as Blob  # whoever asks the room for it gets its coder, too
from transforms.core.blobs import decode_blob, encode_blob


class StructCoder(beam.coders.Coder):
    """Encode one msgspec.Struct type, or Blob.

    It is deterministic, so it also works for keys; a key must not have a blob.
    """

    def __init__(self, row: type[Any]) -> None:
        self.row = row
        self._encoder = encoder_of(row)
        self._decoder = decoder_of(row)

    def encode(self, value: Any) -> bytes:
        return self._encoder.encode(value)

    def decode(self, encoded: bytes) -> Any:
        return self._decoder.decode(encoded)

    def estimate_size(self, value: Any) -> int:
        """Return the encoded size in bytes, that of a blob's bytes included, and write no blob.

        Beam asks it of a sample of all elements, also of those that are never encoded.
        """
        blobs: list[int] = []

        def weigh(blob: Blob) -> bytes:
            blobs.append(len(blob))
            return b""

        size = len(msgspec.msgpack.Encoder(enc_hook=weigh).encode(value))
        return size + sum(blobs)

    def is_deterministic(self) -> bool:
        return True

    def to_type_hint(self) -> type[Any]:
        return self.row

    @classmethod
    def from_type_hint(cls, typehint: Any, registry: Any) -> "StructCoder":
        return cls(typehint)

    # Beam compares the coders of joined inputs and the workers receive pickled copies.
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.row is getattr(other, "row", None)

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.row.__qualname__))

    def __reduce__(self) -> tuple[type, tuple[type[Any]]]:
        return type(self), (self.row,)


def encoder_of(row: type[Any]) -> msgspec.msgpack.Encoder:
    """Return the encoder of a type of shuffled elements or of their parts."""
    return _encoder_of(row.__name__)


@functools.cache
def _encoder_of(kind: str) -> msgspec.msgpack.Encoder:
    return msgspec.msgpack.Encoder(enc_hook=functools.partial(encode_blob, kind=kind))


def decoder_of(row: type[Any]) -> msgspec.msgpack.Decoder[Any]:
    """Return the decoder of a type of shuffled elements or of their parts."""
    return msgspec.msgpack.Decoder(row, dec_hook=decode_blob)


def register(*rows: type[Any]) -> None:
    """Make Beam use :class:`StructCoder` wherever one of ``rows`` is the element type."""
    for row in rows:
        registry.register_coder(row, StructCoder)


register(Blob)
