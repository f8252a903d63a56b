//! How HDF5's datatypes become fields.

use hdf5_pure::{CompoundMember, Datatype, DatatypeByteOrder, EnumMember, FloatingPointLayout, StringPadding};
use hyperslab_core::{ByteOrder, DType, Error, FieldSpec, Result, VALUE};

/// How deep compound types may be nested.
const MAX_DEPTH: usize = 16;

/// One field of a dataset: the whole element, or a member of a compound.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) field: FieldSpec,
    /// Where it starts in the element.
    pub(super) offset: usize,
    /// Its bytes in one element.
    pub(super) bytes: usize,
    pub(super) kind: Kind,
}

/// What has to be done to the bytes of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing but a change of the byte order.
    Plain(ByteOrder),
    /// Text of a fixed number of bytes, filled up.
    FixedText(Padding),
    /// A reference to text or bytes in a global heap.
    Variable,
}

/// What fills up a text that is shorter than its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Padding {
    /// The first NUL ends it.
    Terminated,
    /// NULs at the end.
    Nul,
    /// Spaces at the end.
    Space,
}

impl Padding {
    /// The text without what fills it up.
    pub(super) fn trim(self, bytes: &[u8]) -> &[u8] {
        let filler = match self {
            Self::Terminated => return bytes.split(|&b| b == 0).next().unwrap_or_default(),
            Self::Nul => 0,
            Self::Space => b' ',
        };
        let end = bytes.iter().rposition(|&b| b != filler).map_or(0, |last| last + 1);
        &bytes[..end]
    }
}

/// The fields of a dataset whose elements have `datatype` and whose rows have `cell` elements: one named `value`, or
/// the members of a compound, those of a compound in it named `outer.inner`.
pub(super) fn members(datatype: &Datatype, cell: &[usize]) -> Result<Vec<Member>> {
    let mut found = Vec::new();
    match datatype {
        Datatype::Compound { members, .. } if complex(members).is_none() => {
            collect(&mut found, members, "", 0, cell, 0)?;
            if found.is_empty() {
                return Err(Error::unsupported("its compound type has no members"));
            }
        }
        other => found.push(member(other, VALUE, 0, cell)?),
    }
    Ok(found)
}

fn collect(
    found: &mut Vec<Member>,
    members: &[CompoundMember],
    outer: &str,
    at: usize,
    cell: &[usize],
    depth: usize,
) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::unsupported(format!("its compound type is nested deeper than {MAX_DEPTH}")));
    }
    for inner in members {
        let name = format!("{outer}{}", inner.name);
        let offset = usize::try_from(inner.byte_offset).ok().and_then(|o| o.checked_add(at));
        let offset = offset.ok_or_else(|| Error::corrupt(format!("member {name:?} lies beyond its compound type")))?;
        match &inner.datatype {
            Datatype::Compound { members, .. } if complex(members).is_none() => {
                collect(found, members, &format!("{name}."), offset, cell, depth + 1)?;
            }
            other => found.push(member(other, &name, offset, cell).map_err(|e| e.with("member", &name))?),
        }
    }
    Ok(())
}

/// The types that are no compound.
fn member(datatype: &Datatype, name: &str, offset: usize, cell: &[usize]) -> Result<Member> {
    let mut cell = cell.to_vec();
    let mut item = datatype;
    while let Datatype::Array { base_type, dimensions } = item {
        cell.extend(dimensions.iter().map(|&n| n as usize));
        item = base_type;
    }
    let (dtype, kind) = element(item, cell.is_empty())?;
    let bytes = datatype.type_size() as usize;
    if !dtype.is_variable() && item.type_size() as usize != dtype.size() {
        return Err(unsupported(item));
    }
    Ok(Member { field: FieldSpec::new(name, dtype, cell)?, offset, bytes, kind })
}

/// The dtype of one element. Text is text where a row has one of it, and bytes where it has several.
fn element(datatype: &Datatype, single: bool) -> Result<(DType, Kind)> {
    let plain = |dtype, order: &DatatypeByteOrder| match order {
        DatatypeByteOrder::LittleEndian => Ok((dtype, Kind::Plain(ByteOrder::Little))),
        DatatypeByteOrder::BigEndian => Ok((dtype, Kind::Plain(ByteOrder::Big))),
        DatatypeByteOrder::Vax => Err(unsupported(datatype)),
    };
    let bytes = |dtype| Ok((dtype, Kind::Plain(ByteOrder::Little)));
    match datatype {
        Datatype::FixedPoint { size, byte_order, layout } => {
            let whole = layout.bit_offset == 0 && u32::from(layout.bit_precision) == size * 8;
            let dtype = integer(*size, layout.signed).filter(|_| whole);
            plain(dtype.ok_or_else(|| unsupported(datatype))?, byte_order)
        }
        Datatype::FloatingPoint { size, byte_order, layout } => {
            plain(float(*size, layout).ok_or_else(|| unsupported(datatype))?, byte_order)
        }
        Datatype::BitField { size, byte_order, .. } => {
            plain(integer(*size, false).ok_or_else(|| unsupported(datatype))?, byte_order)
        }
        Datatype::Enumeration { base_type, members, size } => match *size == 1 && is_bool(members) {
            true => bytes(DType::Bool),
            false => element(base_type, single),
        },
        Datatype::Compound { members, .. } => {
            let (dtype, order) = complex(members).ok_or_else(|| unsupported(datatype))?;
            plain(dtype, order)
        }
        Datatype::String { size, padding, .. } if single => {
            let padding = match padding {
                StringPadding::NullTerminate => Padding::Terminated,
                StringPadding::NullPad => Padding::Nul,
                StringPadding::SpacePad => Padding::Space,
            };
            let _ = size;
            Ok((DType::Utf8, Kind::FixedText(padding)))
        }
        Datatype::String { size, .. } => bytes(DType::FixedBytes(*size)),
        Datatype::Opaque { size, tag } => Ok(match opaque(tag).filter(|_| *size == 8) {
            Some((dtype, order)) => (dtype, Kind::Plain(order)),
            None => (DType::FixedBytes(*size), Kind::Plain(ByteOrder::Little)),
        }),
        Datatype::VariableLength { is_string: true, .. } if single => Ok((DType::Utf8, Kind::Variable)),
        Datatype::VariableLength { is_string: false, base_type, .. } if single => match element(base_type, true)? {
            (DType::UInt8 | DType::Int8, _) => Ok((DType::Binary, Kind::Variable)),
            _ => Err(unsupported(datatype)),
        },
        _ => Err(unsupported(datatype)),
    }
}

