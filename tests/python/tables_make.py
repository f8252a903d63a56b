"""Three arrays of the same length: id.npy, vector.npy, image.npy. Argument: rows."""
import sys
import numpy as np

n = int(sys.argv[1])
id = np.arange(n, dtype="i8")
np.save("id.npy", id)
np.save("vector.npy", (id[:, None] * np.array([1, -1, 0.5])).astype("f4"))
np.save("image.npy", ((id[:, None] * 7 + np.arange(6)) % 251).astype("u1").reshape(n, 2, 3))
