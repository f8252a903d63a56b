//! SQL types beyond DataFusion: TENSOR, VECTOR, HALF and their kin; and what a column of CREATE TABLE is stored as.
//!
//! | SQL | stored as |
//! |---|---|
//! | `BOOLEAN`, `TINYINT` … `BIGINT`, each with `UNSIGNED`, `UTINYINT` … `UBIGINT` | bool, int8 … int64, uint8 … uint64 |
//! | `HALF`, `FLOAT16`; `FLOAT`, `REAL`, `FLOAT4`, `FLOAT32`; `DOUBLE`, `FLOAT8`, `FLOAT64` | float16; float32; float64 |
//! | `COMPLEX64`, `COMPLEX128` | complex64, complex128 |
//! | `BFLOAT16` | bfloat16 |
//! | `VARCHAR`, `TEXT`, `STRING`; `BYTEA`, `BLOB`, `VARBINARY`; `BINARY(n)` | utf8; binary; bytes of that length |
//! | `TIMESTAMP(0)`, `(3)`, `(6)`, `(9)`; `TIMESTAMP` | datetime64 in s, ms, us, ns; ns |
//! | `type[n]`, `VECTOR(n)`, `HALFVEC(n)` | cells of shape (n) |
//! | `TENSOR(type, a, b, …)` | cells of shape (a, b, …) |
//! | `type[b][a]` | cells of shape (a, b): `a` times `type[b]`, as DataFusion and DuckDB read it |
//!
//! In a cast, a cell type is a nested fixed-size list, so that `[[1, 2], [3, 4]]::TENSOR(FLOAT, 2, 2)` works;
//! INSERT and CREATE TABLE AS store it as the tensor that it is.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, plan_datafusion_err, plan_err};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType as SqlType, ExactNumberInfo, TimezoneInfo};
use hyperslab_core::{DType, FieldSpec, TimeUnit, arrow};

use crate::to_datafusion;

/// Plans the types that DataFusion does not know, for casts; the others stay DataFusion's.
#[derive(Debug)]
pub(crate) struct HyperslabTypes;

impl TypePlanner for HyperslabTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        if !is_ours(sql_type) {
            return Ok(None);
        }
        let (dtype, cell) = cell(sql_type)?;
        let mut data_type = arrow::element_type(dtype);
        for &n in cell.iter().rev() {
            let n = i32::try_from(n).map_err(|_| plan_datafusion_err!("{sql_type}: an axis of {n} is too long"))?;
            data_type = DataType::FixedSizeList(Arc::new(Field::new_list_field(data_type, true)), n);
        }
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}

/// Whether DataFusion cannot plan a type by itself.
fn is_ours(sql_type: &SqlType) -> bool {
    match sql_type {
        SqlType::Array(ArrayElemTypeDef::SquareBracket(inner, _)) => is_ours(inner),
        SqlType::Custom(name, _) => {
            let name = name.to_string().to_uppercase();
            matches!(
                name.as_str(),
                "VECTOR" | "HALFVEC" | "TENSOR" | "HALF" | "FLOAT16" | "BFLOAT16" | "COMPLEX64" | "COMPLEX128"
            )
        }
        SqlType::UTinyInt | SqlType::USmallInt | SqlType::UBigInt => true,
        SqlType::Int16 | SqlType::Int32 | SqlType::Int64 => true,
        SqlType::UInt16 | SqlType::UInt32 | SqlType::UInt64 | SqlType::Float32 | SqlType::Float64 => true,
        _ => false,
    }
}

/// The field that a column of CREATE TABLE is stored as.
///
/// # Errors
/// A type that arrays do not hold, naming the column, the type and what to use instead.
pub(crate) fn field_spec(name: &str, sql_type: &SqlType) -> Result<FieldSpec> {
    let (dtype, cell) = cell(sql_type).map_err(|e| plan_datafusion_err!("column {name:?}: {}", e.message()))?;
    FieldSpec::new(name, dtype, cell).map_err(to_datafusion)
}

/// The dtype and the cell's shape of a SQL type.
fn cell(sql_type: &SqlType) -> Result<(DType, Vec<usize>)> {
    match sql_type {
        SqlType::Array(ArrayElemTypeDef::SquareBracket(inner, n)) => {
            let Some(n) = n else {
                return plan_err!("{sql_type}: an array's cells have a fixed length: say it, for example {inner}[384]");
            };
            let (dtype, mut shape) = cell(inner)?;
            shape.insert(0, usize::try_from(*n).map_err(|_| plan_datafusion_err!("{sql_type} is too long"))?);
            Ok((dtype, shape))
        }
        SqlType::Custom(name, modifiers) => custom(sql_type, &name.to_string().to_uppercase(), modifiers),
        _ => Ok((element(sql_type)?, vec![])),
    }
}

