"""The vectors that everyone searches, and the true answers to compare with."""

import pathlib

import numpy as np

K = 10
QUERIES = 64
METRICS = ("l2", "cosine")
PACKAGES = pathlib.Path(__file__).resolve().parent.parent.parent / "examples" / "data" / "packages.npy"
# A field beside the vectors, of rows: as SQL and NumPy spell it.
LABEL = "row * 7919 % 100003 % 100"
# The condition in SQL, and the same of NumPy's row numbers.
FILTERS = {
    "filter 1 % by label": ("label = 3", lambda row: row * 7919 % 100003 % 100 == 3),
    "filter 50 % by label": ("label < 50", lambda row: row * 7919 % 100003 % 100 < 50),
    "filter 1 %": ("row % 100 = 3", lambda row: row % 100 == 3),
    "filter 50 %": ("(row * 7919) % 1009 < 505", lambda row: (row * 7919) % 1009 < 505),
}


def random(rows, dim):
    rng = np.random.default_rng(7)
    return rng.standard_normal((rows, dim), dtype=np.float32), rng.standard_normal((QUERIES, dim), dtype=np.float32)


def clustered(rows, dim):
    """A thousand Gaussian centres, and points about them; queries are points of the same kind."""
    rng = np.random.default_rng(8)
    centres = rng.standard_normal((1000, dim), dtype=np.float32)

    def points(n):
        out = rng.standard_normal((n, dim), dtype=np.float32)
        out *= 0.3
        for start in range(0, n, 65536):
            part = out[start : start + 65536]
            part += centres[rng.integers(0, len(centres), len(part))]
        return out

    return points(rows), points(QUERIES)


def packages(rows=None, dim=None):
    """Embeddings of the descriptions of 6,000 packages; the queries lie between two of them.

    More rows than there are repeat them, each copy moved by a twentieth of its length, so that copies are no ties.
    """
    rng = np.random.default_rng(9)
    real = np.ascontiguousarray(np.load(PACKAGES), dtype=np.float32)
    pairs = rng.integers(0, len(real), (2, QUERIES))
    queries = (real[pairs[0]] + real[pairs[1]]) / 2
    if rows is None or rows <= len(real):
        return real[:rows], queries
    data = np.resize(real, (rows, real.shape[1]))
    scale = 0.05 * np.linalg.norm(real, axis=1).mean() / np.sqrt(real.shape[1])
    for start in range(len(real), rows, len(real)):
        part = data[start : start + len(real)]
        part += np.float32(scale) * rng.standard_normal(part.shape, dtype=np.float32)
    return data, queries


def distances(rows, query, metric):
    """In float64, of each row."""
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        return np.sqrt(((rows - query) ** 2).sum(1))
    return 1 - rows @ query / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))


def nearest(data, queries, metric, rows=None):
    """The K nearest rows of each query: a hundred candidates by a product in float32, ranked in float64."""
    rows = np.arange(len(data)) if rows is None else rows
    part = data if len(rows) == len(data) else data[rows]
    scores = -2 * (queries @ part.T)
    square = np.einsum("ij,ij->i", part, part)
    if metric == "l2":
        scores += square
    else:
        scores /= np.sqrt(square)
    out = np.empty((len(queries), K), np.int64)
    count = min(10 * K, len(rows) - 1)
    for i, query in enumerate(queries):
        near = rows[np.argpartition(scores[i], count)[:count]]
        out[i] = near[np.lexsort((near, distances(data[near], query, metric)))[:K]]
    return out


def truth(data, queries):
    """What each operation should find, by its name in the figures."""
    true = {}
    for metric in METRICS:
        true[f"batch {metric}"] = nearest(data, queries, metric)
        true[f"top_k {metric}"] = true[f"batch {metric}"][:1]
    row = np.arange(len(data))
    for name, (_, keep) in FILTERS.items():
        true[f"{name} l2"] = nearest(data, queries[:1], "l2", row[keep(row)])
    return true


def recall(found, true, data, queries, metric):
    """The part of the answers that are as near as the true ones: ties, and float32's rounding, are not mistakes."""
    good = 0
    for rows, best, query in zip(found, true, queries):
        # The distances of float32 come from sums of squares, whose rounding is of the size of the squares.
        limit = distances(data[best], query, metric)[-1] * (1 + 1e-5) + 1e-6
        rows = np.unique(np.asarray(rows, np.int64))[: len(best)]
        good += int((distances(data[rows], query, metric) <= limit).sum())
    return good / true.size
