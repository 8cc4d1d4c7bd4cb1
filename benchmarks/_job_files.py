"""What both trainers of benchmarks/against_trl.py are told, and what they answer.

Imported in two environments, so nothing but the standard library.
"""

import json
import os
import signal
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Job:
    """One training run: ``steps`` batches of ``batch_pairs`` pairs, ``rounds`` + 1 times over.

    The first time is not measured, for either trainer: memory is asked for, code is compiled for
    the shapes that occur. The others are what a long run does.
    """

    model: str
    """Folder of a sequence classifier whose head has been drawn."""
    dataset: str
    """Dataset folder."""
    ids: str
    """Parquet file with the token ids of the same pairs in the same order."""
    batch_pairs: int
    steps: int
    rounds: int
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
    began_cpu: float | None = None
    cpu_seconds: list[float] = field(default_factory=list)

    def end_round(self) -> None:
        """Note what a round took, the first excepted; then stop until it is this one's turn again.

        SIGSTOP by its own hand: who started it sees that, and sends SIGCONT.
        """
        if self.began_cpu is None:
            self.resident_before = memory("VmRSS")
        else:
            self.cpu_seconds.append(time.process_time() - self.began_cpu)
        os.kill(os.getpid(), signal.SIGSTOP)
        self.began_cpu = time.process_time()

    def figures(self) -> dict[str, Any]:
        return {
            "cpu_seconds": self.cpu_seconds,
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
