"""One pass of many fits over the rows that they share: in numpy on the CPU, in torch elsewhere."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock

import numpy as np
from threadpoolctl import ThreadpoolController

from skclip.solvers.minimum import Point
from skclip.solvers.softmax import block_loss, block_product

# logits in one block: so few that they stay in a core's cache
_BLOCK_LOGITS = 65_536
_BLOCK_ROWS = (128, 1024)
# a smaller pass is over before a second thread has started
_MIN_MULTIPLICATIONS = 20_000_000
_SPANS = 8
_DEVICE_LOGITS = 2**26


class Passes:
    """Losses of several fits of the same rows.

    Parameters
    ----------
    rows : Rows
    weight : ndarray of float64, of shape (n_fits, n_rows)
        Each row sums to one.
    n_threads : int
        Number of threads; each uses a single thread for its products.
    """

    def __init__(self, rows, weight, n_threads):
        self.rows, self.weight = rows, weight
        n_columns = len(weight) * rows.n_logits
        size = int(np.clip(_BLOCK_LOGITS // n_columns, *_BLOCK_ROWS))
        self.spans = np.array_split(np.array(blocks(weight, size)), _SPANS)
        multiplications = rows.features.size * n_columns
        is_small = n_threads == 1 or multiplications < _MIN_MULTIPLICATIONS
        self.pool = None if is_small else ThreadPoolExecutor(n_threads)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def __call__(self, fits, requests, dtype):
        """Answer the requests of some of the fits.

        Parameters
        ----------
        fits : list of int
        requests : list of Request
            All for the loss, or all for products.
        dtype : dtype
            Of the computation.

        Returns
        -------
        answers : list of Point, or list of ndarray of float64
        """
        fits = np.array(fits)
        arrays = [np.array(part, dtype=dtype) for part in stack(requests)]
        run_spans = map if self.pool is None else self.pool.map
        parts = run_spans(lambda span: self._span(span, fits, arrays), self.spans)
        # in the order of the spans, whichever ends first: rounding does not depend on the threads
        return answers(requests, [sum(part) for part in zip(*parts, strict=True)], dtype)

    def _span(self, span, fits, arrays):
        """Sum over the blocks of one span; blocks in which a fit has no weight are skipped."""
        theta, *direction = arrays
        function = block_product if direction else block_loss
        sums = [np.zeros(theta.shape)] if direction else zero_sums(theta.shape)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            for start, stop in span:
                weight = self.weight[fits, start:stop]
                some = weight.any(axis=1)
                if not some.any():
                    continue
                features = self.rows.features[start:stop].astype(theta.dtype, copy=False)
                parts = function(
                    np,
                    features,
                    self.rows.y[start:stop],
                    theta[some],
                    weight[some].astype(theta.dtype),
                    *(part[some] for part in direction),
                )
                for total, part in zip(sums, parts, strict=True):
                    total[some] += part
        return sums


def stack(requests):
    """Return the thetas of requests in one array and, if they have some, their directions."""
    thetas = np.array([request.theta for request in requests])
    if requests[0].direction is None:
        return [thetas]
    return [thetas, np.array([request.direction for request in requests])]


def zero_sums(shape):
    """Return zeros to which the losses, gradients and curvatures of blocks are added."""
    return [np.zeros(shape[0]), np.zeros(shape), np.zeros(shape[:2])]


def answers(requests, sums, dtype):
    """Return what each request asked for."""
    if requests[0].direction is not None:
        return list(sums[0])
    return [
        Point(request.theta, float(loss), gradient, curvature, dtype)
        for request, loss, gradient, curvature in zip(requests, *sums, strict=True)
    ]


def blocks(weight, size):
    """Cut the rows into blocks that the same fits need, as far as these are not too small.

    Parameters
    ----------
    weight : ndarray of shape (n_fits, n_rows)
    size : int
        Largest number of rows in a block.

    Returns
    -------
    edges : list of (int, int)
        Start and stop of each block.
    """
    n_rows = weight.shape[1]
    needed = weight > 0
    changes = np.flatnonzero((needed[:, 1:] != needed[:, :-1]).any(axis=0)) + 1
    if len(changes) * size > n_rows:
        changes = []
    edges = []
    for start, stop in zip([0, *changes], [*changes, n_rows], strict=True):
        n_blocks = -(-(stop - start) // size)
        bounds = np.linspace(start, stop, n_blocks + 1).astype(int).tolist()
        edges += zip(bounds[:-1], bounds[1:], strict=True)
    return edges


class DevicePasses:
    """The same as `Passes` on a device of torch.

    Parameters
    ----------
    rows : Rows
    weight : ndarray of float64, of shape (n_fits, n_rows)
        Each row sums to one.
    device : str
    """

    def __init__(self, rows, weight, device):
        import torch

        self.features = torch.from_numpy(rows.features).to(device)
        self.y = torch.from_numpy(rows.y).to(device)
        self.weight = torch.from_numpy(weight).to(device)
        self.size = max(1, _DEVICE_LOGITS // (len(weight) * rows.n_logits))

    def __call__(self, fits, requests, dtype):
        """Answer the requests of some of the fits, as `Passes` does."""
        import torch

        wide = torch.float64 if dtype == np.float64 else torch.float32
        device = self.features.device
        theta, *direction = (torch.from_numpy(part).to(device, wide) for part in stack(requests))
        function = block_product if direction else block_loss
        parts = []
        for start in range(0, len(self.y), self.size):
            block = slice(start, start + self.size)
            features, weight = self.features[block].to(wide), self.weight[fits, block].to(wide)
            found = function(torch, features, self.y[block], theta, weight, *direction)
            parts.append([part.double() for part in found])
        sums = [sum(part).cpu().numpy() for part in zip(*parts, strict=True)]
        return answers(requests, sums, dtype)


@contextmanager
def passes_on(device, rows, weight):
    """Yield the passes of a device, and release what they hold in the end.

    On the CPU each product then uses one thread, and the passes as many threads as products could
    use before: all cores, or fewer within the limits of joblib and threadpoolctl.
    """
    if device != "cpu":
        yield DevicePasses(rows, weight, device)
        return
    with _products.in_one_thread() as n_threads, Passes(rows, weight, n_threads) as passes:
        yield passes


class Products:
    """The threads of matrix products, which all fits of this process share.

    Fits in several threads overlap in time. The first one to begin lowers the limit, which holds
    for the whole process, and the last one to end restores it.
    """

    def __init__(self):
        self.lock = Lock()
        self.n_fits = 0

    @contextmanager
    def in_one_thread(self):
        """Limit products to one thread; yield how many they could use before."""
        with self.lock:
            if not self.n_fits:
                blas = ThreadpoolController().select(user_api="blas")
                self.n_threads = max((pool["num_threads"] for pool in blas.info()), default=1)
                self.limiter = blas.limit(limits=1)
            self.n_fits += 1
        try:
            yield self.n_threads
        finally:
            with self.lock:
                self.n_fits -= 1
                if not self.n_fits:
                    self.limiter.restore_original_limits()


_products = Products()
