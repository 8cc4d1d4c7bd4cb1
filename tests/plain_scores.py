"""Scores model folders with transformers alone, in a process of its own.

    python plain_scores.py PAIRS FOLDER...

PAIRS: a JSON list of [prompt, response]. Prints a JSON list, an object for each folder.
"""

import json
import sys
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(1)


@torch.no_grad()
def scores(folder: str, pairs: list[list[str]]) -> dict[str, Any]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    one_by_one = [
        float(model(**tokenizer(*pair, return_tensors="pt")).logits[0, 0]) for pair in pairs
    ]
    whole = tokenizer([tuple(pair) for pair in pairs], padding=True, return_tensors="pt")
    classify = pipeline("text-classification", folder)
    by_pipeline = classify([{"text": a, "text_pair": b} for a, b in pairs], batch_size=len(pairs))
    return {
        "class": type(tokenizer).__name__,
        "inputs": sorted(whole),
        "padding": tokenizer.padding_side,
        "ids": [tokenizer(*pair)["input_ids"] for pair in pairs],
        "alone": tokenizer(pairs[0][0])["input_ids"],
        "one by one": one_by_one,
        "batch": model(**whole).logits[:, 0].tolist(),
        "pipeline": [one["score"] for one in by_pipeline],
    }


print(json.dumps([scores(folder, json.loads(sys.argv[1])) for folder in sys.argv[2:]]))
