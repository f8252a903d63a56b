//! What a pickle may name, and what each makes.

use hyperslab_core::{DType, Error, Result};

use super::pickle::{Id, Object, Objects};
use super::tensor::{Element, MAX_AXES, Tensor};

/// A name that a pickle may import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Global {
    /// `collections.OrderedDict`.
    OrderedDict,
    /// `torch.FloatStorage`, …: the element type; `None` for bytes of any.
    Storage(Option<Element>),
    /// `torch.float32`, ….
    DType(Element),
    Rebuild(Rebuild),
    /// `torch.Size`: a tuple.
    Size,
    /// What makes something without tensors: a device, a set, bytes, a type.
    Plain,
}

/// How a tensor is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rebuild {
    /// storage, offset, size, stride and what does not matter.
    Tensor,
    /// As above, six in all, and the dtype.
    TensorOfDType,
    /// A tensor first.
    Parameter,
    /// One of the others, a type, the other's arguments, attributes.
    FromType,
}

/// The names of storages and of dtypes that torch has, and our dtype.
const ELEMENTS: [(&str, &str, DType); 15] = [
    ("BoolStorage", "bool", DType::Bool),
    ("ByteStorage", "uint8", DType::UInt8),
    ("", "uint16", DType::UInt16),
    ("", "uint32", DType::UInt32),
    ("", "uint64", DType::UInt64),
    ("CharStorage", "int8", DType::Int8),
    ("ShortStorage", "int16", DType::Int16),
    ("IntStorage", "int32", DType::Int32),
    ("LongStorage", "int64", DType::Int64),
    ("HalfStorage", "float16", DType::Float16),
    ("BFloat16Storage", "bfloat16", DType::Bfloat16),
    ("FloatStorage", "float32", DType::Float32),
    ("DoubleStorage", "float64", DType::Float64),
    ("ComplexFloatStorage", "complex64", DType::Complex64),
    ("ComplexDoubleStorage", "complex128", DType::Complex128),
];

/// The name of a dtype's storage (empty where it has none of its own) and of the dtype.
pub(super) fn names(dtype: DType) -> Option<(&'static str, &'static str)> {
    ELEMENTS.iter().find(|(_, _, d)| *d == dtype).map(|(storage, name, _)| (*storage, *name))
}

impl Global {
    /// The known meaning of a name.
    ///
    /// # Errors
    /// `Unsupported`, naming it, for any other.
    pub(super) fn find(module: &str, name: &str) -> Result<Self> {
        let found = match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::Rebuild(Rebuild::Tensor),
            ("torch._utils", "_rebuild_tensor_v3") => Self::Rebuild(Rebuild::TensorOfDType),
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Self::Rebuild(Rebuild::Parameter)
            }
            ("torch._tensor" | "torch.tensor", "_rebuild_from_type_v2") => Self::Rebuild(Rebuild::FromType),
            ("torch", "Size") => Self::Size,
            ("torch", "Tensor" | "device") | ("torch.nn.parameter", "Parameter" | "Buffer") => Self::Plain,
            ("torch.serialization", "_get_layout") | ("_codecs", "encode") => Self::Plain,
            ("builtins" | "__builtin__", "set" | "frozenset" | "bytearray" | "complex") => Self::Plain,
            ("torch.storage", "UntypedStorage") | ("torch", "UntypedStorage") => Self::Storage(None),
            ("torch", name) => Self::of_torch(name).ok_or_else(|| refused(module, name))?,
            _ => return Err(refused(module, name)),
        };
        Ok(found)
    }

    fn of_torch(name: &str) -> Option<Self> {
        let element =
            ELEMENTS.iter().find(|(storage, dtype, _)| !name.is_empty() && (*storage == name || *dtype == name));
        match (element, name.strip_suffix("Storage")) {
            (Some((_, _, dtype)), Some(_)) => Some(Self::Storage(Some(Element::Known(*dtype)))),
            (Some((_, _, dtype)), None) => Some(Self::DType(Element::Known(*dtype))),
            // Quantized elements: listed and refused when they are opened.
            (None, Some("QInt8" | "QUInt8" | "QInt32" | "QUInt4x2" | "QUInt2x4" | "ComplexHalf")) => {
                Some(Self::Storage(Some(Element::Other(name.to_owned()))))
            }
            (None, None) if is_dtype(name) => Some(Self::DType(Element::Other(name.to_owned()))),
            _ => None,
        }
    }
}

/// Whether a name of torch is that of a dtype without one here.
fn is_dtype(name: &str) -> bool {
    let digits = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    let number =
        ["float", "int", "uint", "bits", "quint", "qint"].iter().any(|p| name.strip_prefix(p).is_some_and(digits));
    (number || name == "complex32") && name.len() < 40
}

fn refused(module: &str, name: &str) -> Error {
    Error::unsupported(format!(
        "its pickle asks for {module}.{name}, and nothing is run or imported for a file; load it where it comes from, and \
         save its tensors alone, as by torch.save(model.state_dict(), …)"
    ))
}

/// What calling a name makes.
///
/// # Errors
/// `Unsupported` for arguments that no such call has.
pub(super) fn call<'a>(objects: &Objects<'a>, global: &Global, arguments: &[Id]) -> Result<Object<'a>> {
    match global {
        // Its items come later, one by one.
        Global::OrderedDict if arguments.is_empty() => Ok(Object::Dict(Vec::new())),
        Global::OrderedDict => Err(Error::unsupported(
            "its pickle makes an OrderedDict as Python 2 did; load it and save it again with a newer torch",
        )),
        Global::Size => match arguments.first().map(|size| objects.get(*size)) {
            Some(Object::Tuple(axes)) if axes.len() <= MAX_AXES => Ok(Object::Tuple(axes.clone())),
            _ => Err(Error::corrupt("its pickle makes a torch.Size of what is none")),
        },
        Global::Rebuild(rebuild) => Ok(Object::Tensor(Box::new(self::rebuild(objects, *rebuild, arguments)?))),
        Global::Plain => Ok(Object::Other),
        Global::Storage(_) | Global::DType(_) => {
            Err(Error::unsupported("its pickle calls a storage or a dtype, which torch.save does not write"))
        }
    }
}

fn rebuild(objects: &Objects, rebuild: Rebuild, arguments: &[Id]) -> Result<Tensor> {
    let argument = |i: usize| arguments.get(i).map(|id| objects.get(*id));
    match rebuild {
        Rebuild::Tensor => Tensor::new(objects, arguments, None, argument(6)),
        Rebuild::TensorOfDType => match argument(6) {
            Some(Object::Global(Global::DType(element))) => {
                Tensor::new(objects, arguments, Some(element.clone()), argument(7))
            }
            _ => Err(Error::corrupt("its pickle makes a tensor without a dtype")),
        },
        Rebuild::Parameter => match argument(0) {
            Some(Object::Tensor(tensor)) => Ok((**tensor).clone()),
            _ => Err(Error::corrupt("its pickle makes a parameter of what is no tensor")),
        },
        Rebuild::FromType => match (argument(0), argument(2)) {
            (Some(Object::Global(Global::Rebuild(inner))), Some(Object::Tuple(arguments)))
                if *inner != Rebuild::FromType =>
            {
                self::rebuild(objects, *inner, arguments)
            }
            _ => Err(Error::corrupt("its pickle makes a tensor of a type and of what is no tensor")),
        },
    }
}
