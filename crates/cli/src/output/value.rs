//! One value as text: the tree of formatters that every output format shares.

use std::fmt::Write as _;

use datafusion::arrow::array::{
    Array, ArrayData, ArrayRef, AsArray, FixedSizeListArray, Int64Array, MapArray, StructArray, make_array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, DurationFormat, FormatOptions};

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// JSON: text in quotes, NULL, NaN, infinities and NaT as `null`.
    Json,
    /// Text as it is, lists as JSON text; NaN and infinities keep their names.
    Text,
    /// The same for a terminal: long lists are cut short.
    Short,
}

/// Elements of a list that [`Style::Short`] shows in full, and those it shows of a longer one.
const SHORT_LIST: usize = 6;
const SHORT_HEAD: usize = 2;

const FORMAT: FormatOptions<'static> = FormatOptions::new().with_duration_format(DurationFormat::ISO8601);

/// The formatter of one column of one batch.
pub(crate) struct Column<'a> {
    array: &'a dyn Array,
    node: Node<'a>,
}

enum Node<'a> {
    /// Numbers and bools.
    Number(ArrayFormatter<'a>),
    /// What JSON puts into quotes.
    Text(ArrayFormatter<'a>),
    /// Timestamps and durations, with their integers: the smallest is NumPy's NaT.
    Time(ArrayFormatter<'a>, Int64Array),
    /// Every row has `size` elements, arranged in `shape`.
    Fixed {
        list: &'a FixedSizeListArray,
        shape: Vec<usize>,
        item: Box<Column<'a>>,
    },
    Complex {
        list: &'a FixedSizeListArray,
        item: Box<Column<'a>>,
    },
    List {
        offsets: Vec<i64>,
        item: Box<Column<'a>>,
    },
    Struct(Vec<(String, Column<'a>)>),
    Map {
        map: &'a MapArray,
        key: Box<Column<'a>>,
        value: Box<Column<'a>>,
    },
}

impl<'a> Column<'a> {
    /// `field` says the shape of a tensor and what is complex.
    pub(crate) fn new(field: &Field, array: &'a dyn Array) -> Result<Self, ArrowError> {
        Ok(Self { array, node: Node::new(field, array)? })
    }

    /// Writes the value of a row.
    pub(crate) fn write(&self, row: usize, style: Style, out: &mut String) {
        if self.is_null(row) {
            out.push_str(if style == Style::Json { "null" } else { "NULL" });
        } else {
            self.write_value(row, style, style != Style::Json, out);
        }
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        // Arrow's untyped NULLs have no bitmap that says so.
        self.array.is_null(row) || self.array.data_type().is_null()
    }

    /// `top`: not inside a list, where text needs no quotes.
    fn write_value(&self, row: usize, style: Style, top: bool, out: &mut String) {
        match &self.node {
            Node::Number(formatter) => write_number(formatter, row, style, top, out),
            Node::Text(formatter) => write_text(&formatter.value(row).to_string(), top, out),
            Node::Time(formatter, ticks) => write_time(formatter, ticks, row, style, top, out),
            Node::Fixed { list, shape, item } => {
                let size: usize = shape.iter().product();
                let start = usize::try_from(list.value_offset(row)).unwrap_or(0);
                if style == Style::Short && size > SHORT_LIST {
                    let shape = shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
                    item.write_short(start, &shape, out);
                } else {
                    item.write_nested(start, shape, style, out);
                }
            }
            Node::Complex { list, item } => {
                let start = usize::try_from(list.value_offset(row)).unwrap_or(0);
                item.write_nested(start, &[2], style, out);
            }
            Node::List { offsets, item } => {
                let bound = |i: usize| offsets.get(i).and_then(|&o| usize::try_from(o).ok()).unwrap_or(0);
                let (start, end) = (bound(row), bound(row + 1));
                if style == Style::Short && end - start > SHORT_LIST {
                    item.write_short(start, &(end - start).to_string(), out);
                } else {
                    item.write_nested(start, &[end - start], style, out);
                }
            }
            Node::Struct(fields) => {
                let entries = fields.iter().map(|(name, column)| (name.clone(), column, row));
                write_object(entries, style, out);
            }
            Node::Map { map, key, value } => {
                let offsets = map.value_offsets();
                let bound = |i: usize| offsets.get(i).and_then(|&o| usize::try_from(o).ok()).unwrap_or(0);
                let entries = (bound(row)..bound(row + 1)).map(|i| {
                    let mut name = String::new();
                    key.write_value(i, Style::Text, true, &mut name);
                    (name, value.as_ref(), i)
                });
                write_object(entries, style, out);
            }
        }
    }

    fn write_item(&self, row: usize, style: Style, out: &mut String) {
        if self.is_null(row) {
            out.push_str("null");
        } else {
            self.write_value(row, style, false, out);
        }
    }

    /// The elements from `start` on as nested lists of a shape.
    fn write_nested(&self, start: usize, shape: &[usize], style: Style, out: &mut String) {
        let Some((&length, inner)) = shape.split_first() else {
            return self.write_item(start, style, out);
        };
        let stride: usize = inner.iter().product();
        out.push('[');
        for i in 0..length {
            if i > 0 {
                out.push_str(", ");
            }
            self.write_nested(start + i * stride, inner, style, out);
        }
        out.push(']');
    }

    fn write_short(&self, start: usize, shape: &str, out: &mut String) {
        out.push('[');
        for i in 0..SHORT_HEAD {
            self.write_item(start + i, Style::Short, out);
            out.push_str(", ");
        }
        let _ = write!(out, "… {shape}]");
    }
}

impl<'a> Node<'a> {
    fn new(field: &Field, array: &'a dyn Array) -> Result<Self, ArrowError> {
        let column = |f: &Field, a: &'a dyn Array| Column::new(f, a).map(Box::new);
        Ok(match field.data_type() {
            t if t.is_numeric() || *t == DataType::Boolean => Self::Number(ArrayFormatter::try_new(array, &FORMAT)?),
            DataType::Timestamp(..) | DataType::Duration(_) => {
                Self::Time(ArrayFormatter::try_new(array, &FORMAT)?, ticks(array)?)
            }
            DataType::FixedSizeList(item, size) => {
                let list = array.as_fixed_size_list();
                let child = column(item, list.values().as_ref())?;
                if *size == 2 && item.name() == "complex" {
                    Self::Complex { list, item: child }
                } else {
                    Self::Fixed { list, shape: shape(field, usize::try_from(*size).unwrap_or(0)), item: child }
                }
            }
            DataType::List(item) => {
                let list = array.as_list::<i32>();
                let offsets = list.value_offsets().iter().map(|&o| i64::from(o)).collect();
                Self::List { offsets, item: column(item, list.values().as_ref())? }
            }
            DataType::LargeList(item) => {
                let list = array.as_list::<i64>();
                Self::List { offsets: list.value_offsets().to_vec(), item: column(item, list.values().as_ref())? }
            }
            DataType::Struct(_) => Self::Struct(struct_columns(array.as_struct())?),
            DataType::Map(entries, _) => {
                let map = array.as_map();
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(ArrowError::SchemaError("the entries of a map are no struct".to_owned()));
                };
                let [key, value] = fields.as_ref() else {
                    return Err(ArrowError::SchemaError("the entries of a map are no pairs".to_owned()));
                };
                Self::Map { map, key: column(key, map.keys().as_ref())?, value: column(value, map.values().as_ref())? }
            }
            _ => Self::Text(ArrayFormatter::try_new(array, &FORMAT)?),
        })
    }
}

fn struct_columns(array: &StructArray) -> Result<Vec<(String, Column<'_>)>, ArrowError> {
    let columns = array.fields().iter().zip(array.columns());
    columns.map(|(field, column)| Ok((field.name().clone(), Column::new(field, column.as_ref())?))).collect()
}

/// Dictionaries and run ends become plain values, so that [`Column`] need not know them.
pub(crate) fn plain(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Dictionary(_, value) => cast(array, value),
        DataType::RunEndEncoded(_, value) => cast(array, value.data_type()),
        _ => Ok(array.clone()),
    }
}

/// The tensor shape in the field's metadata, else one axis.
fn shape(field: &Field, size: usize) -> Vec<usize> {
    let parse = |text: &str| -> Option<Vec<usize>> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        let axes = value.get("shape")?.as_array()?;
        axes.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok())).collect()
    };
    let tensor = field.extension_type_name() == Some("arrow.fixed_shape_tensor");
    let shape = field.extension_type_metadata().filter(|_| tensor).and_then(parse);
    shape.filter(|s| s.iter().product::<usize>() == size).unwrap_or_else(|| vec![size])
}

