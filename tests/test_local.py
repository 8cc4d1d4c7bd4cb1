import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.runners.local import run_local
from tests import broken_worker

ROOT = Path(__file__).parents[1]


def run_script(code: str, timeout: float = 90) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=timeout
    )


def test_an_error_in_a_step_is_raised_with_its_cause() -> None:
    with pytest.raises(PipelineError, match="cannot take") as caught:
        run_local(broken_worker.build(broken_worker.fail))
    assert caught.value.__cause__ is not None


def test_a_dead_worker_fails_the_run_instead_of_hanging_it() -> None:
    done = run_script(
        "import os\n"
        "from pipeline.runners.local import run_local, WorkerDiedError\n"
        "from tests import broken_worker as b\n"
        "try:\n"
        "    run_local(b.build(b.die), workers=2)\n"
        "except WorkerDiedError as error:\n"
        "    print('DIED', error, flush=True)\n"
        "os._exit(0)\n"
    )
    assert "DIED a worker process died" in done.stdout
    assert "memory" in done.stdout, "the message says what to do"


def test_workers_do_not_outlive_an_interrupted_run() -> None:
    code = (
        "import os, signal\n"
        # In the background of a shell script SIGINT is ignored, and children inherit that.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pipeline.runners.local import run_local\n"
        "from tests import broken_worker as b\n"
        "print('STARTED', flush=True)\n"
        "try:\n"
        "    run_local(b.build(b.sleep), workers=2)\n"
        "except KeyboardInterrupt:\n"
        "    print('INTERRUPTED', flush=True)\n"
        "os._exit(130)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    time.sleep(12)  # long enough for the workers to be in their first element
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert "INTERRUPTED" in output
    assert process.returncode == 130
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail("worker processes were still there")
