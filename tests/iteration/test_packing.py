import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iteration.packing import batches, pack
from iteration.types import Examples


def examples(lengths):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.arange(1, offsets[-1] + 1, dtype=np.int32)  # every token is different: it can be followed
    starts = np.zeros(offsets[-1], bool)
    starts[offsets[:-1]] = True
    weights = (~starts * np.repeat(np.linspace(1, 2, len(lengths)), lengths)).astype(np.float32)
    positions = np.concatenate([np.arange(n) for n in lengths]).astype(np.int32)
    return Examples(tokens, positions, weights, tokens * 0.5, offsets)


LENGTHS = st.lists(st.integers(2, 16), min_size=1, max_size=60)


@given(LENGTHS, st.integers(16, 40))
def test_every_sequence_is_in_one_row_and_no_row_overflows(lengths, row):
    rows = pack(np.array(lengths), row)
    assert sorted(i for each in rows for i in each) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in each) <= row for each in rows)


@given(LENGTHS, st.integers(1, 3), st.integers(0, 100))
def test_every_target_is_learnt_once_with_its_weight_and_its_own_past(lengths, rows, seed):
    data = examples(lengths)
    order = np.random.default_rng(seed).permutation(len(lengths))
    seen = {}
    for batch in batches(data, order, rows, 20, np.random.default_rng(seed), lookahead=2):
        assert batch.tokens == (batch.token_ids > 0).sum()
        assert batch.count == len(set(batch.items[batch.items >= 0].tolist()))
        for r, s in zip(*np.nonzero(batch.weights), strict=True):
            target = int(batch.token_ids[r, s])
            assert target not in seen
            assert batch.token_ids[r, s - 1] == target - 1  # the token before it in the same sequence
            start = s - batch.positions[r, s]
            assert np.isin(batch.token_ids[r, start], data.token_ids[data.offsets[:-1]])  # where its sequence begins
            assert (batch.items[r, start : s + 1] == batch.items[r, s]).all() and batch.labels[r, s] == target * 0.5
            seen[target] = batch.weights[r, s]
    expected = {int(t): w for t, w in zip(data.token_ids, data.weights, strict=True) if w}
    assert seen == pytest.approx(expected)


@pytest.mark.parametrize(
    ("lengths", "row"),
    [
        pytest.param(np.random.default_rng(0).choice([9, 12, 20, 30, 42, 56], 4000), 128, id="few lengths"),
        pytest.param(np.random.default_rng(0).integers(55, 98, 1000), 256, id="lengths close together, three or four to a row"),
        pytest.param(np.random.default_rng(0).integers(2000, 4000, 500), 32_768, id="long answers"),
        pytest.param(np.random.default_rng(0).lognormal(8.5, 1, 800).clip(100, 32_768).astype(int), 32_768, id="a long tail"),
    ],
)
def test_realistic_lengths_fill_their_rows(lengths, row):
    plan = list(batches(examples(lengths), np.arange(len(lengths)), 8, row, np.random.default_rng(0)))
    assert sum(b.tokens for b in plan) / sum(b.token_ids.size for b in plan) > 0.97


def test_a_sequence_longer_than_a_row_is_named():
    with pytest.raises(ValueError, match="example 1 has 30 tokens but train.row_tokens is 20"):
        pack(np.array([3, 30]), 20)
