"""How often 90 % intervals of vote shares hold, over many divisions of the same threads.

    python -m benchmarks.interval_coverage features DATASET --encoder DIR --output features.npz
    python -m benchmarks.interval_coverage divide features.npz [--divisions 100] [--all]
    python -m benchmarks.interval_coverage once features.npz

``features`` reads every response through the first layers of an encoder (the mean of the states
of its response, and the log of its length). ``divide`` divides the threads of train and
validation by chance, 50/20/30, with ``--all`` those of test, too; each time a linear head is fitted
to the first part and intervals to the second, and the third is held against them. ``once`` takes
the splits of the dataset themselves.

The ways to calibrate:

    split         threads left out of the training of the head: those of validation
    leave-one-out and those of train, each with the head that was fitted without it (one Newton
                  step from the posterior, no training)
    in sample     those of train, with the head that was fitted to them
    refitted      as leave-one-out, with heads fitted again without a fifth of the threads

Coverage is also given by votes of a pair, by predicted share, and by forum.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from training.uncertainty.posterior import LastLayerPosterior, PrecisionSum, fit_posterior
from training.uncertainty.vote_shares import (
    LEVEL,
    ShareModel,
    VotedPairs,
    fit_shares,
    moments,
    share_intervals,
    thread_weights,
    vote_shares,
)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SHARES = (0.5, 0.2, 0.3)
FOLDS = 5


@dataclass
class Pairs:
    """P pairs with their features; arrays [P]."""

    difference: Floats
    """Δh, [P, d]."""
    thread: Integers
    site: npt.NDArray[Any]
    split: npt.NDArray[Any]
    share: Floats
    votes: Floats

    def take(self, where: npt.NDArray[Any]) -> "Pairs":
        return Pairs(*(getattr(self, name)[where] for name in self.__dataclass_fields__))


def write_features(dataset: Path, encoder: str, output: Path, layers: int) -> None:
    """Read all responses through some layers; write Δh and the columns of the pairs."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from transformers import AutoModel, AutoTokenizer

    names = ["thread_id", "site", "split", "prompt", "chosen", "rejected"]
    names += ["chosen_id", "rejected_id", "chosen_score", "rejected_score"]
    shards = sorted((dataset / "data").glob("*.parquet"))
    table = pa.concat_tables([pq.read_table(shard, columns=names) for shard in shards])
    rows = table.to_pylist()
    texts = {
        row[f"{side}_id"]: (row["prompt"][:1200], row[side][:1600], len(row[side]))
        for row in rows
        for side in ("chosen", "rejected")
    }
    tokenizer = AutoTokenizer.from_pretrained(encoder, trust_remote_code=False)
    model = AutoModel.from_pretrained(encoder, trust_remote_code=False).eval()
    model.encoder.layer = model.encoder.layer[:layers]
    found: dict[str, Floats] = {}
    order = sorted(texts, key=lambda name: len(texts[name][0]) + len(texts[name][1]))
    with torch.no_grad():
        for begin in range(0, len(order), 32):
            part = order[begin : begin + 32]
            inputs = tokenizer(
                [texts[name][0] for name in part],
                [texts[name][1] for name in part],
                padding=True,
                truncation=True,
                max_length=256,
                return_tensors="pt",
            )
            states = model(**inputs).last_hidden_state[..., :-1]
            inside = (inputs["attention_mask"] * inputs["token_type_ids"])[..., None]
            means = (states * inside).sum(1) / inside.sum(1).clamp(min=1)
            for name, mean in zip(part, means.double().numpy(), strict=True):
                found[name] = np.append(mean, np.log1p(texts[name][2]))
    _, thread = np.unique([row["thread_id"] for row in rows], return_inverse=True)
    share, votes = vote_shares(
        np.array([row["chosen_score"] for row in rows], dtype=np.float64),
        np.array([row["rejected_score"] for row in rows], dtype=np.float64),
    )
    np.savez(
        output,
        difference=np.array([found[row["chosen_id"]] - found[row["rejected_id"]] for row in rows]),
        thread=thread,
        site=np.array([row["site"] for row in rows]),
        split=np.array([row["split"] for row in rows]),
        share=share,
        votes=votes,
    )


def read_features(path: Path) -> Pairs:
    with np.load(path) as stored:
        pairs = Pairs(*(stored[name] for name in Pairs.__dataclass_fields__))
    pairs.difference = pairs.difference / pairs.difference.std(0).clip(1e-9)
    return pairs


