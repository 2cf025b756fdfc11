"""Token sequences as a tree, in which a prefix that several share stands once."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class PrefixTree:
    """A batch of token sequences whose common prefixes are computed once.

    A node is a token after a certain prefix. In a causal model it has one hidden state, however
    many sequences run through it.

    Parameters
    ----------
    token_ids, positions : Tensor of shape (n_nodes,), int64
        The token of each node and its place in the sequence.
    paths : Tensor of shape (batch, length), int64
        The node of each token of each sequence; behind its end any node.
    occurrences : Tensor of shape (n_nodes,), int64
        For each node one place in ``paths.flatten()`` where it stands.
    ends : Tensor of shape (batch,), int64
        The last node of each sequence.
    inside : Tensor of shape (batch, 1, 1, length), bool, or None
        Which places of `paths` belong to the sequence; None where all do.
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    paths: torch.Tensor
    occurrences: torch.Tensor
    ends: torch.Tensor
    inside: torch.Tensor | None

    def to(self, device):
        """Return the tree with its tensors on a device."""
        moved = {
            name: None if value is None else value.to(device) for name, value in vars(self).items()
        }
        return PrefixTree(**moved)


def share_prefixes(rows):
    """Make a tree of token sequences.

    Parameters
    ----------
    rows : sequence of tuple of int
        Those that begin alike should stand next to each other, as sorting puts them: a prefix is
        shared with the row before.

    Returns
    -------
    PrefixTree

    Examples
    --------
    >>> from skclip.model.prefixes import share_prefixes
    >>> tree = share_prefixes([(7, 1, 2, 9), (7, 1, 3, 9), (7, 9)])
    >>> tree.token_ids.tolist()
    [7, 1, 2, 9, 3, 9, 9]
    >>> tree.paths.tolist()[1]
    [0, 1, 4, 5]
    """
    lengths = np.fromiter(map(len, rows), dtype=np.intp, count=len(rows))
    inside = np.arange(lengths.max()) < lengths[:, None]
    token_ids = np.full(inside.shape, -1, dtype=np.int64)
    token_ids[inside] = np.concatenate(rows)
    differs = np.ones(inside.shape, dtype=bool)
    differs[1:] = token_ids[1:] != token_ids[:-1]
    # after the first difference everything is new
    is_new = np.logical_or.accumulate(differs, axis=1) & inside
    occurrences = np.flatnonzero(is_new)
    numbers = np.zeros(inside.shape, dtype=np.int64)
    numbers.flat[occurrences] = np.arange(len(occurrences))
    # a token that is not new is the one of the row before, whose number is the last in its column
    paths = np.maximum.accumulate(numbers, axis=0)
    return PrefixTree(
        token_ids=torch.from_numpy(token_ids.flat[occurrences]),
        positions=torch.from_numpy(occurrences % inside.shape[1]),
        paths=torch.from_numpy(paths),
        occurrences=torch.from_numpy(occurrences),
        ends=torch.from_numpy(paths[np.arange(len(rows)), lengths - 1]),
        inside=None if inside.all() else torch.from_numpy(inside)[:, None, None],
    )
