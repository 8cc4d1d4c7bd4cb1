"""What `forumprefs score` costs, against the usual loops over the same rows with the same model.

    python -m benchmarks.score_rows --model runs/mine --benchmark rm-bench=data/rm-bench
    python -m benchmarks.score_rows --kind logprob --model models/qwen2 --benchmark rm-bench=...

The usual loops: for rewards `pipeline("text-classification")` of transformers over the texts of
the chat template, for log-probabilities `AutoModelForCausalLM` with all logits of padded batches;
both in the order of the rows, `--batch` at once, and every (prompt, response) by itself. Ours is
the command itself, with reading, checking and writing the rows. Each arm runs in a process of its
own, in turn; times are processor seconds from after the imports to the end, the model's loading
included.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ARMS = ("ours", "usual")


def write_rows(name: str, location: str, limit: int, target: Path) -> int:
    """Prompts with their responses as JSON Lines, spread over the suite; returns how many texts."""
    from training.evaluation.suites.registry import load_suite

    items = load_suite(name, location, limit).items
    with target.open("w", encoding="utf-8") as file:
        for item in items:
            file.write(json.dumps({"prompt": item.prompt, "responses": item.responses}) + "\n")
    return sum(len(item.responses) for item in items)


def usual_rewards(path: str, rows: list[dict[str, Any]], batch: int, length: int) -> list[float]:
    from transformers import pipeline

    scorer = pipeline("text-classification", model=path, device="cpu")
    chats = [
        [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": response},
        ]
        for row in rows
        for response in row["responses"]
    ]
    texts = [scorer.tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
    found = scorer(
        texts, batch_size=batch, function_to_apply="none", truncation=True, max_length=length,
        add_special_tokens=False,
    )  # fmt: skip
    return [one["score"] for one in found]


def usual_logprobs(path: str, rows: list[dict[str, Any]], batch: int, length: int) -> list[float]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, trust_remote_code=False
    ).eval()
    sequences = []
    for row in rows:
        prompt = row["prompt"].strip() + "\n\n"
        start = len(tokenizer(prompt)["input_ids"])
        for response in row["responses"]:
            ids = [*tokenizer(prompt + response.strip())["input_ids"], tokenizer.eos_token_id]
            sequences.append((ids[:length], start))
    found = []
    for begin in range(0, len(sequences), batch):
        together = sequences[begin : begin + batch]
        ids = torch.zeros(len(together), max(len(one) for one, _ in together), dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for line, (one, _) in enumerate(together):
            ids[line, : len(one)] = torch.tensor(one)
            mask[line, : len(one)] = 1
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask).logits
        logs = logits[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
        for line, (one, start) in enumerate(together):
            found.append(float(logs[line, start - 1 : len(one) - 1].double().sum()))
    return found


def child(arguments: argparse.Namespace) -> None:
    """One arm; prints its processor seconds and writes its scores."""
    import torch  # noqa: F401
    import transformers  # noqa: F401

    from training.commands import main as command
    from training.evaluation.models import find_model

    folder = Path(arguments.folder)
    path = find_model(arguments.model).path
    began = time.process_time()
    if arguments.arm == "ours":
        output = Path(tempfile.mkdtemp(dir=folder))
        code = command(
            [
                *("score", str(folder / "rows.jsonl"), "--model", arguments.model),
                *("--kind", arguments.kind, "--output", str(output), "--device", "cpu", "--quiet"),
                *("--max-length", str(arguments.max_length)),
            ]
        )
        assert code == 0
        rows = (output / "rows.jsonl").read_text(encoding="utf-8").splitlines()
        found = [one for row in rows for one in json.loads(row)["model_scores"]]
    else:
        rows = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
        loop = usual_rewards if arguments.kind == "reward" else usual_logprobs
        found = loop(path, [json.loads(row) for row in rows], arguments.batch, arguments.max_length)
    seconds = time.process_time() - began
    (folder / f"{arguments.arm}.json").write_text(json.dumps(found))
    print(json.dumps(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kind", choices=("reward", "logprob"), default="reward")
    parser.add_argument("--model", required=True, help="as for forumprefs score")
    parser.add_argument(
        "--benchmark", required=True, metavar="NAME=PATH", help="whose prompts and responses"
    )
    parser.add_argument("--limit", type=int, default=16, help="prompts (default: 16)")
    parser.add_argument("--batch", type=int, default=8, help="of the usual loop (default: 8)")
    parser.add_argument("--max-length", type=int, default=2048)
    parser.add_argument("--turns", type=int, default=3, help="of each arm (default: 3)")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.arm:
        child(arguments)
        return
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory() as folder:
        name, _, location = arguments.benchmark.partition("=")
        texts = write_rows(name, location, arguments.limit, Path(folder) / "rows.jsonl")
        for _ in range(arguments.turns):
            for arm in ARMS:
                done = subprocess.run(
                    [
                        *(sys.executable, "-m", "benchmarks.score_rows", *sys.argv[1:]),
                        *("--arm", arm, "--folder", folder),
                    ],
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
                )
                seconds[arm].append(json.loads(done.stdout.splitlines()[-1]))
        ours, usual = (json.loads((Path(folder) / f"{arm}.json").read_text()) for arm in ARMS)
    apart = max(abs(a - b) for a, b in zip(ours, usual, strict=True))
    print(f"{arguments.kind}: {texts} responses to {arguments.limit} prompts")
    print("| | processor s (each turn) | responses/s | times ours |")
    print("|---|---|---:|---:|")
    least = statistics.median(seconds["ours"])
    for arm in ARMS:
        middle = statistics.median(seconds[arm])
        turns = ", ".join(f"{one:.1f}" for one in seconds[arm])
        print(f"| {arm} | {turns} | {texts / middle:.1f} | {middle / least:.1f} |")
    print(f"largest difference of a score: {apart:.1e}")


if __name__ == "__main__":
    main()
