"""A prefix that several sequences share occurs once in the tree."""

from hypothesis import given
from hypothesis import strategies as st

from skclip.model.prefixes import share_prefixes

ROWS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6).map(tuple), min_size=1)


@given(ROWS)
def test_paths_spell_the_sequences(rows):
    tree = share_prefixes(rows)
    for row, path, end in zip(rows, tree.paths.tolist(), tree.ends.tolist(), strict=True):
        nodes = path[: len(row)]
        assert tuple(tree.token_ids[nodes].tolist()) == row
        assert tree.positions[nodes].tolist() == list(range(len(row)))
        assert end == nodes[-1]


@given(ROWS)
def test_sorted_sequences_hold_each_prefix_once(rows):
    rows = sorted(rows)
    prefixes = {row[: i + 1] for row in rows for i in range(len(row))}
    assert len(share_prefixes(rows).token_ids) == len(prefixes)


@given(ROWS)
def test_each_node_is_found_at_its_occurrence(rows):
    tree = share_prefixes(rows)
    places = tree.paths.flatten()[tree.occurrences]
    assert places.tolist() == list(range(len(tree.token_ids)))


def test_the_attention_mask_excludes_padding_only():
    assert share_prefixes([(1, 2), (3, 4)]).attention_mask is None
    mask = share_prefixes([(1, 2, 3), (4,)]).attention_mask
    assert mask[:, 0, 0].tolist() == [[True, True, True], [True, False, False]]
