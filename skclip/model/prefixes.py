"""Token sequences as a tree, in which a prefix that several sequences share occurs once."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class PrefixTree:
    """A batch of token sequences whose common prefixes are computed once.

    A node is a token together with the tokens before it. In a causal model it has one hidden state,
    no matter how many sequences contain it.

    Parameters
    ----------
    token_ids, positions : Tensor of shape (n_nodes,), int64
        The token of each node and its position in the sequence.
    paths : Tensor of shape (batch, length), int64
        The node of each token of each sequence; any node in the padding after its end.
    occurrences : Tensor of shape (n_nodes,), int64
        For each node one index at which ``paths.flatten()`` contains it.
    ends : Tensor of shape (batch,), int64
        The last node of each sequence.
    attention_mask : Tensor of shape (batch, 1, 1, length), bool, or None
        False in the padding of `paths`; None if all sequences have the same length.
    """

    token_ids: torch.Tensor
    positions: torch.Tensor
    paths: torch.Tensor
    occurrences: torch.Tensor
    ends: torch.Tensor
    attention_mask: torch.Tensor | None

    def to(self, device):
        """Return the tree with its tensors moved to a device."""
        moved = {
            name: None if value is None else value.to(device) for name, value in vars(self).items()
        }
        return PrefixTree(**moved)


def share_prefixes(sequences):
    """Build the prefix tree of token sequences.

    Parameters
    ----------
    sequences : sequence of tuple of int
        A prefix is shared with the preceding sequence only, so sequences with a common prefix
        should be adjacent, as they are after sorting.

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
    lengths = np.fromiter(map(len, sequences), dtype=np.intp, count=len(sequences))
    is_token = np.arange(lengths.max()) < lengths[:, None]
    token_ids = np.full(is_token.shape, -1, dtype=np.int64)
    token_ids[is_token] = np.concatenate(sequences)
    differs = np.ones(is_token.shape, dtype=bool)
    differs[1:] = token_ids[1:] != token_ids[:-1]
    # all nodes after the first difference are new
    is_new = np.logical_or.accumulate(differs, axis=1) & is_token
    occurrences = np.flatnonzero(is_new)
    node_numbers = np.zeros(is_token.shape, dtype=np.int64)
    node_numbers.flat[occurrences] = np.arange(len(occurrences))
    # a node that is not new is that of the preceding sequence, the latest number in its column
    paths = np.maximum.accumulate(node_numbers, axis=0)
    return PrefixTree(
        token_ids=torch.from_numpy(token_ids.flat[occurrences]),
        positions=torch.from_numpy(occurrences % is_token.shape[1]),
        paths=torch.from_numpy(paths),
        occurrences=torch.from_numpy(occurrences),
        ends=torch.from_numpy(paths[np.arange(len(sequences)), lengths - 1]),
        attention_mask=None if is_token.all() else torch.from_numpy(is_token)[:, None, None],
    )
