//! The inner product Σ aᵢ bᵢ, also called dot product, and its negative.
//!
//! The negative is the form in which a sort from small to large puts the best row first; pgvector's `<#>`
//! operator has it for that reason (<https://github.com/pgvector/pgvector#querying>).

/// −a·b.
#[inline]
pub(crate) fn negative(dot: f64) -> f64 {
    -dot
}