fn custom(sql_type: &SqlType, name: &str, modifiers: &[String]) -> Result<(DType, Vec<usize>)> {
    let plain = |dtype| match modifiers {
        [] => Ok((dtype, vec![])),
        _ => plan_err!("{name} takes no arguments, not {sql_type}"),
    };
    let vector = |dtype| match modifiers {
        [n] => Ok((dtype, vec![axis(sql_type, n)?])),
        _ => plan_err!("{name} takes one length, for example {name}(384), not {sql_type}"),
    };
    match name {
        "HALF" | "FLOAT16" => plain(DType::Float16),
        "COMPLEX64" => plain(DType::Complex64),
        "COMPLEX128" => plain(DType::Complex128),
        "VECTOR" => vector(DType::Float32),
        "HALFVEC" => vector(DType::Float16),
        "BFLOAT16" => plain(DType::Bfloat16),
        "TENSOR" => {
            // The words of a type arrive as single modifiers: TENSOR(TINYINT UNSIGNED, 28, 28) has four.
            let words = modifiers.iter().take_while(|m| m.starts_with(|c: char| c.is_alphabetic())).count();
            let (words, axes) = modifiers.split_at(words);
            if words.is_empty() || axes.is_empty() {
                return plan_err!(
                    "TENSOR takes a type and its axes, for example TENSOR(FLOAT, 28, 28), not {sql_type}"
                );
            }
            let dtype = element_by_name(&words.join(" "))?;
            Ok((dtype, axes.iter().map(|n| axis(sql_type, n)).collect::<Result<_>>()?))
        }
        _ => unsupported(sql_type),
    }
}

fn axis(sql_type: &SqlType, text: &str) -> Result<usize> {
    text.parse().map_err(|_| plan_datafusion_err!("{sql_type}: {text:?} is not the length of an axis"))
}

/// An element type from its words, by the parser that reads the column types too.
fn element_by_name(words: &str) -> Result<DType> {
    let dialect = crate::dialect::HyperslabDialect::default();
    let parsed = datafusion::sql::sqlparser::parser::Parser::new(&dialect)
        .try_with_sql(words)
        .and_then(|mut p| p.parse_data_type())
        .map_err(|e| plan_datafusion_err!("TENSOR: {words:?} is not a type: {e}"))?;
    match cell(&parsed)? {
        (dtype, shape) if shape.is_empty() => Ok(dtype),
        _ => plan_err!("TENSOR: the type of an element is a number, not {words}; give the axes after it"),
    }
}

fn element(sql_type: &SqlType) -> Result<DType> {
    use SqlType as S;
    Ok(match sql_type {
        S::Bool | S::Boolean => DType::Bool,
        S::TinyInt(None) => DType::Int8,
        S::TinyIntUnsigned(None) | S::UTinyInt => DType::UInt8,
        S::SmallInt(None) | S::Int2(None) | S::Int16 => DType::Int16,
        S::SmallIntUnsigned(None) | S::Int2Unsigned(None) | S::USmallInt | S::UInt16 => DType::UInt16,
        S::Int(None) | S::Integer(None) | S::Int4(None) | S::Int32 => DType::Int32,
        S::IntUnsigned(None) | S::IntegerUnsigned(None) | S::Int4Unsigned(None) | S::UInt32 => DType::UInt32,
        // INT8 is PostgreSQL's name for eight bytes.
        S::BigInt(None) | S::Int8(None) | S::Int64 => DType::Int64,
        S::BigIntUnsigned(None) | S::Int8Unsigned(None) | S::UBigInt | S::UInt64 => DType::UInt64,
        S::UInt8 => return plan_err!("UINT8 might mean one byte or eight; use TINYINT UNSIGNED or BIGINT UNSIGNED"),
        S::Float(ExactNumberInfo::None) | S::Real | S::Float4 | S::Float32 => DType::Float32,
        S::Float(ExactNumberInfo::Precision(p)) if (1..=24).contains(p) => DType::Float32,
        S::Float(ExactNumberInfo::Precision(p)) if (25..=53).contains(p) => DType::Float64,
        S::Double(ExactNumberInfo::None) | S::DoublePrecision | S::Float8 | S::Float64 => DType::Float64,
        S::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone)
        | S::TimestampNtz(precision)
        | S::Datetime(precision) => DType::Datetime64(match precision {
            Some(0) => TimeUnit::Second,
            Some(3) => TimeUnit::Millisecond,
            Some(6) => TimeUnit::Microsecond,
            None | Some(9) => TimeUnit::Nanosecond,
            Some(_) => return plan_err!("{sql_type}: a timestamp's precision is 0, 3, 6 or 9"),
        }),
        S::Text | S::Varchar(None) | S::String(None) | S::CharacterVarying(None) | S::Nvarchar(None) => DType::Utf8,
        S::Bytea | S::Blob(None) | S::Varbinary(None) | S::Binary(None) | S::Bytes(None) => DType::Binary,
        S::Binary(Some(n)) => match u32::try_from(*n) {
            Ok(n) => DType::FixedBytes(n),
            Err(_) => return plan_err!("{sql_type}: {n} bytes are too many"),
        },
        _ => return unsupported(sql_type),
    })
}

fn unsupported<T>(sql_type: &SqlType) -> Result<T> {
    use SqlType as S;
    let hint = match sql_type {
        S::Text | S::Varchar(_) | S::Char(_) | S::String(_) | S::CharacterVarying(_) | S::Character(_) => {
            "no length of text is checked; use VARCHAR"
        }
        S::Decimal(_) | S::Numeric(_) | S::Dec(_) => "use DOUBLE",
        S::Date => "use TIMESTAMP(0)",
        S::Timestamp(..) => "timestamps carry no time zone; use TIMESTAMP",
        _ => {
            "the types are BOOLEAN, TINYINT to BIGINT (also UNSIGNED), HALF, FLOAT, DOUBLE, COMPLEX64, COMPLEX128, \
             BFLOAT16, TIMESTAMP, VARCHAR, BYTEA, BINARY(n), and cells of them: FLOAT[384], VECTOR(384), TENSOR(FLOAT, 28, 28)"
        }
    };
    plan_err!("type {sql_type} cannot be stored in an array; {hint}")
}