def fit_head(
    pairs: Pairs, weights: Floats | None = None, prior: float | None = None
) -> tuple[Floats, LastLayerPosterior, float]:
    """The weights [d] of largest posterior, by Newton's steps, and the posterior round them.

    ``prior``: λ; None: the one of largest evidence, found on the way.
    """
    x, pair_weight = pairs.difference, thread_weights(pairs.thread)
    w = np.zeros(x.shape[1]) if weights is None else weights
    found = 10.0 if prior is None else prior
    # A pair is two responses: its difference, and nothing.
    both = torch.from_numpy(np.concatenate([x, np.zeros((1, len(w)))]))
    places = torch.arange(len(x))
    for iteration in range(30):
        sums = PrecisionSum(len(w))
        d = torch.from_numpy(x @ w)
        sums.add(both, places, torch.full_like(places, len(x)), torch.from_numpy(pair_weight), d)
        if prior is None and 0 < iteration < 8:
            _, found = fit_posterior(sums, torch.from_numpy(w))
        p = 1 / (1 + np.exp(-(x @ w)))
        gradient = x.T @ (pair_weight * (1 - p)) - found * w
        step = np.linalg.solve(sums.hessian.numpy() + found * np.eye(len(w)), gradient)
        w = w + step
        if np.abs(step).max() < 1e-2 * max(np.abs(w).max(), 1e-9):
            break
    values, directions = torch.linalg.eigh(sums.hessian + found * torch.eye(len(w)))
    factor = (directions * values.rsqrt()).float()
    return w, LastLayerPosterior(torch.zeros(len(w)), factor), found


def voted(pairs: Pairs, w: Floats, posterior: LastLayerPosterior) -> VotedPairs:
    """What a head says of pairs that have votes."""
    pairs = pairs.take(pairs.votes > 0)
    x = torch.from_numpy(pairs.difference).float()
    variance = posterior.deviation_of_difference(x, torch.zeros_like(x)).double().square().numpy()
    return VotedPairs(pairs.thread, pairs.difference @ w, variance, pairs.share, pairs.votes)


def left_out(pairs: Pairs, w: Floats, posterior: LastLayerPosterior) -> VotedPairs:
    """The same of the pairs that the head was fitted to, each thread without itself.

    With A = Δh C Δhᵀ of a thread's pairs, C the covariance, and S the curvatures of the pairs, the
    covariance without the thread gives (I − A S)⁻¹ A, and one Newton step d − that · gradient.
    """
    whitened = (torch.from_numpy(pairs.difference).float() @ posterior.factor).double().numpy()
    d, weight = pairs.difference @ w, thread_weights(pairs.thread)
    p = 1 / (1 + np.exp(-d))
    without, variance = np.empty(len(d)), np.empty(len(d))
    order = np.argsort(pairs.thread, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(pairs.thread[order])) + 1):
        a = whitened[places] @ whitened[places].T
        curvature = weight[places] * p[places] * (1 - p[places])
        spread = np.linalg.solve(np.eye(len(places)) - a * curvature, a)
        without[places] = d[places] - spread @ (weight[places] * (1 - p[places]))
        variance[places] = np.diag(spread)
    has = pairs.votes > 0
    return VotedPairs(
        pairs.thread[has], without[has], variance[has].clip(0), pairs.share[has], pairs.votes[has]
    )


def refitted(pairs: Pairs, w: Floats, prior: float, seed: int) -> VotedPairs:
    """The same, with heads that were fitted without a fifth of the threads."""
    threads = np.unique(pairs.thread)
    fold = np.random.default_rng(seed).permutation(len(threads)) % FOLDS
    of_pair = fold[np.searchsorted(threads, pairs.thread)]
    parts = []
    for number in range(FOLDS):
        head, posterior, _ = fit_head(pairs.take(of_pair != number), w, prior)
        parts.append(voted(pairs.take(of_pair == number), head, posterior))
    return joined(*parts)


def joined(*parts: VotedPairs) -> VotedPairs:
    return VotedPairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def calibrations(train: Pairs, validation: Pairs, seed: int, *, refit: bool) -> dict[str, Any]:
    """Share models by way, the head, and its posterior."""
    w, posterior, prior = fit_head(train)
    kept = voted(validation, w, posterior)
    ways = {
        "split": kept,
        "leave-one-out": joined(kept, left_out(train, w, posterior)),
        "in sample": joined(kept, voted(train, w, posterior)),
    }
    if refit:
        ways["refitted"] = joined(kept, refitted(train, w, prior, seed))
    return {
        "w": w,
        "posterior": posterior,
        "models": {name: fit_shares(pairs) for name, pairs in ways.items()},
    }


def held(pairs: VotedPairs, model: ShareModel) -> tuple[npt.NDArray[np.bool_], Floats, Floats]:
    low, high = share_intervals(pairs, model)
    return (low <= pairs.share) & (pairs.share <= high), low, high


def parts_of(pairs: VotedPairs, site: npt.NDArray[Any], mean: Floats) -> dict[str, Any]:
    """Where each part of the pairs lies, by name."""
    likely = np.maximum(mean, 1 - mean)
    found: dict[str, Any] = {
        "1 vote": pairs.votes == 1,
        "2 to 3 votes": (pairs.votes >= 2) & (pairs.votes <= 3),
        "4 to 7 votes": (pairs.votes >= 4) & (pairs.votes <= 7),
        "8 to 15 votes": (pairs.votes >= 8) & (pairs.votes <= 15),
        "16 votes and more": pairs.votes >= 16,
        "predicted 50 to 60 %": likely < 0.6,
        "predicted 60 to 70 %": (likely >= 0.6) & (likely < 0.7),
        "predicted 70 % and more": likely >= 0.7,
    }
    return found | {str(name): site == name for name in np.unique(site)}


