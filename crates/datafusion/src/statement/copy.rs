//! COPY … TO a file: rows in their order, without the generated `row`, into one file.
//!
//! A target on this machine appears when it is whole, and replaces what was there only if that is asked for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{GetExt, Result, plan_datafusion_err, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::dml::CopyTo;
use datafusion::sql::parser::{CopyToSource, CopyToStatement, Statement as Parsed};
use datafusion::sql::sqlparser::ast::{Statement as Sql, Value};
use hyperslab_core::arrow;
use hyperslab_formats::{FORMATS, Format};

use crate::files::copy_options::{CopyOptions, Mode, truth};
use crate::files::{array_sinks, is_array_sink};
use crate::session::Frame;
use crate::write::flatten::FlattenCells;
use crate::write::in_order::InOrder;
use crate::write::whole_file::{Place, WholeFile};
use crate::write::without_row;

/// Asks for the column `row` in the file.
const KEEP_ROW: &str = "keep_row";
/// Says what STORED AS says.
const FORMAT: &str = "format";
/// Bytes of a row group of Parquet, all columns together: the writer holds a few of them.
const ROW_GROUP_BYTES: usize = 16 << 20;

pub(super) async fn plan(frame: &Frame, copy: CopyToStatement) -> Result<LogicalPlan> {
    let CopyToStatement { source, target, partitioned_by, stored_as, mut options } = copy;
    let keep_row = take(&mut options, KEEP_ROW)?;
    let keep_row = keep_row.map_or(Ok(false), |value| truth(KEEP_ROW, &value))?;
    let stored_as = match (stored_as, take(&mut options, FORMAT)?) {
        (Some(_), Some(_)) => {
            return plan_err!("COPY TO {target}: STORED AS and the option {FORMAT} say the same; leave one out");
        }
        (stored_as, format) => stored_as.or(format),
    };
    let format = format_name(&target, stored_as.as_deref())?;
    if frame.state.get_file_format_factory(&format).is_none() {
        let arrays: Vec<_> = array_sinks().map(|f| f.get_ext()).collect();
        return plan_err!(
            "COPY TO {target}: there is no file format {format:?}; there are {}, parquet, arrow, csv and json",
            arrays.join(", ")
        );
    }
    let mut input = super::source_plan(frame, source).await?;
    if !keep_row {
        input = without_row(input)?;
    }
    if input.schema().fields().is_empty() {
        return plan_err!(
            "COPY TO {target}: the query gives no column but row, which is left out; add OPTIONS ({KEEP_ROW} true) to keep it"
        );
    }
    let mut copy = planned_by_datafusion(frame, &target, stored_as, options).await?;
    for column in &partitioned_by {
        if !input.schema().has_column_with_unqualified_name(column) {
            return plan_err!("COPY TO {target}: PARTITIONED BY names {column:?}, which is no column of the query");
        }
    }
    let single = partitioned_by.is_empty() && !target.ends_with('/');
    if single {
        copy.options.entry("single_file_output".to_owned()).or_insert_with(|| "true".to_owned());
    }
    check_format(&format, &input, &mut copy.options)?;
    let mut input = InOrder::plan(input)?;
    if format == "csv" {
        input = FlattenCells::plan(input)?;
    }
    // The array formats see to it by themselves.
    let place = match is_array_sink(&format) {
        true if !single => {
            return plan_err!(
                "COPY TO {target}: {format} is written to one file, not to a folder; give the file's name"
            );
        }
        true => None,
        false => {
            let options = CopyOptions::take(&mut copy.options)?;
            check_options(frame, &target, &format, &copy.options)?;
            place(&target, &format, single, options)?
        }
    };
    let url = place.as_ref().map_or(copy.output_url, |p| p.temporary.display().to_string());
    let copy = CopyTo::new(Arc::new(input), url, partitioned_by, copy.file_type, copy.options);
    let copy = LogicalPlan::Copy(copy);
    Ok(match place {
        Some(place) => WholeFile::plan(place, copy),
        None => copy,
    })
}

/// Refuses options that a format of DataFusion's does not take, naming them.
fn check_options(frame: &Frame, target: &str, format: &str, options: &HashMap<String, String>) -> Result<()> {
    let Some(factory) = frame.state.get_file_format_factory(format) else { return Ok(()) };
    for (key, value) in options {
        let Some(name) = key.strip_prefix("format.") else { continue };
        if format == "arrow" {
            return plan_err!("COPY TO {target}: {name:?} is no option of arrow; it has none");
        }
        if let Err(e) = factory.create(&frame.state, &HashMap::from([(key.clone(), value.clone())])) {
            return plan_err!("COPY TO {target}: option {name} {value:?}: {}", e.find_root().message());
        }
    }
    Ok(())
}

