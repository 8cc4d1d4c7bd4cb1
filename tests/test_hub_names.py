from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.diff.difference import Advice
from pipeline.errors import UsageError
from pipeline.hub.names import need_endpoint, need_repo, parse_version, split_spec
from pipeline.hub.release_notes import advise, level_between, next_number
from pipeline.hub.repo_state import Refs, git_id
from schemas.hub_names import is_path


def version(tag: str):
    found = parse_version(tag)
    assert found is not None
    return found


def test_versions_are_ordered_as_semver_says() -> None:
    tags = ["v0.9", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2"]
    tags += ["1.0.0-beta.11", "1.0.0-rc.1", "v1", "v1.0.1", "v1.2", "v1.10.0", "2.0.0"]
    assert [v.tag for v in sorted(map(version, reversed(tags)))] == tags
    assert version("v1") == version("1.0.0") and version("v1") != version("v1.0.1")
    assert len({version("v1"), version("v1.0")}) == 1


@pytest.mark.parametrize(
    "tag", ["", "v", "main", "1.2.3.4", "v1.", "v1.02", "v1-", "v1 ", "v1\n", "v１", "V1", "v1/2"]
)
def test_what_is_no_version(tag: str) -> None:
    assert parse_version(tag) is None


@given(st.text())
def test_any_text_is_a_version_or_none(tag: str) -> None:
    found = parse_version(tag)
    assert found is None or found.tag == tag


def test_the_version_before() -> None:
    refs = Refs({"v1.0.0": "a", "v2.0.0": "b", "v1.1.0": "c", "notes": "d"}, {"main": "e"})
    assert str(refs.previous(version("v1.5.0"))) == "v1.1.0"
    assert str(refs.previous(version("v2.0.0"))) == "v1.1.0"
    assert refs.previous(version("v0.1.0")) is None
    assert refs.find("notes") == "d" and refs.find("main") == "e" and refs.find("v9") is None
    assert refs.find("f" * 40) == "f" * 40


@pytest.mark.parametrize(
    ("new", "level", "says"),
    [
        ("v2.0.0", "major", "fits"),
        ("v1.3.0", "major", "such as v2.0.0; v1.3.0 raises the minor number only"),
        ("v1.2.4", "minor", "such as v1.3.0; v1.2.4 raises the patch number only"),
        ("v1.2.4", "patch", "fits"),
        ("v1.2.4", "none", "holds what v1.2.3 holds"),
    ],
)
def test_advice_on_the_number(new: str, level: str, says: str) -> None:
    advice = Advice(level=level, because="Because.")  # type: ignore[arg-type]
    said = advise(version("v1.2.3"), version(new), advice)
    assert says in said and "Because." in said


def test_levels() -> None:
    assert level_between(version("1.0.0-rc.1"), version("1.0.0")) == "patch"
    assert level_between(version("v1.9"), version("v2.0")) == "major"
    assert next_number(version("1.2.3"), "minor") == "1.3.0"


@pytest.mark.parametrize("name", ["acme/prefs", "a-b_c.d/e-f_g.h", "A1/b"])
def test_names_of_repositories(name: str) -> None:
    assert need_repo(name) == name
    assert split_spec(f"{name}@v1.0.0") == (name, "v1.0.0")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "acme",
        "/x",
        "a/",
        "a/b/c",
        "a/b..c",
        "a/b--c",
        "a/b.git",
        "a/b-",
        ".a/b",
        "ä/b",
        "a/" + "b" * 97,
    ],
)
def test_what_is_no_repository(name: str) -> None:
    with pytest.raises(UsageError, match="is not a valid repository"):
        need_repo(name)


def test_paths_are_no_versions_at_the_hub() -> None:
    for spec in ("out/beer", "gs://b/x@v1", "./out/x@v1", "a/b@", "a/b@v 1", "/a/b@v1"):
        assert split_spec(spec) is None


def test_endpoints() -> None:
    assert need_endpoint(None) is None
    assert need_endpoint("https://hub.example/") == "https://hub.example"
    for bad in ("hub.example", "ftp://x", "https://"):
        with pytest.raises(UsageError, match="is not an address"):
            need_endpoint(bad)


def test_git_names_a_file() -> None:
    # `printf 'what is up, doc?' | git hash-object --stdin`
    assert git_id(b"what is up, doc?") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("Qwen/Qwen2.5-0.5B", False),
        ("gpt2", False),
        ("runs/beer", True),  # runs/ is here
        ("runs/", True),
        ("other/beer", False),
        ("out/models/beer", True),
        ("./beer", True),
        ("../beer", True),
        ("/models/beer", True),
        ("~/beer", True),
        ("C:\\models\\beer", True),
    ],
)
def test_what_is_meant_as_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, path: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert is_path(name) == path
