//! Addresses: where rows are, whatever their positions become.

/// The addresses of some rows of an array, as a snapshot gave them: segment << 32 | offset. They stay true while rows
/// before them are deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses(pub(crate) Vec<u64>);

impl Addresses {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
