"""The vote model: how good a response is, after how the votes came about is taken into account.

**Model.** A vote is a choice among the responses that stood that day. Upvotes of response i:

    P(the vote goes to i) ∝ exp(θ_i + β·x_i),        θ_i ~ Normal(0, σ²)

a conditional logit (McFadden 1974) with a quality θ per response, in log-odds, and effects β of
what made voters see or follow it: its place on the page, acceptance, age and freshness
(:data:`FEATURES`). A downvote goes to i with P ∝ exp(−κ·θ_i + γ·x_i), with effects of its own.
x is what was known at the end of the day before, so the time order is kept. θ and β can be told
apart because responses overtake each other: the same response is seen in several places
("intervention harvesting", Agarwal, Zaitsev, Wang, Li, Najork and Joachims, WSDM 2019).

**Fit.** Effects and σ of a site have the greatest marginal likelihood, θ being integrated out by
Laplace's approximation (:func:`_log_evidence` has the formula). Sites are drawn to common effects
by an empirical-Bayes normal model of their estimates (:func:`combine_sites`), and the common ones,
with a weak prior, to :data:`PRIOR_EFFECTS`, which a run without enough votes therefore uses.

**Posterior.** Of one thread, θ given the effects is approximately normal, with the mode as mean
and the inverse of the curvature there as covariance. :func:`compare` returns what it says of two.

**What is assumed.** Given place, acceptance, age and freshness, voters choose by quality; votes of
one day do not see each other; the page was sorted by score (the default of Stack Exchange).
Responses that are no longer there (deleted, or dropped by the filters of a run) are missing from
the places.

**Without dates** (Reddit, Lemmy, Discourse; Stack Exchange without its file of votes) none of this
is identified. Known are the totals and the order of arrival. An older response had more time and,
having votes already, a better place; it may also be better, for whoever knows the answer answers
first; totals cannot tell these apart, and no correction for age is made. What is left is
the choice with all responses eligible for every vote and no effects: totals with the same prior
(:func:`response_quality`). They are not corrected for anything; a vote only counts less, because
much of it is place and time.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.ids import hash63
from schemas.post import DAY_MS, Thread
from schemas.vote_model import VoteEffects, VoteModel
from transforms.pairing.vote_choices import (
    FEATURES,
    VoteChoice,
    VoteKind,
    choice_among,
    choices_among,
    head_start_of,
    siblings,
    undated_choices,
    vote_choices,
)

Array = NDArray[np.float64]

MAX_RESPONSES: Final = 30
"""Questions with more responses are not fitted on: the work grows with the square."""

BATCH_VALUES: Final = 1 << 21
"""Numbers in the largest arrays of a fit, about 16 MB each."""

NEWTON_STEPS: Final = 50
"""Upper limit for θ of one thread; about 6 are taken."""

NEAR_STEPS: Final = 8
"""Steps for the effects of a site with a curvature that is cheap and nearly right."""

HALVINGS: Final = 8
FIT_STEPS: Final = 30
"""Upper limit of the steps after them, with the curvature found there; about 8 are taken."""

SITE_STEPS: Final = 100
"""EM steps for the common effects."""

SITE_THREADS: Final = 2000
"""Of more threads of a site, so many are fitted on: log_rank is known within 0.03 then."""

PARAMETER_DIGITS: Final = 4
OUTPUT_DIGITS: Final = 6
"""Rounded, because the last bits differ between processors and libraries, and bytes must not."""


PRIOR_EFFECTS: Final = VoteEffects(
    log_rank=-0.5,
    accepted=0.5,
    log_age=-0.25,
    fresh=0.4,
    first_day=0.4,
    head_start=0.3,
    down_log_rank=0.0,
    down_accepted=0.0,
    down_log_age=0.0,
    down_fresh=0.0,
    down_first_day=0.0,
    down_head_start=-0.3,
    accept_log_rank=0.0,
    accept_log_age=0.0,
    accept_fresh=0.0,
    accept_first_day=0.0,
    accept_head_start=0.3,
    down_scale=1.0,
    accept_scale=1.0,
    sigma=0.5,
)
"""Where the common effects are expected before a vote is seen; first figures on six sites."""

PRIOR_DEVIATION: Final = 0.5
"""Standard deviation of the common effects around PRIOR_EFFECTS (of log σ for σ)."""

WIDE_DEVIATION: Final = 2.0
"""Of the prior that keeps the fit of a single site in bounds."""

SITE_DEVIATION: Final = 0.2
"""How far effects of sites are expected to lie apart (standard deviation)."""

PRIOR_SITES: Final = 2.0
"""How many sites that expectation is worth."""

_COLUMNS: Final = (slice(0, 6), slice(6, 12), slice(12, 17))
"""Of the effects in ψ, by kind of vote. Nothing is accepted before the acceptance."""
_EFFECTS: Final = 17
_SCALES: Final = ((VoteKind.DOWN, 17, -1.0), (VoteKind.ACCEPT, 18, 1.0))
"""Kinds of vote whose ∂η/∂θ is a parameter: its place in ψ, and its sign."""
_LOG_SIGMA: Final = 19
_PARAMETERS: Final = 20


def _to_vector(effects: VoteEffects) -> Array:
    """Return ψ: the effects, the scales, log σ."""
    *values, sigma = msgspec.structs.astuple(effects)
    return np.array([*values, math.log(sigma)])


def _from_vector(vector: Array) -> VoteEffects:
    values = [float(value) for value in vector]
    # Where votes show no differences at all, σ would go to 0, and nothing could be compared.
    values[_LOG_SIGMA] = math.exp(min(max(values[_LOG_SIGMA], math.log(0.01)), math.log(10.0)))
    rounded = [round(value, PARAMETER_DIGITS) + 0.0 for value in values]
    return VoteEffects(**dict(zip(VoteEffects.__struct_fields__, rounded, strict=True)))


class _Batch(NamedTuple):
    """Choices of questions with equally many responses: Q questions, C choices, k responses."""

    features: Array  # (C, k, _EFFECTS): each kind of vote has columns of its own
    absent: Array  # (C, k): 0, or −inf for a response that was not eligible
    votes: Array  # (C, k)
    kind: NDArray[np.intp]  # (C,): VoteKind
    starts: NDArray[np.intp]  # (Q,): first choice of each question
    question: NDArray[np.intp]  # (C,): question of each choice


def _batch(questions: Sequence[Sequence[VoteChoice]], members: Sequence[Sequence[int]]) -> _Batch:
    """Lay out choices; ``members``: indexes of the responses of each question, in any order."""
    k = len(members[0])
    choices = [(number, choice) for number, own in enumerate(questions) for choice in own]
    features = np.zeros((len(choices), k, _EFFECTS))
    absent = np.full((len(choices), k), -np.inf)
    votes = np.zeros((len(choices), k))
    kind = np.array([choice.kind for _, choice in choices], dtype=np.intp)
    question = np.array([number for number, _ in choices], dtype=np.intp)
    places = [{index: place for place, index in enumerate(own)} for own in members]
    for row, (number, choice) in enumerate(choices):
        at = [places[number][index] for index in choice.eligible]
        own = np.array(choice.features)
        if choice.kind is VoteKind.ACCEPT:
            own = np.delete(own, FEATURES.index("accepted"), axis=1)
        features[row, at, _COLUMNS[choice.kind]] = own
        absent[row, at] = choice.exposure
        votes[row, at] = choice.votes
    starts = np.searchsorted(question, np.arange(len(questions)))
    return _Batch(features, absent, votes, kind, starts, question)


class _Mode(NamedTuple):
    """Where the posterior of θ is highest, and what it looks like there."""

    theta: Array  # (Q, k)
    curvature: Array  # Λ: (Q, k, k)
    shares: Array  # p: (C, k), the probabilities of the choices
    turn: Array  # (C,): a = ∂η/∂θ, which is 1 for upvotes and minus its scale for downvotes


def _shares(utilities: Array) -> Array:
    shifted = np.exp(utilities - utilities.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def _outer_sums(left: Array, right: Array, starts: NDArray[np.intp]) -> Array:
    """Σ_c left_c·right_cᵀ over the choices of each question: (Q, k, k)."""
    if left.size * left.shape[1] <= BATCH_VALUES:
        return np.add.reduceat(left[:, :, None] * right[:, None, :], starts, axis=0)
    ends = [*starts[1:], len(left)]
    return np.stack([left[a:b].T @ right[a:b] for a, b in zip(starts, ends, strict=True)])


def _mode(batch: _Batch, psi: Array, theta: Array) -> _Mode:
    """Find the mode of θ by Newton's method from ``theta``; the log posterior is concave.

        gradient   g = Σ_c a·(v − n·p) − θ/σ²
        curvature  Λ = Σ_c a²·n·(diag p − p pᵀ) + I/σ²

    over the choices c of a question, with votes v, n = Σ v, shares p and a = ∂η/∂θ.
    """
    precision = math.exp(-2.0 * psi[_LOG_SIGMA])
    turn = np.ones(len(batch.kind))
    for kind, place, sign in _SCALES:
        turn[batch.kind == kind] = sign * psi[place]
    fixed = np.einsum("ckf,f->ck", batch.features, psi[:_EFFECTS]) + batch.absent
    total = batch.votes.sum(axis=1)
    diagonal = np.arange(theta.shape[1])
    for _ in range(NEWTON_STEPS):
        shares = _shares(turn[:, None] * theta[batch.question] + fixed)
        weight = turn * turn * total
        weighted = weight[:, None] * shares
        curvature = -_outer_sums(weighted, shares, batch.starts)
        curvature[:, diagonal, diagonal] += precision + np.add.reduceat(weighted, batch.starts)
        surprise = turn[:, None] * (batch.votes - total[:, None] * shares)
        gradient = np.add.reduceat(surprise, batch.starts, axis=0) - precision * theta
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        if np.abs(step).max() < 1e-9:
            break
        # A full step may overshoot where hundreds of votes meet a wide prior.
        theta = theta + np.clip(step, -1.0, 1.0)
    return _Mode(theta, curvature, shares, turn)


class _Evidence(NamedTuple):
    value: float
    """Laplace's log marginal likelihood."""
    gradient: Array
    """In ψ, exactly: (_PARAMETERS,)."""
    information: Array
    """Its negative curvature in ψ, nearly: (_PARAMETERS, _PARAMETERS), positive semidefinite."""
    theta: Array


