"""What ``--setup_file ./setup.py`` sends to workers: an sdist that holds all and installs."""

import os
import subprocess
import sys
import venv
from pathlib import Path

from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[1]
LAYERS = ("schemas", "transforms", "pipeline", "dags", "training")


def run(*command: str | Path, cwd: Path) -> str:
    # With the project on the search path, pip would find it installed.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE_S, env=env
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_an_empty_environment_can_import_all_of_it(tmp_path: Path) -> None:
    """As Beam's stager does it: ``setup.py sdist``, then pip on the worker."""
    metadata = tmp_path / "metadata"
    metadata.mkdir()
    run(sys.executable, "setup.py", "-q", "egg_info", "--egg-base", metadata, "sdist",
        "--dist-dir", tmp_path / "dist", cwd=ROOT)  # fmt: skip
    (archive,) = (tmp_path / "dist").iterdir()
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, archive,
        cwd=tmp_path)  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv/bin/python"
    run(*pip, "--python", python, "install", "-q", "--no-compile", "--no-deps", wheel, cwd=tmp_path)

    # The libraries come from here, behind what was installed there; its .pth files do not count.
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    code = (
        "import importlib, pathlib, sys\n"
        f"sys.path += {libraries!r}\n"
        f"for layer in {LAYERS!r}:\n"
        "    root = pathlib.Path(importlib.import_module(layer).__file__).parent\n"
        f"    assert root.is_relative_to({str(tmp_path)!r}), root\n"
        "    for path in sorted(root.rglob('*.py')):\n"
        "        name = '.'.join(path.relative_to(root.parent).with_suffix('').parts)\n"
        "        print(name.removesuffix('.__init__'))\n"
        "for name in ('transforms.filters.language', 'pipeline.curate.graph',"
        " 'pipeline.runners.flink.worker'):\n"
        "    importlib.import_module(name)\n"
        "from transforms.filters.identifiers import known_languages\n"
        "assert 'en' in known_languages('lid.176')\n"
    )
    installed = set(run(python, "-I", "-c", code, cwd=tmp_path).split())
    written = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for layer in LAYERS
        for path in (ROOT / layer).rglob("*.py")
    }
    assert installed == written
    assert (tmp_path / "venv/bin/forumprefs-flink-worker").is_file()


def test_the_worker_image_has_the_versions_and_the_layers() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert "ARG BEAM=2.77" in text and '"apache-beam>=2.77,<2.78"' in setup
    for layer in LAYERS:
        assert f"COPY {layer} /opt/forumprefs/{layer}\n" in text
