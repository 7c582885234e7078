"""Thinning out snapshots: how many stay, and that no moment of the past is ever far from one."""

from itertools import pairwise
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callboard.runtime.core.thinning import NEWEST_KEPT, SPARSITY, fallen_out


def thinned(sequences: list[int]) -> list[int]:
    """What is left after each of these snapshots was taken, one after the other."""
    kept: list[int] = []
    for sequence in sequences:
        kept.append(sequence)
        gone = fallen_out(kept)
        kept = [one for one in kept if one not in gone]
    return kept


def base(snapshots: list[int], target: int) -> int:
    """Where a replay up to this event begins; 0: with the first one."""
    return max((one for one in snapshots if one <= target), default=0)


def taken(gaps: list[int]) -> list[int]:
    return [sum(gaps[: place + 1]) for place in range(len(gaps))]


# Evenly spaced, growing, and whatever else: distances between one snapshot and the next.
GAPS = st.one_of(
    st.lists(st.integers(1, 400), max_size=80),
    st.builds(lambda gap, count: [gap] * count, st.integers(1, 500), st.integers(0, 300)),
    st.lists(st.integers(0, 20).map(lambda power: 2**power), max_size=60),
)


@given(GAPS)
def test_there_are_never_more_than_the_logarithm_of_the_head(gaps: list[int]) -> None:
    for end in range(1, len(gaps) + 1):
        kept = thinned(taken(gaps[:end]))
        assert len(kept) <= 1 + log2(kept[-1])


@given(GAPS)
def test_the_newest_two_are_always_kept(gaps: list[int]) -> None:
    sequences = taken(gaps)
    assert thinned(sequences)[-NEWEST_KEPT:] == sequences[-NEWEST_KEPT:]


@given(GAPS, st.data())
def test_no_moment_is_further_from_a_snapshot_than_some_times_its_distance_from_the_head(
    gaps: list[int], data: st.DataObject
) -> None:
    sequences = taken(gaps)
    kept, head = thinned(sequences), sequences[-1] if sequences else 0
    edges = {0, head, *sequences, *(sequence - 1 for sequence in sequences)}
    for target in {*edges, data.draw(st.integers(0, head))}:
        begun, best = base(kept, target), base(sequences, target)
        assert begun == best or target - begun <= SPARSITY * (head - target)


@given(GAPS)
def test_what_is_left_is_not_thinned_again_until_there_is_another(gaps: list[int]) -> None:
    assert fallen_out(thinned(taken(gaps))) == []


@given(st.integers(1, 500), st.integers(2, 300))
def test_of_evenly_spaced_ones_neighbours_are_further_apart_the_older_they_are(gap: int, count: int) -> None:
    kept = thinned([gap * number for number in range(1, count + 1)])
    for older, newer in pairwise([0, *kept[:-1]]):
        assert newer - older <= max(gap, SPARSITY * (kept[-1] - newer))


@pytest.mark.parametrize(
    ("sequences", "gone"),
    [
        ([], []),
        ([7], []),
        ([1, 2], []),
        ([1, 2, 3], [1]),
        ([200, 400, 600], [200]),
        ([1_000, 1_001, 1_002], []),
        ([1_000, 1_001, 1_002, 1_003], [1_001]),
        ([10, 20, 30, 10_000, 20_000], [30, 20, 10]),
    ],
)
def test_examples(sequences: list[int], gone: list[int]) -> None:
    assert fallen_out(sequences) == gone