def _log_evidence(batch: _Batch, psi: Array, theta: Array, near: bool = True) -> _Evidence:
    """Return Laplace's log marginal likelihood with its slope and curvature.

        log ∫ P(votes | θ, ψ) N(θ; 0, σ²) dθ ≈ ℓ(θ̂, ψ) − θ̂ᵀθ̂/2σ² − k·log σ − ½·log |Λ|

    The gradient follows θ̂ as ψ moves: with V = Λ⁻¹ and u the change of the utilities η,
    ∂θ̂ = V·∂g and tr(V·∂Λ) = Σ_c u·z + …, where z = a²·n·(diag p − p pᵀ)(diag V − 2·V·p).
    The information is that of ℓ(θ̂(ψ), ψ) − θ̂ᵀθ̂/2σ², which leaves out how Λ bends, and
    2·Σ tr (I − V/σ²)² for log σ, as if votes were normal observations. Without ``near`` it is 0.
    """
    mode = _mode(batch, psi, theta)
    theta, shares, turn = mode.theta, mode.shares, mode.turn
    precision = math.exp(-2.0 * psi[_LOG_SIGMA])
    total = batch.votes.sum(axis=1)
    covariance = np.linalg.inv(mode.curvature)
    seen = batch.votes > 0
    logs = np.log(np.where(seen, shares, 1.0))
    _, log_determinant = np.linalg.slogdet(mode.curvature)
    value = (
        (batch.votes * logs).sum()
        - 0.5 * precision * (theta * theta).sum()
        - theta.size * psi[_LOG_SIGMA]
        - 0.5 * log_determinant.sum()
    )

    def spread(direction: Array) -> Array:
        """n·(diag p − p pᵀ)·direction, of shape (C, k, …)."""
        mean = (shares[:, :, None] * direction).sum(axis=1, keepdims=True)
        return np.asarray(total[:, None, None] * shares[:, :, None] * (direction - mean))

    own = covariance[batch.question]  # (C, k, k)
    variances = np.diagonal(own, axis1=1, axis2=2)
    towards = np.einsum("cij,cj->ci", own, shares)
    bend = (turn * turn)[:, None] * spread((variances - 2.0 * towards)[:, :, None])[:, :, 0]
    surprise = batch.votes - total[:, None] * shares

    # How the gradient in θ changes with each parameter, then θ̂ itself, then the utilities.
    pushes = np.zeros((*shares.shape, _PARAMETERS))
    pushes[:, :, :_EFFECTS] = -turn[:, None, None] * spread(batch.features)
    scaled = np.zeros((*shares.shape, len(_SCALES)))
    for number, (kind, place, sign) in enumerate(_SCALES):
        of_kind = sign * (batch.kind == kind)[:, None]
        scaled[:, :, number] = of_kind * theta[batch.question]
        pushes[:, :, place] = of_kind * surprise
    pushes[:, :, _EFFECTS:_LOG_SIGMA] -= turn[:, None, None] * spread(scaled)
    moved = np.add.reduceat(pushes, batch.starts, axis=0)
    moved[:, :, _LOG_SIGMA] = 2.0 * precision * theta
    shift = np.einsum("qij,qjl->qil", covariance, moved)
    utilities = turn[:, None, None] * shift[batch.question]
    utilities[:, :, :_EFFECTS] += batch.features
    utilities[:, :, _EFFECTS:_LOG_SIGMA] += scaled
    trace = np.einsum("ck,ckl->l", bend, utilities)
    trace[_LOG_SIGMA] -= 2.0 * precision * np.einsum("qii->", covariance)
    within = (variances * shares).sum(axis=1) - (towards * shares).sum(axis=1)
    for kind, place, sign in _SCALES:
        trace[place] += (2.0 * sign * turn * total * within)[batch.kind == kind].sum()

    gradient = -0.5 * trace
    gradient[:_EFFECTS] += np.einsum("ck,ckf->f", surprise, batch.features)
    gradient[_EFFECTS:_LOG_SIGMA] += np.einsum("ck,ckf->f", surprise, scaled)
    gradient[_LOG_SIGMA] += precision * (theta * theta).sum() - theta.size
    information = np.zeros((_PARAMETERS, _PARAMETERS))
    if not near:
        return _Evidence(float(value), gradient, information, theta)
    information += np.einsum("ckl,ckm->lm", spread(utilities), utilities)
    information += precision * np.einsum("qkl,qkm->lm", shift, shift)
    information[_LOG_SIGMA] = information[:, _LOG_SIGMA] = 0.0
    known = np.eye(theta.shape[1]) - precision * covariance
    information[_LOG_SIGMA, _LOG_SIGMA] = 2.0 * (known * known).sum()
    return _Evidence(float(value), gradient, information, theta)


