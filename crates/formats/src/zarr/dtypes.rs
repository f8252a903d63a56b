//! The dtypes of both versions: how the bytes of an element become fields.
//!
//! Sources: <https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html#data-type-encoding>,
//! <https://github.com/zarr-developers/zarr-extensions/tree/main/data-types>, and `zarr.core.dtype` of zarr-python.

use hyperslab_core::npy::{Descr, DescrField};
use hyperslab_core::{ByteOrder, DType, Error, FieldSpec, Result, VALUE};
use serde_json::Value;

use super::metadata::{bad, named, numbers, unsupported};
use crate::npy::{Fields, element, fields_of};
use crate::raw::{Encoding, RawField};

/// How deep structured dtypes are in each other.
const MAX_DEPTH: usize = 16;

/// The elements of an array.
#[derive(Debug, Clone)]
pub(super) enum Elements {
    /// Records of so many bytes: of one field, named `value`, or of those of a structured dtype.
    Fixed(Vec<RawField>, usize),
    /// Text or bytes of any length, one in a row.
    Variable(FieldSpec),
}

impl Elements {
    /// The fields of the array.
    pub(super) fn fields(&self) -> Vec<FieldSpec> {
        match self {
            Self::Fixed(fields, _) => fields.iter().map(|f| f.spec.clone()).collect(),
            Self::Variable(field) => vec![field.clone()],
        }
    }

    /// Bytes of an element; 0 if they have lengths of their own.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Fixed(_, bytes) => *bytes,
            Self::Variable(_) => 0,
        }
    }

    /// Says in which order all bytes are stored.
    pub(super) fn set_order(&mut self, order: ByteOrder) {
        let Self::Fixed(fields, _) = self else { return };
        for field in fields {
            field.encoding = match field.encoding {
                Encoding::Plain(_) => Encoding::Plain(order),
                Encoding::Unicode(_) => Encoding::Unicode(order),
                Encoding::Time(_, scale) => Encoding::Time(order, scale),
                Encoding::Bytes => Encoding::Bytes,
            };
        }
    }

    fn variable(dtype: DType, cell: &[usize]) -> Result<Self> {
        if !cell.is_empty() {
            let what = if dtype == DType::Utf8 { "text" } else { "bytes" };
            return Err(Error::unsupported(format!(
                "its dtype is {what} of variable length with more than one axis, which is not read; make it one of fixed \
                 length, or one axis"
            )));
        }
        Ok(Self::Variable(FieldSpec::new(VALUE, dtype, Vec::new())?))
    }

    fn fixed((fields, bytes): (Vec<RawField>, usize), cell: &[usize]) -> Result<Self> {
        let row = cell.iter().try_fold(bytes, |all, &n| all.checked_mul(n.max(1)));
        match row.filter(|&bytes| i64::try_from(bytes).is_ok()) {
            Some(_) => Ok(Self::Fixed(fields, bytes)),
            None => Err(Error::unsupported(format!("its rows of {cell:?} records are too large"))),
        }
    }

    /// From a `dtype` of version 2, a NumPy `descr`. `codec`: the filter that makes objects of bytes, if there is one.
    pub(super) fn v2(dtype: &Value, codec: Option<&str>, cell: &[usize]) -> Result<Self> {
        match (dtype.as_str(), codec) {
            (Some("|O"), Some("vlen-utf8")) => Self::variable(DType::Utf8, cell),
            (Some("|O"), Some("vlen-bytes")) => Self::variable(DType::Binary, cell),
            (_, Some(codec)) => Err(unsupported(&format!("dtype with the filter {codec}"), dtype)),
            (_, None) => Self::fixed(fields_of(&descr(dtype, 0)?, cell).map_err(|e| e.with("dtype", dtype))?, cell),
        }
    }

    /// From a `data_type` of version 3.
    pub(super) fn v3(data_type: &Value, cell: &[usize]) -> Result<Self> {
        match named(data_type).0 {
            "string" => return Self::variable(DType::Utf8, cell),
            "bytes" | "variable_length_bytes" => return Self::variable(DType::Binary, cell),
            _ => {}
        }
        let mut fields = Fields::new(cell);
        match members(data_type) {
            Some(members) => structured(&mut fields, "", members, 0)?,
            None => fields.push_element(VALUE, element_of(data_type, fields.is_alone(&[]))?, &[])?,
        }
        Self::fixed(fields.finish()?, cell)
    }
}

