"""The simulator that vote modes are held against: what it plants is there, and nothing else."""

from itertools import combinations

import pytest

from benchmarks.vote_simulator import NO_BIAS, WORLDS, Site, World, simulate
from transforms.pairing import net_votes


def earlier_wins(site: Site, *, fair: bool) -> float:
    """Share of the pairs that net votes decide; ``fair``: those of the same readers, unbiased."""
    wins = []
    for thread, random_display in zip(site.threads, site.random_display, strict=True):
        score = random_display if fair else [net_votes(one) for one in thread.responses]
        wins += [
            (score[a] > score[b])
            == (thread.responses[a].created_at < thread.responses[b].created_at)
            for a, b in combinations(range(len(score)), 2)
            if score[a] != score[b]
        ]
    return sum(wins) / len(wins)


def test_the_same_seed_gives_the_same_threads_and_more_of_them_begin_alike() -> None:
    first, more = (simulate(WORLDS["all, as found"], questions=n, seed=3) for n in (4, 6))
    assert more.threads[:4] == first.threads
    assert more.quality[:4] == first.quality
    assert simulate(WORLDS["all, as found"], questions=4, seed=4).threads != first.threads


def test_days_are_whole_and_no_vote_is_older_than_its_answer() -> None:
    for thread in simulate(WORLDS["all, strong"], questions=20, seed=1).threads:
        for response in thread.responses:
            assert response.up_days is not None and response.down_days is not None
            assert response.score == len(response.up_days) - len(response.down_days)
            born = response.created_at // 86_400_000
            assert all(day >= born for day in (*response.up_days, *response.down_days))


@pytest.mark.parametrize("world", ["head start only", "all, as found"])
def test_a_head_start_favours_the_earlier_and_random_display_nobody(world: str) -> None:
    site = simulate(WORLDS[world], questions=250, seed=2)
    assert earlier_wins(site, fair=False) > 0.6
    assert earlier_wins(site, fair=True) == pytest.approx(0.5, abs=0.05)


def test_without_bias_votes_are_those_of_random_display() -> None:
    site = simulate(World(**NO_BIAS), questions=20, seed=5)
    for thread, random_display in zip(site.threads, site.random_display, strict=True):
        assert [net_votes(one) for one in thread.responses] == list(random_display)