class Question(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """The choices among the responses to one post, without texts."""

    id: str
    site: str
    choices: tuple[VoteChoice, ...]


class SiteFit(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What the votes of one site say of ψ: log marginal likelihood ≈ hᵀψ − ½·ψᵀHψ."""

    site: str
    linear: tuple[float, ...]
    """h."""
    information: tuple[tuple[float, ...], ...]
    """H; 0 in directions that the votes say nothing of."""
    votes: int
    questions: int


def vote_questions(thread: Thread) -> list[Question]:
    """Return what the effects are fitted on; nothing of a thread without dated votes.

    Of a thread with replies, a question per post that was responded to.
    """
    parents: defaultdict[str, list[VoteChoice]] = defaultdict(list)
    for choice in vote_choices(thread):
        parents[thread.responses[choice.eligible[0]].parent_id or thread.id].append(choice)
    return [
        Question(id=parent, site=thread.prompt.site, choices=tuple(choices))
        for parent, choices in parents.items()
    ]


def fit_site(questions: Iterable[Question], without: Container[str] = ()) -> SiteFit:
    """Fit ψ on questions of one site, one or more, whatever their order.

    ``without``: names of effects that are 0 (benchmarks ask what each of them is worth).

    Newton's method on the log marginal likelihood plus a wide normal prior, which keeps it in
    bounds where votes are few and is taken out of the result again.
    """
    ordered = sorted(questions, key=lambda question: question.id)
    batches = _batches(ordered)
    thetas = [np.zeros((len(batch.starts), batch.votes.shape[1])) for batch in batches]
    free = np.array([name not in without for name in VoteEffects.__struct_fields__], float)
    prior = free * _to_vector(PRIOR_EFFECTS)
    wide = WIDE_DEVIATION**-2.0

    def evidence(psi: Array, near: bool = False) -> _Evidence:
        value, gradient = 0.0, np.zeros(_PARAMETERS)
        information = np.zeros((_PARAMETERS, _PARAMETERS))
        for place, batch in enumerate(batches):
            found = _log_evidence(batch, free * psi, thetas[place], near)
            value += found.value
            gradient += found.gradient
            information += found.information
            thetas[place] = found.theta
        away = psi - prior
        return _Evidence(
            value - 0.5 * wide * float(away @ away),
            free * gradient - wide * away,
            free * information * free[:, None] + wide * np.eye(_PARAMETERS),
            away,
        )

    psi, here = prior, evidence(prior, near=True)
    for _ in range(NEAR_STEPS):
        psi, here = _climb(partial(evidence, near=True), psi, here, here.information)
    curvature = _curvature(lambda at: evidence(at).gradient, psi, wide)
    for _ in range(FIT_STEPS):
        if np.abs(here.gradient).max() < 1e-7:
            break
        psi, here = _climb(evidence, psi, here, curvature)
    curvature = _curvature(lambda at: evidence(at).gradient, psi, wide)
    information = curvature - wide * np.eye(_PARAMETERS)
    linear = information @ psi + here.gradient + wide * (psi - prior)
    return SiteFit(
        site=ordered[0].site,
        linear=tuple(map(float, linear)),
        information=tuple(tuple(map(float, row)) for row in information),
        votes=int(sum(batch.votes.sum() for batch in batches)),
        questions=sum(len(batch.starts) for batch in batches),
    )


def _batches(questions: Iterable[Question]) -> list[_Batch]:
    """Lay out questions by their number of responses, few enough at a time for the memory."""
    by_size: defaultdict[int, list[tuple[Question, list[int]]]] = defaultdict(list)
    for question in questions:
        members = sorted({i for choice in question.choices for i in choice.eligible})
        if len(members) <= MAX_RESPONSES:
            by_size[len(members)].append((question, members))
    batches = []
    for size, own in sorted(by_size.items()):
        held = 0
        part: list[tuple[Question, list[int]]] = []
        for place, one in enumerate(own):
            held += len(one[0].choices) * size * size
            part.append(one)
            if held > BATCH_VALUES or place == len(own) - 1:
                batches.append(_batch([q.choices for q, _ in part], [m for _, m in part]))
                held, part = 0, []
    return batches


def _climb(
    evidence: Callable[[Array], _Evidence], psi: Array, here: _Evidence, curvature: Array
) -> tuple[Array, _Evidence]:
    """Take a Newton step, halved until it is none downwards."""
    step = np.clip(np.linalg.solve(curvature, here.gradient), -0.5, 0.5)
    for _ in range(HALVINGS):
        there = evidence(psi + step)
        if there.value >= here.value - 1e-9:
            return psi + step, there
        step = step / 2
    return psi, here


def _curvature(slope: Callable[[Array], Array], psi: Array, least: float) -> Array:
    """−∂²/∂ψ² by central differences of the gradient; no direction is flatter than ``least``."""
    moves = 1e-4 * np.eye(len(psi))
    columns = [(slope(psi - move) - slope(psi + move)) / 2e-4 for move in moves]
    curvature = np.array(columns)
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2)
    return np.asarray((vectors * np.maximum(values, least)) @ vectors.T)


def combine_sites(fits: Iterable[SiteFit]) -> VoteModel:
    """Draw the sites' effects to common ones, and round them.

    ψ_s ~ Normal(μ, diag τ²) over sites s and μ ~ Normal(PRIOR_EFFECTS, PRIOR_DEVIATION²), with τ²
    by empirical Bayes: EM, to which the prior adds as much as PRIOR_SITES sites that lie
    SITE_DEVIATION apart. What a site has too few votes to say, the others say for it.
    """
    ordered = sorted(fits, key=lambda fit: fit.site)
    prior = _to_vector(PRIOR_EFFECTS)
    linears = [np.array(fit.linear) for fit in ordered]
    informations = [np.array(fit.information) for fit in ordered]
    variance = np.full(_PARAMETERS, SITE_DEVIATION**2)
    common, own = prior, [prior for _ in ordered]
    for _ in range(SITE_STEPS if ordered else 0):
        between = np.diag(1.0 / variance)
        spreads = [np.linalg.inv(information + between) for information in informations]
        precision = np.eye(_PARAMETERS) * PRIOR_DEVIATION**-2.0
        pull = precision @ prior
        for linear, spread in zip(linears, spreads, strict=True):
            precision = precision + between - between @ spread @ between
            pull = pull + between @ spread @ linear
        common = np.linalg.solve(precision, pull)
        own = [
            spread @ (linear + between @ common)
            for linear, spread in zip(linears, spreads, strict=True)
        ]
        apart = np.zeros(_PARAMETERS)
        for psi, spread in zip(own, spreads, strict=True):
            apart += (psi - common) ** 2 + np.diagonal(spread)
        variance = (apart + PRIOR_SITES * SITE_DEVIATION**2) / (len(ordered) + PRIOR_SITES)
    return VoteModel(
        common=_from_vector(common),
        sites={fit.site: _from_vector(psi) for fit, psi in zip(ordered, own, strict=True)},
        votes=sum(fit.votes for fit in ordered),
        questions=sum(fit.questions for fit in ordered),
    )


def fit_vote_model(threads: Iterable[Thread]) -> VoteModel:
    """Fit the effects of every site; the order of the threads does not matter.

    Of a site with more than SITE_THREADS threads, those with the smallest hashes of their ids.
    """
    sites: defaultdict[str, list[Thread]] = defaultdict(list)
    for thread in threads:
        if has_choices(thread):
            sites[thread.prompt.site].append(thread)
    chosen = [heapq.nsmallest(SITE_THREADS, own, key=sample_place) for own in sites.values()]
    return combine_sites(filter(None, map(fit_threads, chosen)))


def has_choices(thread: Thread) -> bool:
    """Whether :func:`vote_choices` may find any; quick, as it is asked of every thread."""
    born = sorted(post.created_at for post in thread.responses if post.up_days is not None)
    return len(born) > 1 and any(
        votes[-1] >= born[1] // DAY_MS
        for post in thread.responses
        for votes in (post.up_days, post.down_days)
        if votes
    )


def sample_place(thread: Thread) -> tuple[int, str]:
    """Place of a thread among those that a site may be fitted on."""
    return hash63(thread.id), thread.id


def fit_threads(threads: Iterable[Thread]) -> SiteFit | None:
    """Fit the effects of one site; None where there is no choice to fit them on."""
    questions = [question for thread in threads for question in vote_questions(thread)]
    return fit_site(questions) if questions else None


class Quality(NamedTuple):
    """Posterior of the qualities of a thread's responses, in log-odds; normal."""

    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]


class DebiasedScore(NamedTuple):
    """What the posterior says of two responses."""

    margin: float
    """Mean of θ_a − θ_b, in log-odds."""
    standard_error: float
    """Standard deviation of the same."""
    confidence: float
    """P(θ_a > θ_b)."""


def response_quality(
    thread: Thread, model: VoteModel, among: Sequence[int] | None = None
) -> Quality:
    """Return the posterior of θ of responses, given their votes and the effects of their site.

    ``among``: indexes of those that are asked for, in whose order they come back, each once; None:
    all of the thread. The others keep their places on the page, but votes for them say nothing.

    Responses to the same post are compared. Where one of them has no dated votes, all of them have
    the votes that are known in total (upvotes and downvotes, else the net score as so many of
    either), each a choice among all of them at the same place and age, and so is the acceptance;
    such a vote counts UNDATED_WEIGHT.
    A response without votes has the prior, Normal(0, σ²).
    """
    effects = model.effects_of(thread.prompt.site)
    wanted = range(len(thread.responses)) if among is None else among
    place = {index: number for number, index in enumerate(wanted)}
    mean = np.zeros(len(place))
    covariance = np.eye(len(place)) * effects.sigma**2
    for group in siblings(thread).values():
        if len(group) < 2:
            continue
        posts = [thread.responses[index] for index in group]
        dated = all(post.up_days is not None for post in posts)
        found = choices_among(thread, group) if dated else undated_choices(posts, group)
        choices = [choice for choice in (choice_among(one, place) for one in found) if choice]
        # By id, so that the order of the responses changes no bit.
        members = sorted(
            {index for choice in choices for index in choice.eligible},
            key=lambda index: thread.responses[index].id,
        )
        if members:
            at = [place[index] for index in members]
            mean[at], covariance[np.ix_(at, at)] = posterior(choices, members, effects)
        if dated:
            second = sorted(post.created_at // DAY_MS for post in posts)[1]
            for index, post in zip(group, posts, strict=True):
                if index in place:
                    mean[place[index]] += effects.head_start * head_start_of(post, second)
    return Quality(
        tuple(float(value) for value in np.round(mean, OUTPUT_DIGITS) + 0.0),
        tuple(tuple(map(float, row)) for row in np.round(covariance, 2 * OUTPUT_DIGITS) + 0.0),
    )


def posterior(
    choices: Sequence[VoteChoice], members: Sequence[int], effects: VoteEffects
) -> tuple[Array, Array]:
    """Return mean and covariance of the qualities of ``members`` (indexes) after their choices."""
    mode = _mode(_batch([choices], [members]), _to_vector(effects), np.zeros((1, len(members))))
    return mode.theta[0], np.linalg.inv(mode.curvature[0])


def compare(quality: Quality, a: int, b: int) -> DebiasedScore:
    """Compare two responses; ``compare(q, b, a)`` is the same with margin and confidence turned.

    margin = m_a − m_b,   standard error = √(V_aa + V_bb − 2·V_ab),   confidence = Φ(margin / se)
    """
    first, second = min(a, b), max(a, b)
    sign = 1.0 if a == first else -1.0
    covariance = quality.covariance
    variance = covariance[first][first] + covariance[second][second] - 2 * covariance[first][second]
    margin = quality.mean[first] - quality.mean[second]
    error = math.sqrt(max(variance, 0.0))
    p = 0.5 * math.erfc(-margin / (error * math.sqrt(2.0))) if error else 0.5
    p = round(p, OUTPUT_DIGITS)
    return DebiasedScore(
        sign * round(margin, OUTPUT_DIGITS) + 0.0,
        round(error, OUTPUT_DIGITS),
        p if sign > 0 else round(1.0 - p, OUTPUT_DIGITS),
    )