fn integer(size: u32, signed: bool) -> Option<DType> {
    Some(match (size, signed) {
        (1, true) => DType::Int8,
        (2, true) => DType::Int16,
        (4, true) => DType::Int32,
        (8, true) => DType::Int64,
        (1, false) => DType::UInt8,
        (2, false) => DType::UInt16,
        (4, false) => DType::UInt32,
        (8, false) => DType::UInt64,
        _ => return None,
    })
}

fn float(size: u32, layout: &FloatingPointLayout) -> Option<DType> {
    let parts = (size, layout.exponent_size, layout.mantissa_size, layout.exponent_bias);
    let dtype = match parts {
        (2, 5, 10, 15) => DType::Float16,
        (2, 8, 7, 127) => DType::Bfloat16,
        (4, 8, 23, 127) => DType::Float32,
        (8, 11, 52, 1023) => DType::Float64,
        _ => return None,
    };
    let placed = layout.mantissa_location == 0 && layout.exponent_location == layout.mantissa_size;
    (placed && layout.bit_offset == 0).then_some(dtype)
}

/// h5py's bool.
fn is_bool(members: &[EnumMember]) -> bool {
    let is = |name: &str, value: u8| members.iter().any(|m| m.name == name && m.value == [value]);
    members.len() == 2 && is("FALSE", 0) && is("TRUE", 1)
}

/// h5py's complex numbers: a compound of two floats, real and imaginary, next to each other.
fn complex(members: &[CompoundMember]) -> Option<(DType, &DatatypeByteOrder)> {
    let [re, im] = members else { return None };
    let named = matches!((re.name.as_str(), im.name.as_str()), ("r", "i") | ("re", "im") | ("real", "imag"));
    let Datatype::FloatingPoint { size, byte_order, layout } = &re.datatype else { return None };
    let dtype = match float(*size, layout)? {
        DType::Float32 => DType::Complex64,
        DType::Float64 => DType::Complex128,
        _ => return None,
    };
    let adjacent = re.byte_offset == 0 && im.byte_offset == u64::from(*size);
    (named && adjacent && re.datatype == im.datatype).then_some((dtype, byte_order))
}

/// The NumPy dtype that h5py keeps in the tag of an opaque type: `NUMPY:<M8[us]`.
fn opaque(tag: &[u8]) -> Option<(DType, ByteOrder)> {
    let text = std::str::from_utf8(tag).ok()?.trim_end_matches('\0');
    let (dtype, order) = DType::from_npy_descr(text.strip_prefix("NUMPY:")?).ok()?;
    matches!(dtype, DType::Datetime64(_) | DType::Timedelta64(_)).then_some((dtype, order))
}

/// What the elements are called that have no dtype here.
pub(super) fn class(datatype: &Datatype) -> &'static str {
    match datatype {
        Datatype::FixedPoint { .. } => "integer",
        Datatype::FloatingPoint { .. } => "float",
        Datatype::Time { .. } => "time",
        Datatype::String { .. } => "string",
        Datatype::BitField { .. } => "bitfield",
        Datatype::Opaque { .. } => "opaque",
        Datatype::Compound { .. } => "compound",
        Datatype::Reference { .. } => "reference",
        Datatype::Enumeration { .. } => "enum",
        Datatype::VariableLength { .. } => "vlen",
        Datatype::Array { .. } => "array",
        _ => "unknown",
    }
}

fn unsupported(datatype: &Datatype) -> Error {
    let name = match datatype {
        Datatype::FixedPoint { size, layout, .. } => {
            format!("an integer of {} bits in {size} bytes", layout.bit_precision)
        }
        Datatype::FloatingPoint { size, .. } => format!("a float of {size} bytes that is no IEEE 754 format"),
        Datatype::Reference { .. } => "a reference".to_owned(),
        Datatype::Time { .. } => "HDF5's time type".to_owned(),
        Datatype::VariableLength { is_string: true, .. } => "text of variable length in more than one axis".to_owned(),
        Datatype::VariableLength { .. } => "a sequence of variable length".to_owned(),
        Datatype::Compound { .. } => "a compound within an array".to_owned(),
        other => format!("of class {}", class(other)),
    };
    Error::unsupported(format!(
        "its elements are {name}, which cannot be read; rewrite it as numbers, bool, complex, text of one axis or a \
         compound of such"
    ))
}
