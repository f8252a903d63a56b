//! Rows as a typed view of memory.

use std::marker::PhantomData;

use arrow_buffer::Buffer;
use hyperslab_core::{Element, Error, Result};

use crate::{elements, owned};

/// Rows of one field as elements in C order: a view into maps, or an owned copy where that is not possible;
/// [`is_view`](View::is_view) says which.
#[derive(Debug, Clone)]
pub struct View<T> {
    /// Checked to be elements.
    buffer: Buffer,
    shape: Vec<usize>,
    is_view: bool,
    marker: PhantomData<T>,
}

impl<T: Element> View<T> {
    pub(crate) fn new(buffer: Buffer, shape: Vec<usize>, is_view: bool) -> Result<Self> {
        let elements = elements::from_bytes::<T>(&buffer).map(<[T]>::len);
        if elements != Some(shape.iter().product()) {
            return Err(Error::corrupt(format!("{} bytes are not {} of shape {shape:?}", buffer.len(), T::NAME)));
        }
        Ok(Self { buffer, shape, is_view, marker: PhantomData })
    }

    /// The elements.
    pub fn as_slice(&self) -> &[T] {
        elements::from_bytes(&self.buffer).unwrap_or_default()
    }

    /// The elements in memory of one's own, whatever [`is_view`](Self::is_view) says. Large ones are copied by several
    /// threads.
    pub fn to_vec(&self) -> Vec<T> {
        owned::copy(self.as_slice())
    }

    /// As [`to_ndarray`](Self::to_ndarray), in memory of one's own.
    ///
    /// # Errors
    /// As [`to_ndarray`](Self::to_ndarray).
    pub fn to_owned_ndarray(&self) -> Result<ndarray::ArrayD<T>> {
        ndarray::ArrayD::from_shape_vec(self.shape.clone(), self.to_vec())
            .map_err(|e| Error::corrupt("a view whose shape does not fit").because(e))
    }

    /// The shape: rows, then the cell's axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Whether the elements lie in a map, without a copy.
    pub fn is_view(&self) -> bool {
        self.is_view
    }

    /// The view as an ndarray, without a copy.
    ///
    /// # Errors
    /// `Invalid` for a shape that ndarray cannot hold.
    pub fn to_ndarray(&self) -> Result<ndarray::ArrayViewD<'_, T>> {
        ndarray::ArrayViewD::from_shape(self.shape.clone(), self.as_slice())
            .map_err(|e| Error::invalid(format!("shape {:?}", self.shape)).because(e))
    }
}
