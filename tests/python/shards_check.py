"""numpy.load opens every shard of a store; together they hold 0..n-1, each number once. Arguments: store, n, shape."""
import ast, glob, json, sys
import numpy as np

store, n, cell = sys.argv[1], int(sys.argv[2]), ast.literal_eval(sys.argv[3])
files = sorted(glob.glob(f"{store}/arrays/*/*.npy"))
parts = [np.load(f) for f in files]
for part in parts:
    assert part.dtype == np.dtype("<i8") and part.shape[1:] == cell and part.flags.c_contiguous, (part.dtype, part.shape)
    mapped = part.reshape(len(part), -1)
    assert (mapped == mapped[:, :1]).all()
rows = np.concatenate([p.reshape(len(p), -1)[:, 0] for p in parts]) if parts else np.empty(0)
assert np.array_equal(np.sort(rows), np.arange(n)), (n, len(rows), [len(p) for p in parts])
for entry in glob.glob(f"{store}/_log/*.json") + [f"{store}/hyperslab.json"]:
    json.load(open(entry))
print(len(files))
