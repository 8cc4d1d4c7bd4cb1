"""The figures of docs/trainers.md: the first loss of each trainer on each export.

.venv/bin/python -m tests.trainers.inputs make FOLDER DATASET
.venv-trl/bin/python -m tests.trainers.table FOLDER
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


def main(folder: Path) -> None:
    from tests.trainers.runs import contradictory, train

    made = Made(folder)
    tables = {
        "dataset": made.pairs(),
        "dataset, vote_margin as margin": made.pairs().rename_column("vote_margin", "margin"),
        **{name: made.load(name) for name in ("trl-pairs", "trl-chat", "openrlhf", "kto")},
        **{
            f"{name}, margin": made.load(name, "exports-with-margin")
            for name in ("trl-pairs", "trl-chat")
        },
    }
    print("| trainer |", " | ".join(tables), "|")
    print("|---|" + "---:|" * len(tables))
    counts = {}
    for kind, title in KINDS.items():
        cells = []
        for name, table in tables.items():
            if (name == "kto") != (kind == "kto") and not (kind == "kto" and name == "trl-chat"):
                cells.append("")
                continue
            with tempfile.TemporaryDirectory() as output:
                ran = train(made, kind, table, Path(output))
            cells.append(f"{ran.losses[0]:.4f}")
            if kind == "kto":
                counts[name] = (
                    len(ran.rows),
                    contradictory(ran.rows),
                    sum(table["label"]) if name == "kto" else None,
                )
        print(f"| {title} |", " | ".join(cells), "|", flush=True)
    print("rows:", {name: len(table) for name, table in tables.items()})
    print("KTO's rows, contradictory, good:", counts)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
