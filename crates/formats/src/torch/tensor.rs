//! Tensors as a pickle describes them: a storage, and sizes and strides in it.

use hyperslab_core::{DType, Error, Result};

use super::globals::Global;
use super::pickle::{Id, Object, Objects};

/// As many axes as a field has at most, with the rows.
pub(super) const MAX_AXES: usize = 32;

/// Keys are short numbers.
const MAX_KEY: usize = 100;

/// An element type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Element {
    Known(DType),
    /// One that is not read, by torch's name.
    Other(String),
}

/// A storage, whose bytes are the entry `data/KEY`.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    pub(super) key: String,
    /// `None` for bytes of whatever a tensor says.
    pub(super) element: Option<Element>,
    /// How many elements it holds; of bytes where it has no element type.
    pub(super) elements: u64,
}

/// A view of a storage.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    pub(super) storage: Storage,
    pub(super) element: Element,
    /// The element where it starts.
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    /// Elements from one to the next, for each axis.
    pub(super) strides: Vec<u64>,
    /// Why it cannot be read although its elements can.
    pub(super) refused: Option<&'static str>,
}

impl Storage {
    /// The storage that a persistent id names: `("storage", type, key, location, elements)`.
    pub(super) fn of_id(objects: &Objects, id: &Object) -> Result<Self> {
        let bad = || Error::corrupt("its pickle has a persistent id that is no storage's");
        let Object::Tuple(parts) = id else { return Err(bad()) };
        let parts: Vec<_> = parts.iter().map(|id| objects.get(*id)).collect();
        match parts.as_slice() {
            [Object::Text(kind), Object::Global(Global::Storage(element)), key, _, Object::Int(elements)]
                if kind == "storage" =>
            {
                let key = match key {
                    Object::Text(key) if key.len() <= MAX_KEY => key.to_string(),
                    Object::Int(key) => key.to_string(),
                    _ => return Err(bad()),
                };
                let elements = u64::try_from(*elements).map_err(|_| bad())?;
                Ok(Self { key, element: element.clone(), elements })
            }
            _ => Err(bad()),
        }
    }
}

impl Tensor {
    /// A tensor from the arguments of the call that makes it: storage, offset, size, stride.
    pub(super) fn new(
        objects: &Objects,
        arguments: &[Id],
        element: Option<Element>,
        metadata: Option<&Object>,
    ) -> Result<Self> {
        let bad = || {
            Error::corrupt(
                "its pickle makes a tensor of what is no storage, offset, size and stride (of at most 32 axes)",
            )
        };
        let [storage, offset, shape, strides, ..] = arguments else { return Err(bad()) };
        let Object::Storage(storage) = objects.get(*storage) else { return Err(bad()) };
        let shape = lengths(objects, *shape).ok_or_else(bad)?;
        let strides = lengths(objects, *strides).ok_or_else(bad)?;
        let offset = length(objects.get(*offset)).filter(|_| shape.len() == strides.len()).ok_or_else(bad)?;
        // Bytes of a storage without a type are those of the dtype that comes with the tensor.
        let element = element.or_else(|| storage.element.clone()).ok_or_else(bad)?;
        let refused = match metadata {
            Some(Object::Dict(items)) => {
                items.iter().find_map(|(key, value)| lazy(objects.get(*key), objects.get(*value)))
            }
            _ => None,
        };
        Ok(Self { storage: storage.clone(), element, offset, shape, strides, refused })
    }

    /// The elements of a shape; `None` beyond 63 bits.
    pub(super) fn elements(&self) -> Option<u64> {
        let mut nonzero = 1_u64;
        for &axis in &self.shape {
            nonzero = nonzero.checked_mul(axis.max(1)).filter(|&n| i64::try_from(n).is_ok())?;
        }
        Some(if self.shape.contains(&0) { 0 } else { nonzero })
    }

    /// The element after the last that is read; `None` beyond 64 bits.
    pub(super) fn end(&self) -> Option<u64> {
        if self.elements()? == 0 {
            return Some(0);
        }
        let last = self
            .shape
            .iter()
            .zip(&self.strides)
            .try_fold(self.offset, |at, (axis, stride)| at.checked_add((axis - 1).checked_mul(*stride)?))?;
        last.checked_add(1)
    }

    /// Whether elements follow each other in C order.
    pub(super) fn is_contiguous(&self) -> bool {
        self.follows(self.shape.iter().zip(&self.strides).rev())
    }

    /// Whether elements follow each other with the first axis fastest.
    pub(super) fn is_fortran(&self) -> bool {
        self.follows(self.shape.iter().zip(&self.strides))
    }

    fn follows<'a>(&self, axes: impl Iterator<Item = (&'a u64, &'a u64)>) -> bool {
        let mut expected = 1;
        for (axis, stride) in axes {
            if *axis != 1 && *stride != expected {
                return false;
            }
            expected *= axis.max(&1);
        }
        true
    }
}

/// The flags of views that are not what is stored.
fn lazy(key: &Object, value: &Object) -> Option<&'static str> {
    match (key, value) {
        (Object::Text(key), Object::Bool(true)) if key == "conj" => {
            Some("it is the conjugate of what is stored; save tensor.resolve_conj()")
        }
        (Object::Text(key), Object::Bool(true)) if key == "neg" => {
            Some("it is the negative of what is stored; save tensor.resolve_neg()")
        }
        _ => None,
    }
}

fn length(object: &Object) -> Option<u64> {
    match object {
        Object::Int(n) => u64::try_from(*n).ok(),
        _ => None,
    }
}

fn lengths(objects: &Objects, id: Id) -> Option<Vec<u64>> {
    match objects.get(id) {
        Object::Tuple(items) | Object::List(items) if items.len() <= MAX_AXES => {
            items.iter().map(|id| length(objects.get(*id))).collect()
        }
        _ => None,
    }
}
