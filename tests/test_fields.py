from enum import StrEnum
from typing import Annotated

import msgspec
import pyarrow as pa
import pytest

from schemas.arrow import PAIR_SCHEMA, arrow_schema
from schemas.fields import doc, timestamp
from schemas.pair import PAIR_SCHEMA_VERSION, Pair


class Colour(StrEnum):
    RED = "red"


class Row(msgspec.Struct):
    name: Annotated[str, doc("a name")]
    colour: Colour
    size: int | None
    tags: tuple[str, ...]
    at: Annotated[int | None, timestamp("when")]
    share: float


def test_schema_follows_the_struct() -> None:
    schema = arrow_schema(Row, version="1.2.3")
    assert schema.names == ["name", "colour", "size", "tags", "at", "share"]
    assert schema.field("name").type == pa.string()
    assert not schema.field("name").nullable
    assert schema.field("name").metadata == {b"description": b"a name"}
    assert schema.field("colour").type == pa.string()
    assert schema.field("size").type == pa.int64()
    assert schema.field("size").nullable
    assert schema.field("tags").type.value_type == pa.string()
    assert schema.field("at").type == pa.timestamp("ms", tz="UTC")
    assert schema.metadata == {b"forumprefs.schema": b"Row/1.2.3"}


def test_unsupported_type_is_an_error_that_names_the_field() -> None:
    class Bad(msgspec.Struct):
        value: dict[str, int]

    with pytest.raises(TypeError, match=r"Bad\.value"):
        arrow_schema(Bad, version="1")


def test_every_pair_column_is_described() -> None:
    assert [field.name for field in PAIR_SCHEMA] == list(Pair.__struct_fields__)
    for field in PAIR_SCHEMA:
        assert field.metadata and field.metadata[b"description"], field.name


def test_contract_columns_are_there() -> None:
    contract = ["pair_id", "source", "site", "thread_id", "split", "language"]
    contract += ["prompt", "chosen", "rejected", "chosen_score", "rejected_score", "vote_margin"]
    contract += ["window_chosen_score", "window_rejected_score", "confidence"]
    contract += ["debiased_margin", "debiased_standard_error"]
    contract += ["chosen_is_accepted", "rejected_is_accepted", "tags"]
    for side in ("prompt", "chosen", "rejected"):
        contract += [
            f"{side}_{name}"
            for name in ("id", "created_at", "url", "author", "author_url", "license")
        ]
    contract += [f"{side}_turns" for side in ("prompt", "chosen", "rejected")]
    contract += [f"context_{name}" for name in ("ids", "urls", "authors", "licenses")]
    contract += ["text_hash"]
    assert set(contract) == set(PAIR_SCHEMA.names)
    assert PAIR_SCHEMA_VERSION.count(".") == 2