/// A `descr`: text, or a list of fields, `[name, dtype]` or `[name, dtype, shape]` each.
fn descr(dtype: &Value, depth: usize) -> Result<Descr> {
    if let Some(text) = dtype.as_str() {
        return match text.trim_start_matches(['<', '>', '=', '|']) {
            "O" => Err(unsupported("dtype of objects", dtype)),
            _ => Ok(Descr::Simple(text.to_owned())),
        };
    }
    let fields = dtype.as_array().filter(|_| depth < MAX_DEPTH).ok_or_else(|| unsupported("dtype", dtype))?;
    let field = |field: &Value| -> Result<DescrField> {
        // The name may be a title and a name.
        let name = field[0].as_str().or(field[0][1].as_str()).ok_or_else(|| bad("structured dtype"))?;
        let shape = match &field[2] {
            Value::Null => Vec::new(),
            Value::Number(n) => vec![n.as_u64().ok_or_else(|| bad("structured dtype"))?],
            shape => numbers(shape, "structured dtype")?,
        };
        Ok(DescrField { name: name.to_owned(), descr: descr(&field[1], depth + 1)?, shape })
    };
    Ok(Descr::Fields(fields.iter().map(field).collect::<Result<_>>()?))
}

/// The fields of a `structured` data type (zarr-python 3.0 and 3.1) or a `struct` one (zarr-extensions).
pub(super) fn members(data_type: &Value) -> Option<&Vec<Value>> {
    let (name, configuration) = named(data_type);
    configuration["fields"].as_array().filter(|_| matches!(name, "structured" | "struct"))
}

/// The name and data type of a field: `[name, data_type]`, or an object of both.
pub(super) fn member(member: &Value) -> Option<(&str, &Value)> {
    match member {
        Value::Array(pair) => pair.first()?.as_str().zip(pair.get(1)),
        _ => member["name"].as_str().zip(member.get("data_type")),
    }
}

fn structured(fields: &mut Fields, outer: &str, inner: &[Value], depth: usize) -> Result<()> {
    if depth >= MAX_DEPTH {
        return Err(Error::unsupported(format!("its data type is structured deeper than {MAX_DEPTH}")));
    }
    for value in inner {
        let (name, data_type) = member(value).ok_or_else(|| bad("structured data type"))?;
        let name = if outer.is_empty() { name.to_owned() } else { format!("{outer}.{name}") };
        match members(data_type) {
            Some(members) => structured(fields, &name, members, depth + 1)?,
            None => {
                let element = element_of(data_type, fields.is_alone(&[]));
                element.and_then(|e| fields.push_element(&name, e, &[])).map_err(|e| e.with("field", &name))?;
            }
        }
    }
    Ok(())
}

/// The dtype, encoding and bytes of a data type that is not structured. Text is text where it is all of a row (`alone`).
fn element_of(data_type: &Value, alone: bool) -> Result<(DType, Encoding, usize)> {
    let (name, configuration) = named(data_type);
    let refused = || unsupported("data type", data_type);
    let length = || configuration["length_bytes"].as_u64().and_then(|n| u32::try_from(n).ok()).filter(|&n| n > 0);
    let raw = |n: u32| (DType::FixedBytes(n), Encoding::Plain(ByteOrder::Little), n as usize);
    let descr = match name {
        "null_terminated_bytes" => format!("|S{}", length().ok_or_else(refused)?),
        "fixed_length_utf32" => {
            let bytes = length().filter(|n| n.is_multiple_of(4)).ok_or_else(refused)?;
            format!("<U{}", bytes / 4)
        }
        "numpy.datetime64" | "numpy.timedelta64" => {
            let kind = if name.contains("datetime") { 'M' } else { 'm' };
            let unit = configuration["unit"].as_str().ok_or_else(refused)?;
            match configuration["scale_factor"].as_u64() {
                None | Some(1) => format!("<{kind}8[{unit}]"),
                Some(n) => format!("<{kind}8[{n}{unit}]"),
            }
        }
        "raw_bytes" => return length().map(raw).ok_or_else(refused),
        name => {
            if let Some(bits) = name.strip_prefix('r').and_then(|bits| bits.parse::<u32>().ok()) {
                return Some(bits).filter(|n| *n > 0 && n.is_multiple_of(8)).map(|n| raw(n / 8)).ok_or_else(refused);
            }
            let number = name.parse().ok().filter(is_number).ok_or_else(refused)?;
            return Ok((number, Encoding::Plain(ByteOrder::Little), number.size()));
        }
    };
    element(&descr, alone).map_err(|_| refused())
}

fn is_number(dtype: &DType) -> bool {
    dtype.is_real() || matches!(dtype, DType::Bool | DType::Complex64 | DType::Complex128)
}
