"""The figures of docs/trainers.md: the first loss of each trainer on each export.

.venv/bin/python -m tests.trainers.inputs make FOLDER DATASET
.venv-trl/bin/python -m benchmarks.first_losses FOLDER
"""

import sys
import tempfile
from pathlib import Path

from tests.trainers.conftest import Made

KINDS = {
    "reward": "RewardTrainer",
    "dpo": "DPOTrainer, sigmoid",
    "ipo": "DPOTrainer, IPO",
    "kto": "KTOTrainer",
    "orpo": "ORPOTrainer",
    "simpo": "CPOTrainer, SimPO",
}


ROWS = 64
"""Of each table: of the first loss only the first batch counts."""


def main(folder: Path) -> None:
    from trl.data_utils import unpair_preference_dataset

    from tests.trainers.runs import contradictory, train

    made = Made(folder)
    tables = {
        "dataset": made.pairs(),
        "dataset, votes as `margin`": made.pairs().rename_column("vote_margin", "margin"),
        **{name: made.load(name) for name in ("trl-pairs", "trl-chat", "openrlhf", "kto")},
        "trl-chat, margin": made.load("trl-chat", "exports-with-margin"),
    }
    rows = {name: f"{len(table):,}" for name, table in tables.items()}
    print("|  |", " | ".join(tables), "|")
    print("|---|" + "---:|" * len(tables))
    print("| rows |", " | ".join(rows.values()), "|")
    for kind, title in KINDS.items():
        cells = []
        for name, table in tables.items():
            if (name == "kto") != (kind == "kto"):
                cells.append("")
                continue
            with tempfile.TemporaryDirectory() as output:
                ran = train(made, kind, table.select(range(ROWS)), Path(output))
            cells.append(f"{ran.losses[0]:.4f}")
        print(f"| {title} |", " | ".join(cells), "|", flush=True)
    kto = tables["kto"]
    unpaired = unpair_preference_dataset(tables["trl-chat"])
    for name, table in {"TRL of the pairs": unpaired, "kto": kto}.items():
        texts = {repr((row["prompt"], row["completion"])) for row in table}
        print(
            f"{name}: {len(table):,} rows, {len(texts):,} responses, {sum(table['label']):,} good, "
            f"{contradictory(table):,} rows contradict another"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
