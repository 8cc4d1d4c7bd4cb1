import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.runners.local import run_local
from tests import broken_worker
from tests.patience import PATIENCE_S, wait_for

ROOT = Path(__file__).parents[1]


def run_script(code: str, timeout: float = PATIENCE_S) -> subprocess.CompletedProcess:
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
        "from pipeline.errors import WorkerDiedError\n"
        "from pipeline.runners.local import run_local\n"
        "from tests import broken_worker as b\n"
        "try:\n"
        "    run_local(b.build(b.die), workers=2)\n"
        "except WorkerDiedError as error:\n"
        "    print('DIED', error, flush=True)\n"
        "os._exit(0)\n"
    )
    assert "DIED a worker process died" in done.stdout
    assert "memory" in done.stdout, "the message says what to do"


def is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_workers_do_not_outlive_an_interrupted_run(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        # In the background of a shell script SIGINT is ignored, and children inherit that.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pipeline.runners.local import run_local\n"
        "from tests import broken_worker as b\n"
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
        env={**os.environ, "SLEEPING": str(tmp_path)},
    )
    try:
        wait_for(lambda: any(tmp_path.iterdir()), "no worker is in its first element")
        assert str(process.pid) not in [path.name for path in tmp_path.iterdir()]
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE_S)
        assert "INTERRUPTED" in output
        assert process.returncode == 130
        wait_for(lambda: is_gone(process.pid), "worker processes are still there")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
