"""Damaged files through the trainer's readers: a value or an error of ours."""

from pathlib import Path

import training.registry
from benchmarks.fuzz import fuzz_in_process, training_targets


def test_damaged_small_files_of_the_trainer(tmp_path: Path) -> None:
    targets = training_targets()
    assert training.registry.PROMOTED_NAME in {target.file for target in targets}
    assert list(fuzz_in_process("small", 18, range(25 * len(targets)), targets, tmp_path)) == []
