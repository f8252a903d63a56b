//! The sum of the absolute differences, Σ|aᵢ − bᵢ|: Manhattan, city-block or taxicab distance.
//!
//! Minkowski's distance of order 1 (H. Minkowski, *Geometrie der Zahlen*, 1896); SciPy's `cityblock`.
//!
//! An infinity in one vector gives infinity, and NaN where both vectors hold the same one.
