"""Our side of benchmarks/peers.py, HTML to Markdown without Beam: `convert` Posts.xml OUTPUT."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.readers.formats.filesystem import open_input
from transforms.readers.stackexchange.xml_rows import read_rows
from transforms.text.markdown import html_to_markdown


def main() -> None:
    source, output = Path(sys.argv[2]), Path(sys.argv[3])
    ids, texts = [], []
    with open_input(str(source)) as stream:
        for batch in read_rows(stream, 0, source.stat().st_size):
            for row in batch.rows:
                if row.get("PostTypeId") in ("1", "2"):
                    ids.append(row["Id"])
                    texts.append(html_to_markdown(row["Body"]))
    pq.write_table(pa.table({"id": ids, "markdown": texts}), output / "markdown.parquet")


if __name__ == "__main__":
    main()
