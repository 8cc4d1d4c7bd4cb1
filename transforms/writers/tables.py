"""Arrow tables of rows, and the settings of every Parquet file that we write; loads no Beam."""

from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 4096
ROW_GROUP_BYTES = 32 * 1024 * 1024


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a Parquet file for writing; its bytes depend on the tables and pyarrow's version alone.

    Chunks are cut where their content says, so that stores such as the Hub's find what two versions
    have in common.
    """
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=3,
        use_content_defined_chunking=True,
        write_page_index=True,
    )


def to_table(rows: list[Any], schema: pa.Schema) -> pa.Table:
    """Build an Arrow table from structs whose fields are the schema's columns."""
    columns = [to_array([getattr(row, field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def to_array(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Build one Arrow column; structs inside tuples become Arrow structs."""
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        values = [msgspec.to_builtins(value) for value in values]
    return pa.array(values, type=kind)
