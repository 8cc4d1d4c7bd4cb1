"""What is told to Flink and what is made of its answers, against a real HTTP server."""

import contextlib
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_provision_api_pb2

from benchmarks.flink_cluster import SETTINGS, ClusterError, start_cluster
from pipeline.cli import main
from pipeline.console.progress import ProgressLine
from pipeline.errors import FlinkUnreachableError, JobServerError, PipelineError, UsageError
from pipeline.runners import dispatch as runners
from pipeline.runners.flink import runner as flink
from pipeline.runners.flink.job_server import (
    child,
    find_jar,
    free_ports,
    job_server,
    write_settings,
)
from pipeline.runners.flink.rest import (
    FlinkRest,
    check_cluster,
    check_settings,
    network_bytes,
    seconds,
)
from pipeline.runners.flink.runner import FlinkSettings, _Job
from pipeline.runners.flink.worker import worker_environment, write_command
from schemas.exit_codes import ExitCode
from tests.patience import PATIENCE_S

SAMPLES = Path(__file__).parents[1] / "samples"
VERTEX = {"name": "Assemble threads", "status": "RUNNING", "tasks": {"RUNNING": 1, "FINISHED": 1}}


class FakeFlink:
    """Answers by path; what is asked to be done is noted."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "/overview": {
                "flink-version": "1.19.0",
                "taskmanagers": 2,
                "slots-total": 2,
                "slots-available": 2,
            },
            "/jobmanager/config": [{"key": k, "value": v} for k, v in SETTINGS.items()],
            "/taskmanagers": {
                "taskmanagers": [
                    {"id": "a", "slotsNumber": 1, "memoryConfiguration": {"networkMemory": 1 << 30}}
                ]
            },
            "/jobs/7": {"state": "RUNNING", "vertices": [VERTEX]},
            "/jobs/7/metrics?get=numRestarts": [{"id": "numRestarts", "value": "0"}],
            "/jobs/7/exceptions": {
                "root-exception": "java.lang.A: x\n\tat b\nCaused by: java.lang.C: full disk\n\tat"
            },
        }
        self.cancelled: list[str] = []
        self.cut = False
        flink = self
        answers, cancelled = self.answers, self.cancelled

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = answers.get(self.path)
                body = json.dumps(found).encode()
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Length", str(len(body) + flink.cut))
                self.end_headers()
                self.wfile.write(body)

            def do_PATCH(self) -> None:
                cancelled.append(self.path)
                self.send_response(202)
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("localhost", 0), Handler)
        self.url = f"http://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def fake() -> Iterator[FakeFlink]:
    server = FakeFlink()
    yield server
    server.server.shutdown()
    server.server.server_close()


def test_a_cluster_as_ours_is_fit(fake: FakeFlink) -> None:
    assert check_cluster(FlinkRest(fake.url), None) == []


def test_each_setting_that_is_amiss_is_named_with_its_remedy(fake: FakeFlink) -> None:
    assert len(check_settings({})) == 2
    assert "failover-strategy is region" in check_settings({})[0]
    assert "set restart-strategy.type to fixed-delay" in check_settings({})[1]
    soon = SETTINGS | {"restart-strategy.fixed-delay.delay": "1 s"}
    (found,) = check_settings(soon)
    assert "(1 s) is not longer than heartbeat.timeout (8 s)" in found
    fake.answers["/taskmanagers"]["taskmanagers"][0]["memoryConfiguration"]["networkMemory"] = 64
    fake.answers["/overview"]["slots-available"] = 1
    waits, memory = check_cluster(FlinkRest(fake.url), 2)
    assert "1 of 2 task slots are free" in waits
    assert f"to {network_bytes(64) >> 20}m" in memory


def test_settings_may_be_in_quotes(fake: FakeFlink) -> None:
    quoted = [{"key": k, "value": f"'{v}'"} for k, v in SETTINGS.items()]
    fake.answers["/jobmanager/config"] = quoted
    fake.answers["/taskmanagers"]["taskmanagers"][0]["memoryConfiguration"]["networkMemory"] = 64
    (found,) = check_cluster(FlinkRest(fake.url), None)
    assert f"to {network_bytes(64) >> 20}m" in found


def test_settings_that_mean_something_to_yaml_are_read_back(tmp_path: Path) -> None:
    settings = {"a.b": "x: y # z", "c": "8000", "d": "yes"}
    assert yaml.safe_load((write_settings(tmp_path, settings) / "config.yaml").read_text()) == (
        settings
    )


def test_a_second_cluster_on_one_port_is_refused(fake: FakeFlink, tmp_path: Path) -> None:
    port = fake.server.server_port
    with (
        pytest.raises(ClusterError, match=f"port {port} is taken"),
        start_cluster("x.jar", tmp_path, port=port),
    ):
        pass


@pytest.mark.skipif(shutil.which("java") is None, reason="no Java")
def test_a_cluster_whose_jobmanager_ends_says_so_at_once(tmp_path: Path) -> None:
    port, rpc_port = free_ports(2)
    absent = str(tmp_path / "absent.jar")
    with (
        pytest.raises(ClusterError, match=r"JobManager ended at its start\.\n.*log ends with"),
        start_cluster(absent, tmp_path, port=port, rpc_port=rpc_port, taskmanagers=0, slots=1),
    ):
        pass


def test_free_ports_are_none_that_an_outgoing_connection_may_take() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if given.exists():
        assert max(ports) < int(given.read_text().split()[0])


def test_prism_may_be_named_by_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {}

    class Server:
        def __init__(self, options: PipelineOptions) -> None:
            given.update(options.get_all_options(drop_default=True))

        def start(self) -> None: ...
        def stop(self) -> None: ...

    monkeypatch.setattr("apache_beam.runners.portability.prism_runner.PrismJobServer", Server)
    monkeypatch.setenv("FORUMPREFS_PRISM", "/opt/prism")
    with runners.prism(["--job_port=1"]) as address:
        assert given["prism_location"] == "/opt/prism"
        assert address == f"localhost:{given['job_port']}" != "localhost:1"
    with runners.prism(["--prism_location=/mine"]):
        assert given["prism_location"] == "/mine"
    monkeypatch.setenv("FORUMPREFS_PRISM", str(tmp_path / "none"))
    arguments = ["--input", f"stackexchange={SAMPLES}", "--output", str(tmp_path / "o"), "--quiet"]
    assert main(["curate", *arguments, "--runner", "prism"]) == ExitCode.USAGE
    assert "$FORUMPREFS_PRISM is" in capsys.readouterr().err


def test_the_jar_may_be_named_by_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORUMPREFS_FLINK_JAR", str(tmp_path / "none.jar"))
    arguments = ["--input", f"stackexchange={SAMPLES}", "--output", str(tmp_path / "o"), "--quiet"]
    assert main(["curate", *arguments, "--runner", "flink"]) == ExitCode.USAGE
    assert "none.jar: there is no such file" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_what_cannot_run_is_refused(fake: FakeFlink) -> None:
    rest = FlinkRest(fake.url)
    with pytest.raises(ValueError, match="--workers 3, but the cluster has 2"):
        check_cluster(rest, 3)
    fake.answers["/overview"]["slots-total"] = 0
    with pytest.raises(ValueError, match="no TaskManager"):
        check_cluster(rest, None)


def test_a_jar_for_another_flink_is_refused(fake: FakeFlink, tmp_path: Path) -> None:
    jar = tmp_path / "beam-runners-flink-2.2-job-server-2.77.0.jar"
    jar.touch()
    settings = FlinkSettings(master=fake.url, jar=str(jar))
    with pytest.raises(UsageError, match=r"runs Flink 1\.19, and .* is for 2\.2"):
        flink.look_at_cluster(FlinkRest(fake.url), settings)


def test_no_flink_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--input", f"stackexchange={SAMPLES}", "--output", str(tmp_path / "o"), "--quiet"]
    flags = ["--runner", "flink", "--flink-master", "localhost:1"]
    assert main(["curate", *arguments, *flags]) == ExitCode.USAGE
    assert "no answer from Flink at http://localhost:1" in capsys.readouterr().err
    assert main(["curate", *arguments, *flags[2:]]) == ExitCode.USAGE
    assert "--flink-master needs --runner flink" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "expected"), [("10 s", 10), ("8000", 8), ("2min", 120), ("'5 s'", 5), ("x", 50)]
)
def test_durations(text: str, expected: float) -> None:
    assert seconds(text, 50) == expected


def test_progress_of_a_job_in_words(fake: FakeFlink) -> None:
    state = FlinkRest(fake.url).job_state("7")
    assert state.describe() == "Flink: 1 of 2 tasks done"
    assert state.running == ("Assemble threads",)
    fake.answers["/jobs/7"]["state"] = "RESTARTING"
    fake.answers["/jobs/7/metrics?get=numRestarts"][0]["value"] = "2"
    text = FlinkRest(fake.url).job_state("7").describe()
    assert text == "Flink: 1 of 2 tasks done, job is restarting, restarts 2"


def test_a_job_that_gets_no_further_is_cancelled_with_advice(
    fake: FakeFlink, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(flink, "REST_INTERVAL_S", 0.1)
    monkeypatch.setattr(flink, "CANCEL_S", 0.5)
    ended = threading.Event()
    fake.answers["/jobs/overview"] = {"jobs": [{"jid": "7", "name": "stuck"}]}
    settings = FlinkSettings(master=fake.url, stall_minutes=0.02)
    job = _Job(FlinkRest(fake.url), name="stuck", progress=ProgressLine(0), settings=settings)
    with pytest.raises(PipelineError, match=r"no progress for 0\.02 minutes \(Assemble threads\)"):
        job.run(lambda pipeline: ended.wait(PATIENCE_S), PipelineOptions([]))
    ended.set()
    assert fake.cancelled == ["/jobs/7?mode=cancel"]
    assert "the job stuck was cancelled and continues" in capsys.readouterr().err


def interrupted(job: _Job, monkeypatch: pytest.MonkeyPatch, phase: str | None = None) -> None:
    """Run a job that never ends and that is interrupted at once."""

    def interrupt() -> None:
        if phase is not None:
            job._phase = phase
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "_look", interrupt)
    ended = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        job.run(lambda pipeline: ended.wait(PATIENCE_S), PipelineOptions([]))
    ended.set()


def test_an_interrupted_run_waits_until_its_job_has_ended(
    fake: FakeFlink, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers["/jobs/overview"] = {"jobs": [{"jid": "7", "name": "mine"}]}
    settings = FlinkSettings(master=fake.url)
    job = _Job(FlinkRest(fake.url), name="mine", progress=ProgressLine(0), settings=settings)
    looks: list[int] = []
    monkeypatch.setattr(flink, "CANCEL_S", PATIENCE_S)
    rest = FlinkRest(fake.url)

    def look(number: str) -> object:
        looks.append(len(fake.cancelled))
        if len(looks) == 3:
            raise FlinkUnreachableError("silent for once")
        if len(looks) == 6:
            fake.answers["/jobs/7"]["state"] = "CANCELED"
        return rest.job_state(number)

    monkeypatch.setattr(job._rest, "job_state", look)
    interrupted(job, monkeypatch)
    assert looks == [0, 0, 1, 1, 1, 1], "seen, cancelled once, looked at until it had ended"
    assert "warning" not in capsys.readouterr().err


def test_a_job_that_has_ended_is_not_cancelled(
    fake: FakeFlink, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers["/jobs/overview"] = {"jobs": [{"jid": "7", "name": "done"}]}
    fake.answers["/jobs/7"]["state"] = "FINISHED"
    settings = FlinkSettings(master=fake.url)
    job = _Job(FlinkRest(fake.url), name="done", progress=ProgressLine(0), settings=settings)
    interrupted(job, monkeypatch)
    assert not fake.cancelled and capsys.readouterr().err == ""


def test_a_job_goes_when_the_job_server_is_lost(
    fake: FakeFlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers["/jobs/overview"] = {"jobs": [{"jid": "7", "name": "orphan"}]}
    monkeypatch.setattr(flink, "CANCEL_S", 0.3)
    settings = FlinkSettings(master=fake.url)
    job = _Job(FlinkRest(fake.url), name="orphan", progress=ProgressLine(0), settings=settings)

    def fail(pipeline: object) -> None:
        raise RuntimeError("UNAVAILABLE")

    with pytest.raises(PipelineError):
        job.run(fail, PipelineOptions([]))
    assert fake.cancelled == ["/jobs/7?mode=cancel"]


def test_a_job_that_flink_does_not_list_yet_is_waited_for(
    fake: FakeFlink, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.answers["/jobs/overview"] = {"jobs": []}
    monkeypatch.setattr(flink, "APPEAR_S", 0.3)
    settings = FlinkSettings(master=fake.url)
    job = _Job(FlinkRest(fake.url), name="late", progress=ProgressLine(0), settings=settings)
    interrupted(job, monkeypatch, "handing the job to Flink")
    said = capsys.readouterr().err
    assert "the job late could not be cancelled" in said and fake.url in said
    job = _Job(FlinkRest(fake.url), name="early", progress=ProgressLine(0), settings=settings)
    interrupted(job, monkeypatch)
    assert "early" not in capsys.readouterr().err, "nothing had been handed over"
    embedded = FlinkSettings()
    job = _Job(FlinkRest(fake.url), name="own", progress=ProgressLine(0), settings=embedded)
    interrupted(job, monkeypatch, "handing the job to Flink")
    assert capsys.readouterr().err == "", "it ends with its job server"


def test_threads_are_silent_once_the_job_server_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[type] = []
    monkeypatch.setattr(threading, "excepthook", lambda given: told.append(given.exc_type))

    def fail(error: Exception) -> None:
        def run() -> None:
            raise error

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    with flink._quiet_threads() as stopped:
        fail(grpc.RpcError())
        stopped.set()
        fail(grpc.RpcError())
        fail(ValueError())
    fail(grpc.RpcError())
    assert told == [grpc.RpcError, ValueError, grpc.RpcError]


def test_a_failure_is_told_in_the_words_of_flink(fake: FakeFlink) -> None:
    fake.answers["/jobs/overview"] = {"jobs": [{"jid": "7", "name": "fails"}]}
    job = _Job(
        FlinkRest(fake.url), name="fails", progress=ProgressLine(0), settings=FlinkSettings()
    )
    job._look()

    def fail(pipeline: object) -> None:
        raise RuntimeError("unknown error")

    with pytest.raises(PipelineError, match=r"^java\.lang\.C: full disk$"):
        job.run(fail, PipelineOptions([]))


def test_a_cause_that_names_the_file_is_preferred(fake: FakeFlink) -> None:
    fake.answers["/jobs/7/exceptions"]["root-exception"] = (
        "a.JobException: failed\n\tat x\n"
        'Caused by: java.io.IOException: Cannot run program "/no/worker": error=2, No such file\n'
        "\tat x\nCaused by: java.io.IOException: error=2, No such file\n\tat x\n"
    )
    assert '"/no/worker"' in FlinkRest(fake.url).last_error("7")


def test_a_silent_flink_is_unreachable(fake: FakeFlink) -> None:
    with pytest.raises(FlinkUnreachableError, match="404"):
        FlinkRest(fake.url).get("/nothing")


def test_an_answer_that_is_cut_short_is_none(fake: FakeFlink) -> None:
    fake.cut = True
    with pytest.raises(FlinkUnreachableError, match="IncompleteRead"):
        FlinkRest(fake.url).get("/overview")


def test_a_job_server_that_does_not_start_is_told_with_its_log(tmp_path: Path) -> None:
    if not (java := shutil.which("java")):
        pytest.skip("no Java")
    jar = tmp_path / "broken.jar"
    jar.write_bytes(b"no jar")
    with (
        pytest.raises(JobServerError, match=r"(?s)did not start.*broken\.jar"),
        job_server(str(jar), "[local]", tmp_path, settings={}, java=java),
    ):
        pass
    with pytest.raises(UsageError, match="there is no such file"):
        find_jar(str(tmp_path / "none.jar"))


def test_children_end_with_all_that_they_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(inner.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    log = tmp_path / "log"
    with child([sys.executable, "-c", code], log):
        while not log.read_text():
            time.sleep(0.05)
    inner = int(log.read_text())
    status = Path(f"/proc/{inner}/status")
    deadline = time.monotonic() + PATIENCE_S  # the system takes a moment to end what was killed
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        while "zombie" not in status.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_a_worker_learns_what_to_connect_to() -> None:
    info = beam_provision_api_pb2.ProvisionInfo(runner_capabilities=["a", "b"])
    info.control_endpoint.url = "localhost:1"
    info.logging_endpoint.url = "localhost:2"
    info.pipeline_options["beam:option:job_name:v1"] = "x"
    found = worker_environment("1-1", info)
    assert found["WORKER_ID"] == "1-1" and found["RUNNER_CAPABILITIES"] == "a b"
    assert found["CONTROL_API_SERVICE_DESCRIPTOR"].strip() == 'url: "localhost:1"'
    assert json.loads(found["PIPELINE_OPTIONS"]) == {"beam:option:job_name:v1": "x"}


def test_the_workers_program_has_one_path_and_this_interpreter(tmp_path: Path) -> None:
    path = write_command(tmp_path / "worker", tmp_path / "a log")
    assert path.stat().st_mode & 0o100
    text = path.read_text()
    assert f'{sys.executable} -P -m pipeline.runners.flink.worker "$@"' in text
    assert "2>>'" in text, "paths with spaces"
