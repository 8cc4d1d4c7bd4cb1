"""The suites by name, and where the files of each are found."""

import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from training.evaluation.items import Item
from training.evaluation.suites import held_out as own
from training.evaluation.suites import judged, pairs, ppe, reward_bench, rm_bench, rmb
from training.evaluation.suites.rows import SUFFIXES, Row, SuiteError, read_rows

_HUB = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)


@dataclass(frozen=True)
class Suite:
    """A suite that ``--benchmark NAME=PATH`` can name."""

    name: str
    title: str
    citation: str
    read: Callable[[Iterable[Row]], Iterator[Item]] | None
    """None: a dataset of this project."""
    columns: str
    size: str
    hub: str = ""
    """Dataset on the Hub, as far as there is one."""
    hub_files: tuple[str, ...] = ("*.parquet", "*.json*")
    """Patterns of the files that belong to it there."""
    local_files: tuple[str, ...] = ()
    """Names of its files in a clone or copy, where others lie beside them; the first pattern that
    fits a file counts, so that nothing is read twice."""
    split: str = ""
    """Split of a dataset of this project."""


@dataclass(frozen=True)
class Loaded:
    """A suite that was read."""

    suite: Suite
    location: str
    items: tuple[Item, ...]
    sha256: dict[str, str]
    """Digest by file name."""
    files: str = ""
    """Where they are on this machine: as given, or the folder of a download; '': own datasets."""


SUITES: tuple[Suite, ...] = (
    Suite(
        "rm-bench",
        "RM-Bench",
        "arXiv 2410.16184",
        rm_bench.read,
        "id, prompt, chosen[3], rejected[3]",
        "1,327 prompts × 9 pairs",
        hub="THU-KEG/RM-Bench",
        hub_files=("total_dataset.json",),
        local_files=("total_dataset.json", "*_filtered.json"),
    ),
    Suite(
        "rewardbench",
        "RewardBench",
        "arXiv 2403.13787",
        reward_bench.read,
        "prompt, chosen, rejected, subset, id",
        "2,985 pairs in 23 subsets",
        hub="allenai/reward-bench",
        hub_files=("data/filtered-*.parquet",),
    ),
    Suite(
        "rewardbench2",
        "RewardBench 2",
        "arXiv 2506.01937",
        reward_bench.read_2,
        "id, prompt, chosen[], rejected[], subset",
        "1,865 prompts in 6 subsets",
        hub="allenai/reward-bench-2",
        hub_files=("data/test-*.parquet",),
    ),
    Suite(
        "rmb",
        "RMB",
        "arXiv 2410.09893",
        rmb.read,
        "pair_uid, conversation_input, chosen, reject, category_path; or bon_uid, bon_best, "
        "loser_list",
        "14,543 pairs and 3,786 best-of-N lists",
    ),
    Suite(
        "judgebench",
        "JudgeBench",
        "arXiv 2410.12784",
        judged.read_judge_bench,
        "pair_id, source, question, response_A, response_B, label",
        "620 pairs (350 GPT-4o, 270 Claude 3.5)",
        hub="ScalerLab/JudgeBench",
    ),
    Suite(
        "llmbar",
        "LLMBar",
        "arXiv 2310.07641",
        judged.read_llmbar,
        "input, output_1, output_2, label; the subset is the folder",
        "419 pairs, and 466 of other sets in its form",
        local_files=("dataset.json",),
    ),
    Suite(
        "evalbiasbench",
        "EvalBiasBench",
        "arXiv 2407.06551",
        judged.read_eval_bias,
        "an object of lists by bias: instruction, response1, response2, label",
        "80 pairs in 6 biases",
        local_files=("biasbench.json",),
    ),
    Suite(
        "ppe-human",
        "PPE human preference",
        "arXiv 2410.14872",
        ppe.read_human,
        "question_id, winner, prompt, response_1, response_2",
        "16,038 votes",
        hub="lmarena-ai/PPE-Human-Preference-V1",
    ),
    Suite(
        "ppe-correctness",
        "PPE best-of-K",
        "arXiv 2410.14872",
        ppe.read_best_of_k,
        "question_id, prompt, scores[K], response_1 … response_K",
        "5 sets of K = 32 answers a question",
        hub="lmarena-ai/PPE-GPQA-Best-of-K",
    ),
    Suite(
        "hh-rlhf",
        "HH-RLHF",
        "arXiv 2204.05862",
        pairs.read_hh_rlhf,
        "chosen, rejected: transcripts",
        "2,312 pairs (harmless-base, test)",
        hub="Anthropic/hh-rlhf",
        hub_files=("*/test.jsonl.gz",),
    ),
    Suite(
        "helpsteer2",
        "HelpSteer2-Preference",
        "arXiv 2410.01257",
        pairs.read_help_steer,
        "prompt, response_1, response_2, preference_strength, split",
        "about 7,100 pairs, of which the validation split is scored",
        hub="nvidia/HelpSteer2",
        hub_files=("preference/*",),
    ),
    Suite(
        "pandalm",
        "PandaLM",
        "arXiv 2306.05087",
        judged.read_panda_lm,
        "idx, instruction, input, response1, response2, annotator1 … annotator3",
        "999 pairs with three labels each",
        local_files=("testset-v1.json",),
    ),
    Suite(
        "rag-rewardbench",
        "RAG-RewardBench",
        "arXiv 2412.13746",
        pairs.read_rag,
        "prompt, chosen, rejected; the subset is the file",
        "1,485 pairs in 6 files",
        hub="jinzhuoran/RAG-RewardBench",
        hub_files=("Dataset/*.jsonl",),
    ),
    Suite(
        "pairs",
        "pairs of your own",
        "preference formats of TRL",
        pairs.read_trl,
        "chosen, rejected, with prompt or with it inside",
        "",
    ),
    Suite(
        "held-out",
        "held-out votes",
        "the `test` split of a dataset of this project",
        None,
        "a dataset folder, or org/name@version",
        "",
        split="test",
    ),
    Suite(
        "validation",
        "validation votes",
        "the `validation` split, which is also watched in training",
        None,
        "a dataset folder, or org/name@version",
        "",
        split="validation",
    ),
)
BY_NAME = {suite.name: suite for suite in SUITES}