def measure(
    train: Pairs, validation: Pairs, test: Pairs, seed: int, *, refit: bool
) -> dict[str, dict[str, tuple[float, float]]]:
    """By way and part of the pairs: (coverage over threads, weight of threads)."""
    found = calibrations(train, validation, seed, refit=refit)
    seen = test.take(test.votes > 0)
    pairs = voted(test, found["w"], found["posterior"])
    weight = thread_weights(pairs.thread)
    answer: dict[str, dict[str, tuple[float, float]]] = {}
    for name, model in found["models"].items():
        inside, low, high = held(pairs, model)
        mean, _ = moments(pairs, model.scale, model.dispersion)
        places = {"all": np.ones(len(inside), bool), **parts_of(pairs, seen.site, mean)}
        answer[name] = {
            part: (float(np.sum((inside * weight)[where])), float(weight[where].sum()))
            for part, where in places.items()
        }
        answer[name]["width"] = (float(np.sum((high - low) * weight)), float(weight.sum()))
        answer[name]["calibrated on"] = (float(model.threads), 1.0)
        _, place = np.unique(pairs.thread, return_inverse=True)
        of_thread = np.bincount(place, inside * weight)
        answer[name]["error"] = (float(of_thread.std() / np.sqrt(len(of_thread))), 1.0)
    return answer


def divided(pairs: Pairs, seed: int) -> tuple[Pairs, Pairs, Pairs]:
    """The threads, by chance, in three parts."""
    threads = np.unique(pairs.thread)
    place = np.random.default_rng(seed).permutation(len(threads)) / len(threads)
    bounds = np.cumsum(SHARES)[:2]
    part = np.searchsorted(bounds, place, side="right")[np.searchsorted(threads, pairs.thread)]
    return pairs.take(part == 0), pairs.take(part == 1), pairs.take(part == 2)


def show(rounds: list[dict[str, dict[str, tuple[float, float]]]]) -> None:
    """Means over divisions, their spread, and how many lie within two points of the level."""
    for name in rounds[0]:
        whole = np.array([one[name]["all"][0] / one[name]["all"][1] for one in rounds])
        within = np.mean(np.abs(whole - LEVEL) <= 0.02)
        threads = np.mean([one[name]["calibrated on"][0] for one in rounds])
        width = np.mean([one[name]["width"][0] / one[name]["width"][1] for one in rounds])
        error = np.sqrt(np.mean([one[name]["error"][0] ** 2 for one in rounds]))
        spread = whole.std(ddof=1) if len(whole) > 1 else 0.0
        print(
            f"{name}: on {threads:.0f} threads; coverage {whole.mean():.4f}, standard deviation of "
            f"a division {spread:.4f}, of it by the draw of test threads {error:.4f}, the rest "
            f"{np.sqrt(max(spread**2 - error**2, 0.0)):.4f}; within 0.88 to 0.92 {within:.0%}; "
            f"width {width:.3f}"
        )
    name = "leave-one-out"
    for part in rounds[0][name]:
        if part in ("all", "width", "calibrated on", "error"):
            continue
        for way in ("split", name):
            total = np.array([one[way].get(part, (0.0, 0.0)) for one in rounds]).sum(0)
            mean = total[1] / len(rounds)
            print(f"  {part}, {way}: {total[0] / total[1]:.3f} ({mean:.0f} threads a division)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    features = commands.add_parser("features")
    features.add_argument("dataset", type=Path)
    features.add_argument("--encoder", required=True)
    features.add_argument("--output", type=Path, required=True)
    features.add_argument("--layers", type=int, default=2, help="0: the embeddings; default 2")
    for name in ("divide", "once"):
        own = commands.add_parser(name)
        own.add_argument("features", type=Path)
        own.add_argument("--divisions", type=int, default=100)
        own.add_argument("--all", action="store_true")
        own.add_argument("--refit", action="store_true", help="with heads fitted again, too; slow")
    given = parser.parse_args()
    if given.command == "features":
        write_features(given.dataset, given.encoder, given.output, given.layers)
        return
    pairs = read_features(given.features)
    if given.command == "once":
        train, validation, test = (
            pairs.take(pairs.split == name) for name in ("train", "validation", "test")
        )
        show([measure(train, validation, test, 0, refit=given.refit)])
        return
    if not given.all:
        pairs = pairs.take(pairs.split != "test")
    rounds = []
    for seed in range(given.divisions):
        rounds.append(measure(*divided(pairs, seed), seed, refit=given.refit))
        if seed % 10 == 9:
            print(f"{seed + 1} divisions", flush=True)
            show(rounds)
    show(rounds)


if __name__ == "__main__":
    main()
