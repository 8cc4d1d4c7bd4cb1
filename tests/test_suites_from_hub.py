"""Suites by name from a Hub on loopback: the files that belong to each, and what is missing."""

import json
from pathlib import Path

from tests.hub import HubServer
from tests.suite_files import FILES
from training.evaluation.suites.registry import load_suite


def test_suites_come_from_the_hub_by_name(tmp_path: Path) -> None:
    row = {"id": 1, "prompt": "Why?", "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"]}
    rows = json.dumps([{**row, "domain": "chat"}]).encode()
    transcripts = FILES["hh-rlhf"](tmp_path / "hh").read_bytes()
    pairs = tmp_path / "own.json"
    pairs.write_text(json.dumps([{"prompt": "a", "chosen": "b", "rejected": "c"}]))
    with HubServer(organizations=("THU-KEG", "Anthropic", "acme")) as hub:
        hub.create_repo("THU-KEG/RM-Bench")
        hub.commit(
            "THU-KEG/RM-Bench",
            {"total_dataset.json": rows, "chat_filtered.json": rows, "README.md": b"# RM-Bench"},
        )
        hub.create_repo("Anthropic/hh-rlhf")
        hub.commit(
            "Anthropic/hh-rlhf",
            {
                "harmless-base/test.jsonl.gz": transcripts,
                "harmless-base/train.jsonl.gz": b"not to be read",
                "red-team-attempts/red_team_attempts.jsonl.gz": b"not to be read",
            },
        )
        hub.create_repo("acme/own")
        hub.commit("acme/own", {"data/pairs.json": pairs.read_bytes()})
        hub.api().create_tag("acme/own", tag="v1", repo_type="dataset")
        hub.commit("acme/own", {"data/pairs.json": b"[]"})
        out = hub.python(
            """
            import json
            from training.evaluation.suites.registry import load_suite
            from training.errors import SuiteError
            found = {}
            for name, location in (
                ("rm-bench", ""), ("hh-rlhf", ""), ("pairs", "acme/own@v1"),
            ):
                loaded = load_suite(name, location)
                found[name] = [len(loaded.items), loaded.location, loaded.sha256, loaded.files]
            for name, location in (("judgebench", ""), ("pairs", "acme/own@v2")):
                try:
                    load_suite(name, location)
                except SuiteError as error:
                    found[f"{name}={location}"] = str(error)
            print(json.dumps(found))
            """
        )
    found = json.loads(out)
    # The total file of RM-Bench holds the others, which would count each prompt twice.
    assert found["rm-bench"][:2] == [1, "THU-KEG/RM-Bench"]
    assert list(found["rm-bench"][2]) == ["total_dataset.json"]
    assert found["hh-rlhf"][0] == 2
    assert found["hh-rlhf"][2].keys() == {"test.jsonl.gz"}
    local = load_suite("pairs", str(pairs))
    assert found["pairs"][0] == len(local.items) == 1
    assert found["pairs"][1] == "acme/own@v1"
    assert list(found["pairs"][2].values()) == list(local.sha256.values())
    assert found["pairs"][3].endswith("/data")
    assert (Path(found["pairs"][3]) / "pairs.json").name == "pairs.json"
    assert found["judgebench="] == (
        "judgebench=ScalerLab/JudgeBench: no file here, and on the Hub: no dataset of that name "
        "there, or none that you may read (set HF_TOKEN)"
    )
    assert found["pairs=acme/own@v2"] == (
        "pairs=acme/own@v2: no file here, and on the Hub: the dataset has no revision v2"
    )
