//! The mapping between fields and Arrow, both ways, and between raw little-endian rows and Arrow arrays.
//!
//! Cell shape `()` is the primitive type; `(d)` is `FixedSizeList<T, d>`; more axes are `FixedSizeList<T, product>`
//! with the canonical extension `arrow.fixed_shape_tensor`, whose metadata holds the shape. A complex number is a
//! `FixedSizeList` of 2 named `complex` (extension `hyperslab.complex`); bool is bit-packed when read.
//! `datetime64` is a `Timestamp` without a zone, `timedelta64` a `Duration`.
