"""What both trainers of benchmarks/against_trl.py are told, and what they answer.

Imported in two environments, so nothing but the standard library.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Job:
    """One training run: ``steps`` batches of ``batch_pairs`` pairs, twice over.

    The first time is not measured, for either trainer: memory is asked for, code is compiled for
    the shapes that occur. The second time is what a long run does.
    """

    model: str
    """Folder of a sequence classifier whose head has been drawn."""
    dataset: str
    """Dataset folder."""
    ids: str
    """Parquet file with the token ids of the same pairs in the same order."""
    batch_pairs: int
    steps: int
    seed: int
    max_length: int
    max_prompt_length: int
    lr: float
    weight_decay: float
    beta1: float
    beta2: float
    eps: float
    clip: float
    variant: dict[str, Any] = field(default_factory=dict)
    """Settings of the trainer itself."""

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def read_job(path: str) -> Job:
    return Job(**json.loads(Path(path).read_text(encoding="utf-8")))


@dataclass
class Meter:
    """Time and memory of the training itself, without imports and loading."""

    resident_before: float = 0.0
    began: float = 0.0
    began_cpu: float = 0.0

    def start(self) -> None:
        self.resident_before = memory("VmRSS")
        self.began = time.perf_counter()
        self.began_cpu = time.process_time()

    def stop(self) -> dict[str, float]:
        return {
            "seconds": time.perf_counter() - self.began,
            "cpu_seconds": time.process_time() - self.began_cpu,
            "peak_mb": memory("VmHWM"),
            "peak_above_model_mb": memory("VmHWM") - self.resident_before,
        }


def memory(name: str) -> float:
    """A line of /proc/self/status in MB.

    VmHWM is the peak of this program; ru_maxrss begins with that of the process that started it.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    return float("nan")
