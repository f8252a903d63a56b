"""hits.json: per case and metric, lists of [query_row, rank, row, score]; held against NumPy in float64."""
import json
import numpy as np

np.seterr(all="ignore")
cases = json.load(open("cases.json"))
bad = 0


def scores(metric, x, q):
    if metric == "dot":
        return x @ q
    if metric == "cosine":
        a, b = np.linalg.norm(x, axis=1), np.linalg.norm(q)
        s = np.where((a == 0) | (b == 0), np.where((a == 0) & (b == 0), 1.0, 0.0), (x @ q) / (a * b))
        # A row with an infinity has no direction.
        s = np.where(np.isfinite(a) & np.isfinite(b), s, np.nan)
        return 1 - np.clip(s, -1, 1)
    square = ((x - q) ** 2).sum(axis=1)
    return square if metric == "l2sq" else np.sqrt(square)


for hit in json.load(open("hits.json")):
    i, metric = hit["case"], hit["metric"]
    x, q = np.load(f"x{i}.npy").astype("f8"), np.load(f"q{i}.npy").astype("f8")
    k = min(cases[i]["k"], len(x))
    for query in range(len(q)):
        rows = [r for r in hit["hits"] if r[0] == query]
        rows.sort(key=lambda r: r[1])
        want = scores(metric, x, q[query])
        what = (cases[i], metric, query)
        got = np.array([np.nan if r[3] is None else r[3] for r in rows], "f8")
        ids = np.array([r[2] for r in rows])
        scale = np.abs(x[np.isfinite(x)]).max() * max(np.abs(q).max(), 1) * x.shape[1]
        tolerance = {"rtol": 1e-12, "atol": 1e-12 if metric == "cosine" else 1e-14 * scale}
        if metric == "l2":
            tolerance["atol"] = 1e-7
        try:
            first = rows[0][1]
            assert [r[1] for r in rows] == list(range(first, first + k)) and first == hit["first"], "ranks"
            assert len(set(ids)) == k, "a row twice"
            np.testing.assert_allclose(got, want[ids], **tolerance, err_msg="scores of the rows")
            sign = -1 if metric == "dot" else 1
            best = np.sort(sign * want)[:k] * sign  # NaN last
            np.testing.assert_allclose(got, best, **tolerance, err_msg="scores of the best rows")
            key = [(np.isnan(s), 0 if np.isnan(s) else sign * s, r) for s, r in zip(got, ids)]
            assert key == sorted(key), "order: better score, NaN last, ties by the smaller row"
            # Equal rows tie exactly, so the smaller ones come first and none is left out before a larger one.
            taken = set(ids)
            same = [r for r in range(len(x)) if x[r].tobytes() == x[20].tobytes()]
            kept = [r in taken for r in same]
            assert kept == sorted(kept, reverse=True), "a larger row instead of an equal smaller one"
        except (AssertionError, IndexError) as error:
            print(what, error)
            bad += 1
raise SystemExit(min(bad, 1))