def load_suite(name: str, location: str, limit: int | None = None) -> Loaded:
    """Read a suite.

    Args:
        name: of a suite; forms like ``RM_Bench`` are understood.
        location: a file, a folder (all files in it that can be read), a pattern, or
            ``owner/name[@revision]`` of a dataset on the Hub; '' for the suite's own one there.
        limit: so many items only, spread over the suite, for a trial.

    Raises SuiteError.
    """
    suite = BY_NAME.get(name.lower().replace("_", "-"))
    if suite is None:
        raise SuiteError(f"no benchmark {name!r}; there are {', '.join(BY_NAME)}")
    if suite.read is None:
        items = _spread(own.read_split(location, suite.split, suite.name), limit)
        digests: dict[str, str] = {}
        files = ""
    else:
        paths = find_files(suite, location)
        digests = {_short(path, paths): _sha256(path) for path in paths}
        local = Path(location).exists() or glob.has_magic(location)
        files = location if local else os.path.commonpath([path.parent for path in paths])
        rows = (row for path in paths for row in read_rows(path))
        items = _spread(suite.read(rows), limit)
    if not items:
        raise SuiteError(f"{suite.name}={location}: no rows to score")
    return Loaded(suite, location or suite.hub, items, digests, files)


def find_files(suite: Suite, location: str) -> list[Path]:
    """The suite's files at a location, ordered; those on the Hub are downloaded.

    Raises SuiteError where there are none.
    """
    path = Path(location)
    if location and path.is_file():
        return [path]
    if location and path.is_dir():
        every = [file for file in path.rglob("*") if file.is_file()]
        fitting = (
            [file for file in every if fnmatch(file.name, pattern)] for pattern in suite.local_files
        )
        found = next(filter(None, fitting), every)
        found = [file for file in found if not {"CaseStudy", ".git"} & {*file.parts}]
    elif location and glob.has_magic(location):
        found = [Path(name) for name in glob.glob(location, recursive=True)]  # noqa: PTH207 absolute ones, too
    else:
        hub = _HUB.fullmatch(location or suite.hub)
        if hub is None or (location and location.startswith((".", "/"))):
            hint = "" if location else "; its files are not on the Hub: name them"
            raise SuiteError(f"{suite.name}={location}: no such file or folder{hint}")
        folder = _download(hub[1], hub[2], suite)
        found = [file for file in folder.rglob("*") if file.is_file()]
    paths = sorted(file for file in found if file.name.endswith(SUFFIXES))
    if not paths:
        raise SuiteError(f"{suite.name}={location}: no file there ends in {', '.join(SUFFIXES)}")
    return paths


def _download(repository: str, revision: str | None, suite: Suite) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    patterns = list(suite.hub_files) if repository == suite.hub else ["*.parquet", "*.json*"]
    named = f"{repository}@{revision}" if revision else repository
    try:
        return Path(
            snapshot_download(
                repository, repo_type="dataset", revision=revision, allow_patterns=patterns
            )
        )
    except RepositoryNotFoundError:
        why = "no dataset of that name there, or none that you may read (set HF_TOKEN)"
    except RevisionNotFoundError:
        why = f"the dataset has no revision {revision}"
    except Exception as error:  # the client's errors have several roots
        why = next((line for line in str(error).splitlines() if line), type(error).__name__)
    raise SuiteError(f"{suite.name}={named}: no file here, and on the Hub: {why}") from None


def _spread(items: Iterator[Item], limit: int | None) -> tuple[Item, ...]:
    """At most so many items, spread evenly: files are often sorted by subset."""
    found = tuple(items)
    if limit is None or len(found) <= limit:
        return found
    return tuple(found[place * len(found) // limit] for place in range(limit))


def _short(path: Path, paths: list[Path]) -> str:
    """The file's name, with as many folders as tell it from the others."""
    for depth in range(1, len(path.parts)):
        name = "/".join(path.parts[-depth:])
        if sum("/".join(other.parts[-depth:]) == name for other in paths) == 1:
            return name
    return str(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
