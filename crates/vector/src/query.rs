//! A query vector, prepared once for any number of rows.

use hyperslab_core::{Error, Result};

use crate::kernel::{self, Lanes};
use crate::scalar::is_narrow;
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
    narrow: bool,
    bytes: Vec<u8>,
}

impl PreparedQuery {
    /// A query for a search.
    ///
    /// # Errors
    /// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if the vector is empty or holds a NaN or an infinity, by which
    /// little can be ranked; [`allowing_nan`](Self::allowing_nan) takes them.
    pub fn new(metric: Metric, values: &[f64]) -> Result<Self> {
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let message = format!(
                "the query vector has {} at position {at}: rows can be ranked by finite values only, unless NaN is \
                 allowed",
                values[at]
            );
            return Err(Error::invalid(message));
        }
        Self::allowing_nan(metric, values)
    }

    /// A query for a search that may hold NaN and infinities: they follow IEEE 754, and a row whose score is NaN comes
    /// last.
    ///
    /// ```
    /// use hyperslab_vector::{Metric, PreparedQuery};
    /// assert!(PreparedQuery::allowing_nan(Metric::L2, &[0.5, f64::NAN]).is_ok());
    /// # Ok::<(), hyperslab_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](hyperslab_core::ErrorKind::Invalid) if the vector is empty.
    pub fn allowing_nan(metric: Metric, values: &[f64]) -> Result<Self> {
        if values.is_empty() {
            return Err(Error::invalid("the query vector is empty: give it as many values as a row has"));
        }
        Ok(Self::for_distance(metric.distance(), values))
    }

    /// A vector to compute distances to, of any values and length; NaN and infinities follow IEEE 754.
    pub fn for_distance(distance: Distance, values: &[f64]) -> Self {
        let mut groups = kernel::pad(values);
        if distance.is_divergence() {
            groups = kernel::distribution(groups);
        }
        let norm = kernel::dot(&groups, &groups);
        let bytes = if distance.compares_bits() { values.iter().map(|v| *v as u8).collect() } else { vec![] };
        let narrow = values.iter().all(|v| is_narrow(*v));
        Self { distance, values: values.to_vec(), groups, norm, narrow, bytes }
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

    /// The values as bytes, for the metrics that compare bits. They are the values only if these are integers of that
    /// range, which is [checked](crate::distance::check_query) against the rows' dtype.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether all values are [narrow](is_narrow), as those are that come from float32.
    pub(crate) fn is_narrow(&self) -> bool {
        self.narrow
    }

    /// The values in groups of lanes, padded with zeros; of a divergence, as a distribution.
    pub(crate) fn groups(&self) -> &[Lanes] {
        &self.groups
    }

    /// ‖query‖².
    pub(crate) fn norm(&self) -> f64 {
        self.norm
    }
}
