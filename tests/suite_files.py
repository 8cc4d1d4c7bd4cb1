"""Small files in the form of each public suite, with texts of our own."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

STYLES = [
    "Rye rises slowly.",
    "Rye rises slowly, for it has little gluten.",
    "**Rye** rises\n\n- slow",
]
WRONG = ["Rye rises fast.", "Rye rises fast, for it has much gluten.", "**Rye** rises\n\n- fast"]


def rm_bench(folder: Path) -> Path:
    for name in ("chat", "code", "safety-refuse", "safety-response"):
        rows = [
            {
                "id": number,
                "prompt": f"How does rye rise, {name} {number}?",
                "chosen": STYLES,
                "rejected": WRONG,
            }
            for number in range(3)
        ]
        write_json(folder / f"{name}_filtered.json", rows)
    return folder


def reward_bench(folder: Path) -> Path:
    rows = [
        {
            "prompt": f"Ask {subset} {n}",
            "chosen": "Bake it well.",
            "chosen_model": "a",
            "rejected": "Burn it.",
            "rejected_model": "b",
            "subset": subset,
            "id": n,
        }
        for subset in (
            "alpacaeval-easy",
            "mt-bench-med",
            "llmbar-natural",
            "math-prm",
            "hep-go",
            "donotanswer",
        )
        for n in range(2)
    ]
    return parquet(folder / "filtered-00000.parquet", rows)


def reward_bench_2(folder: Path) -> Path:
    rows: list[dict[str, Any]] = [
        {
            "id": f"{subset}-{n}",
            "prompt": f"Ask {subset} {n}",
            "chosen": ["Bake it."],
            "rejected": ["Burn it.", "Freeze it.", "Drop it."],
            "num_correct": 1,
            "num_incorrect": 3,
            "total_completions": 4,
            "models": ["a", "b", "c", "d"],
            "subset": subset,
        }
        for subset in ("Factuality", "Precise IF", "Math", "Safety", "Focus")
        for n in range(2)
    ]
    for n in range(2):
        rows.append(
            {
                "id": f"ref:{n}",
                "prompt": f"Name the grain {n}",
                "chosen": ["Rye"],
                "rejected": ["Tin", "Salt"],
                "num_correct": 1,
                "num_incorrect": 2,
                "total_completions": 3,
                "models": ["a"] * 3,
                "subset": "Ties",
            }
        )
        rows.append(
            {
                "id": f"tied:{n}",
                "prompt": f"Name a grain {n}",
                "chosen": ["Rye", "Oat"],
                "rejected": ["Tin", "Salt"],
                "num_correct": 2,
                "num_incorrect": 2,
                "total_completions": 4,
                "models": ["a"] * 4,
                "subset": "Ties",
            }
        )
    return parquet(folder / "test-00000.parquet", rows)


def rmb(folder: Path) -> Path:
    turns = [{"role": "user", "content": "How long?", "language": "English"}]
    said = {"llm_name": "a", "answer": "An hour."}
    bad = {"llm_name": "b", "answer": "No idea."}
    for goal in ("Helpfulness", "Harmlessness"):
        write_json(
            folder / "Pairwise_set" / goal / "one.json",
            [
                {
                    "pair_uid": f"p{n}",
                    "conversation_input": turns,
                    "chosen": said,
                    "reject": bad,
                    "category_path": f"{goal}/Chat",
                }
                for n in range(2)
            ],
        )
        write_json(
            folder / "BoN_set" / goal / "one.json",
            [
                {
                    "bon_uid": "b1",
                    "conversation_input": turns,
                    "bon_best": said,
                    "loser_list": [bad, {"llm_name": "c", "answer": "Ask."}],
                    "category_path": f"{goal}/Chat",
                }
            ],
        )
    return folder


def judge_bench(folder: Path) -> Path:
    rows = [
        {
            "pair_id": f"{source}{n}",
            "original_id": n,
            "source": source,
            "question": f"Sum {n}?",
            "response_model": "m",
            "response_A": "It is four.",
            "response_B": "It is five, surely.",
            "label": "A>B" if n else "B>A",
        }
        for source in ("mmlu-pro-law", "livebench-reasoning", "livebench-math", "livecodebench")
        for n in range(2)
    ]
    return write_lines(folder / "judgebench.jsonl", rows)


def llmbar(folder: Path) -> Path:
    for name in (
        "Natural",
        "Adversarial/Neighbor",
        "Adversarial/GPTInst",
        "Adversarial/GPTOut",
        "Adversarial/Manual",
    ):
        write_json(
            folder / name / "dataset.json",
            [
                {
                    "input": f"Say {n} of {name}",
                    "output_1": f"{n}",
                    "output_2": f"never {n}, surely",
                    "label": label,
                }
                for n, label in enumerate((1, 2, 1))
            ],
        )
    return folder


def eval_bias(folder: Path) -> Path:
    content = {
        bias: [
            {
                "bias": bias,
                "instruction": f"Say {n}",
                "response1": "Yes.",
                "response2": "Well, it is a long story of salt.",
                "label": 1,
            }
            for n in range(2)
        ]
        for bias in ("length bias", "concreteness")
    }
    return write_json(folder / "biasbench.json", content)


def panda_lm(folder: Path) -> Path:
    votes = [(1, 1, 1), (2, 2, 1), (0, 0, 1), (0, 1, 2)]
    return write_json(
        folder / "testset-v1.json",
        [
            {
                "idx": n,
                "instruction": f"Sort {n}",
                "input": "b a" if n else float("nan"),
                "response1": "a b",
                "response2": "b a, as you said",
                "annotator1": a,
                "annotator2": b,
                "annotator3": c,
            }
            for n, (a, b, c) in enumerate(votes)
        ],
    )


def ppe_human(folder: Path) -> Path:
    return parquet(
        folder / "test.parquet",
        [
            {
                "question_id": f"q{n}",
                "model_a": "a",
                "model_b": "b",
                "winner": winner,
                "prompt": f"Ask {n}",
                "response_1": "Short.",
                "response_2": "A longer one.",
                "language": language,
            }
            for n, (winner, language) in enumerate(
                [
                    ("model_a", "English"),
                    ("model_b", "Polish"),
                    ("tie", "English"),
                    ("tie (bothbad)", "English"),
                ]
            )
        ],
    )


def ppe_correctness(folder: Path) -> Path:
    return parquet(
        folder / "PPE-GPQA-Best-of-K" / "train.parquet",
        [
            {
                "question_id": f"q{n}",
                "model_name": "m",
                "prompt": f"Solve {n}",
                **{f"response_{k + 1}": f"answer {k} of {n}" for k in range(4)},
                "scores": scores,
                "mean_score": 0.5,
            }
            for n, scores in enumerate(
                [[True, False, False, True], [False, True, False, False], [True] * 4]
            )
        ],
    )


def hh_rlhf(folder: Path) -> Path:
    before = "\n\nHuman: Hi.\n\nAssistant: Hello.\n\nHuman: A joke?\n\nAssistant:"
    path = folder / "harmless-base" / "test.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        for chosen, rejected in (
            (f"{before} Rye not?", f"{before} No."),
            (f"{before} Rye not?  Human: ha\n\nAssistant: Indeed.", f"{before} Why?"),
        ):
            file.write(json.dumps({"chosen": chosen, "rejected": rejected}) + "\n")
    return path


def help_steer(folder: Path) -> Path:
    return write_lines(
        folder / "preference.jsonl",
        [
            {
                "split": split,
                "prompt": f"Ask {n}"
                if n
                else "Ask.\n<extra_id_1>Assistant\nWhat?\n<extra_id_1>User\nThis",
                "response_1": "One.",
                "response_2": "Two, too.",
                "preference_strength": strength,
            }
            for n, (split, strength) in enumerate(
                [("validation", 2), ("train", 3), ("validation", -1), ("validation", 0)]
            )
        ],
    )


def rag(folder: Path) -> Path:
    for name in ("helpful", "harmless", "citation"):
        write_lines(
            folder / f"{name}.jsonl",
            [
                {
                    "prompt": [{"role": "user", "content": f"{name}: read this"}],
                    "chosen": {"generator": "a", "answer": "As [1] says."},
                    "rejected": {"generator": "b", "answer": "Surely."},
                }
            ],
        )
    return folder


def trl(folder: Path) -> Path:
    user = {"role": "user", "content": "Is rye sour?"}
    yes, no = ({"role": "assistant", "content": text} for text in ("Often.", "Blue."))
    return write_lines(
        folder / "mine.jsonl",
        [
            {"prompt": "Is rye sour?", "chosen": "Often.", "rejected": "Blue."},
            {"prompt": [user], "chosen": [yes], "rejected": [no]},
            {"chosen": [user, yes], "rejected": [user, no]},
        ],
    )


FILES = {
    "rm-bench": rm_bench,
    "rewardbench": reward_bench,
    "rewardbench2": reward_bench_2,
    "rmb": rmb,
    "judgebench": judge_bench,
    "llmbar": llmbar,
    "evalbiasbench": eval_bias,
    "pandalm": panda_lm,
    "ppe-human": ppe_human,
    "ppe-correctness": ppe_correctness,
    "hh-rlhf": hh_rlhf,
    "hh-harmless": hh_rlhf,
    "hh-helpful": hh_rlhf,
    "helpsteer2": help_steer,
    "rag-rewardbench": rag,
    "pairs": trl,
}


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path
