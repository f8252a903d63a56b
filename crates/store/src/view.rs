//! Rows as a typed view of memory.

use std::marker::PhantomData;

use hyperslab_core::{Element, Result};

/// Rows of one field as elements in C order: a view into maps, or an owned copy where that is not possible;
/// [`is_view`](View::is_view) says which.
#[derive(Debug, Clone)]
pub struct View<T> {
    marker: PhantomData<T>,
}

impl<T: Element> View<T> {
    /// The elements.
    pub fn as_slice(&self) -> &[T] {
        todo!()
    }

    /// The shape: rows, then the cell's axes.
    pub fn shape(&self) -> &[usize] {
        todo!()
    }

    /// Whether the elements lie in a map, without a copy.
    pub fn is_view(&self) -> bool {
        todo!()
    }

    /// The view as an ndarray, without a copy.
    pub fn to_ndarray(&self) -> Result<ndarray::ArrayViewD<'_, T>> {
        todo!()
    }
}
