//! How many positions differ: R. W. Hamming, "Error detecting and error correcting codes", Bell System Technical
//! Journal 29(2), 1950. A count, as in pgvector and Faiss; SciPy's `hamming` divides it by the length.
//!
//! Positions are *bits* where the rows are of uint8, which is how binary vectors are packed, or bool; of the other
//! dtypes they are elements. A NaN differs from everything, from a NaN too; 0 and −0 are equal. Elements of int64 and
//! uint64 are compared as float64, that is beyond ±2⁵³ after rounding.