fn ticks(array: &dyn Array) -> Result<Int64Array, ArrowError> {
    let data: ArrayData = array.to_data().into_builder().data_type(DataType::Int64).build()?;
    Ok(make_array(data).as_primitive::<Int64Type>().clone())
}

fn write_number(formatter: &ArrayFormatter<'_>, row: usize, style: Style, top: bool, out: &mut String) {
    let start = out.len();
    let _ = write!(out, "{}", formatter.value(row));
    let text = &out[start..];
    if matches!(text, "NaN" | "inf" | "-inf") && style == Style::Json {
        out.truncate(start);
        out.push_str("null");
    } else if style == Style::Short
        && !top
        && text.contains('.')
        && text.len() > 7
        && let Ok(value) = text.parse::<f64>()
    {
        let short = significant(value);
        out.truncate(start);
        out.push_str(&short);
    }
}

/// About three significant digits.
fn significant(value: f64) -> String {
    if value.abs() >= 0.001 && value.abs() < 1e6 {
        let decimals = if value.abs() >= 100.0 {
            1
        } else if value.abs() >= 1.0 {
            2
        } else {
            4
        };
        format!("{value:.decimals$}")
    } else {
        format!("{value:.2e}")
    }
}

fn write_text(text: &str, top: bool, out: &mut String) {
    if top {
        out.push_str(text);
    } else {
        write_quoted(text, out);
    }
}

fn write_time(
    formatter: &ArrayFormatter<'_>,
    ticks: &Int64Array,
    row: usize,
    style: Style,
    top: bool,
    out: &mut String,
) {
    if ticks.value(row) == i64::MIN {
        return match style {
            Style::Json => out.push_str("null"),
            _ => write_text("NaT", top, out),
        };
    }
    match formatter.value(row).try_to_string() {
        Ok(text) if !text.starts_with("ERROR") => write_text(&text, top, out),
        // Beyond what a calendar can show.
        _ => {
            let _ = write!(out, "{}", ticks.value(row));
        }
    }
}

fn write_object<'c, 'a: 'c>(
    entries: impl Iterator<Item = (String, &'c Column<'a>, usize)>,
    style: Style,
    out: &mut String,
) {
    out.push('{');
    for (i, (name, column, row)) in entries.enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        write_quoted(&name, out);
        out.push_str(": ");
        column.write_item(row, style, out);
    }
    out.push('}');
}

/// A JSON string.
pub(crate) fn write_quoted(text: &str, out: &mut String) {
    // A string always has a JSON form.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Control characters as escapes: they would break lines, and could drive the terminal.
pub(crate) fn printable(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
        out
    })
}
