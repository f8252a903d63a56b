//! A query vector, prepared once for any number of rows.

use hyperslab_core::{Error, Result};

use crate::kernel::{self, Lanes};
use crate::{Distance, Metric};

/// A query vector in float64 with what the kernels need of it: the groups of lanes and the squared norm.
///
/// ```
/// use hyperslab_vector::{Metric, PreparedQuery};
/// let query = PreparedQuery::new(Metric::L2, &[0.5, 1.5])?;
/// assert_eq!(query.dim(), 2);
/// assert!(PreparedQuery::new(Metric::L2, &[0.5, f64::NAN]).is_err());
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PreparedQuery {
    distance: Distance,
    values: Vec<f64>,
    groups: Vec<Lanes>,
    norm: f64,
}

impl PreparedQuery {
    /// A query for a search.
    ///
    /// # Errors
    /// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if the vector is empty or holds a NaN or an infinity,
    /// by which nothing can be ranked.
    pub fn new(metric: Metric, values: &[f64]) -> Result<Self> {
        if values.is_empty() {
            return Err(Error::invalid("the query vector is empty: give it as many values as a row has"));
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let message = format!(
                "the query vector has {} at position {at}: rows can be ranked by finite values only",
                values[at]
            );
            return Err(Error::invalid(message));
        }
        Ok(Self::for_distance(metric.distance(), values))
    }

    /// A vector to compute distances to, of any values and length; NaN and infinities follow IEEE 754.
    pub fn for_distance(distance: Distance, values: &[f64]) -> Self {
        let groups = kernel::pad(values);
        let norm = kernel::dot(&groups, &groups);
        Self { distance, values: values.to_vec(), groups, norm }
    }

    /// The number of values.
    pub fn dim(&self) -> usize {
        self.values.len()
    }

    /// The values.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// What is computed with it.
    pub fn distance(&self) -> Distance {
        self.distance
    }

    /// The values in groups of lanes, padded with zeros.
    pub(crate) fn groups(&self) -> &[Lanes] {
        &self.groups
    }

    /// ‖query‖².
    pub(crate) fn norm(&self) -> f64 {
        self.norm
    }
}
