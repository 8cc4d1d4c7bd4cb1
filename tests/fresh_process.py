"""Python processes for tests of training, which start with torch and transformers in memory.

To import them takes a process ten seconds. One process pays that, and each of ours is a fork of it,
made by the "forkserver" of :mod:`multiprocessing`: nothing that a test has done is in it.
"""

import multiprocessing
import os
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.patience import PATIENCE_S

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "torch._dynamo",
        "torch.distributed.fsdp",
        "transformers.models.auto.modeling_auto",
        "transformers.models.auto.tokenization_auto",
        "transformers.models.qwen2.modeling_qwen2",
        "training.run.setup",
    ]
)
TIMEOUT_S = 2 * PATIENCE_S


def start_python(arguments: list[str], log: Path) -> BaseProcess:
    """Start what ``python ARGUMENTS`` does: a script, or ``-m`` and a module."""
    process = FORKS.Process(target=as_main, args=(arguments, log))
    process.start()
    return process


def torchrun(ranks: int, arguments: list[str], log: Path) -> None:
    """Do what ``torchrun --standalone --nproc-per-node RANKS ARGUMENTS`` does.

    torchrun's own agent starts, connects and watches the ranks. Raises ChildFailedError.
    """
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        *(1, 1, ranks),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=str(log),
        max_restarts=0,
        start_method="forkserver",
    )
    with ThreadPoolExecutor(1) as thread:  # in another one it leaves our signals alone
        thread.submit(elastic_launch(config, _rank), arguments, log).result()


def finish(process: BaseProcess) -> int | None:
    """Wait for its end and return its exit code."""
    process.join(TIMEOUT_S)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode


def as_main(arguments: list[str], log: Path) -> None:
    """Be ``python ARGUMENTS``, with the output in ``log``."""
    with log.open("ab") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    is_module = arguments[0] == "-m"
    sys.argv = arguments[is_module:]
    if is_module:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(arguments[0], run_name="__main__")


def _rank(arguments: list[str], log: Path) -> None:
    try:
        as_main(arguments, log)
    except SystemExit as end:  # the agent knows functions that return, or raise
        if end.code:
            raise RuntimeError(f"exit code {end.code}") from end