/// Where a format of DataFusion's is written to while it is not whole; none for a folder and for another machine.
fn place(target: &str, format: &str, single: bool, options: CopyOptions) -> Result<Option<Place>> {
    if single {
        if options.mode == Mode::Append {
            let growing = array_names(Format::can_append);
            return plan_err!(
                "COPY TO {target}: {format} files do not grow; those that do are: {growing}; or write to a folder: 'name/'"
            );
        }
        let place = Place::of(target, options.mode == Mode::Overwrite, options.rows_per_file)?;
        if place.is_none() && options.rows_per_file.is_some() {
            return plan_err!(
                "COPY TO {target}: a series of files is written to this machine only; write to a local path"
            );
        }
        return Ok(place);
    }
    if options.rows_per_file.is_some() {
        return plan_err!(
            "COPY TO {target}: rows_per_file names its files by number, as in 'part-{{}}.{format}'; give such a name, without PARTITIONED BY"
        );
    }
    let there = Path::new(target).read_dir().is_ok_and(|mut entries| entries.next().is_some());
    match options.mode {
        Mode::Overwrite => plan_err!("COPY TO {target}: a folder is not replaced; remove it, or choose another one"),
        Mode::Create if there => plan_err!(
            "COPY TO {target}: there are files in the folder; add OPTIONS (mode 'append') to put others beside them, or choose another one"
        ),
        Mode::Create | Mode::Append => Ok(None),
    }
}

/// The names of array formats, for a message.
fn array_names(which: impl Fn(&Format) -> bool) -> String {
    let names: Vec<_> = FORMATS.iter().filter(|f| f.can_write() && which(f)).map(Format::name).collect();
    names.join(", ")
}

/// DataFusion plans target, format and options around a placeholder, which our input then replaces.
async fn planned_by_datafusion(
    frame: &Frame,
    target: &str,
    stored_as: Option<String>,
    options: Vec<(String, Value)>,
) -> Result<CopyTo> {
    let Sql::Query(query) = super::placeholder()? else { return plan_err!("a SELECT is a query") };
    let source = CopyToSource::Query(query);
    let copy = CopyToStatement { source, target: target.to_owned(), partitioned_by: vec![], stored_as, options };
    match frame.state.statement_to_plan(Parsed::CopyTo(copy)).await? {
        LogicalPlan::Copy(copy) => Ok(copy),
        other => plan_err!("COPY TO was planned as {}", other.display()),
    }
}

/// Takes an option out of the others.
fn take(options: &mut Vec<(String, Value)>, name: &str) -> Result<Option<String>> {
    let taken: Vec<_> = options.extract_if(.., |(key, _)| key.eq_ignore_ascii_case(name)).collect();
    match taken.as_slice() {
        [] => Ok(None),
        [(_, value)] => Ok(Some(value.to_string().trim_matches('\'').to_owned())),
        _ => plan_err!("option {name} is given twice"),
    }
}

/// The format in lower case, by STORED AS or by extension.
fn format_name(target: &str, stored_as: Option<&str>) -> Result<String> {
    let name = match stored_as {
        Some(name) => Some(name.to_lowercase()),
        None => Path::new(target).extension().and_then(|e| e.to_str()).map(str::to_lowercase),
    };
    name.ok_or_else(|| {
        plan_datafusion_err!(
            "COPY TO {target:?}: the name has no extension that says the format; add STORED AS PARQUET, for example"
        )
    })
}

/// What a format asks of the query, and options that follow from it.
fn check_format(format: &str, input: &LogicalPlan, options: &mut HashMap<String, String>) -> Result<()> {
    let columns = input.schema().fields();
    match format {
        array if is_array_sink(array) => {
            for column in columns {
                arrow::from_field(column).map_err(crate::to_datafusion)?;
            }
        }
        "parquet" => parquet_options(columns, options),
        _ => {}
    }
    Ok(())
}

/// Row groups of bounded size, and dictionaries only where they may be of use: to fill one costs as much time as to read the
/// values from text.
fn parquet_options(columns: &Fields, options: &mut HashMap<String, String>) {
    let row_bytes: usize = columns.iter().map(|c| arrow::from_field(c).map_or(16, |f| f.row_bytes())).sum();
    let rows = (ROW_GROUP_BYTES / row_bytes.max(1)).clamp(1, 1 << 20);
    options.entry("format.max_row_group_size".to_owned()).or_insert_with(|| rows.to_string());
    // Values of which an eighth are different gain nothing.
    let limit = (ROW_GROUP_BYTES / columns.len().max(1) / 8).clamp(64 << 10, 1 << 20);
    options.entry("format.dictionary_page_size_limit".to_owned()).or_insert_with(|| limit.to_string());
    // Floats hardly repeat.
    if !options.keys().any(|key| key.starts_with("format.dictionary_enabled")) {
        let floats = columns.iter().filter_map(|c| float_leaf(c));
        options.extend(floats.map(|path| (format!("format.dictionary_enabled::{path}"), "false".to_owned())));
    }
}

/// What Parquet calls the floats of a column that has nothing else.
fn float_leaf(field: &Field) -> Option<String> {
    let name = field.name();
    match field.data_type() {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Some(name.clone()),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            float_leaf(item).map(|leaf| format!("{name}.list.{leaf}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
