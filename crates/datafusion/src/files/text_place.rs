//! Errors of CSV and JSON files say which file, and of a row with too many or too few values which line: DataFusion's say
//! neither of them surely, since a file may be one of many, and is read in pieces.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::csv::ReaderBuilder;
use datafusion::arrow::csv::reader::Format as CsvFormat;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::physical_plan::{CsvSource, FileScanConfig, JsonSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::TryStreamExt;

/// How the values of a CSV file are told apart.
#[derive(Debug, Clone)]
struct Syntax {
    format: CsvFormat,
    compression: FileCompressionType,
}

/// Puts a [`TextPlaceExec`] over every scan of CSV and JSON files.
#[derive(Debug)]
pub(crate) struct TextPlaces;

impl PhysicalOptimizerRule for TextPlaces {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let placed = plan.transform_up(|node| {
            Ok(match node.downcast_ref::<DataSourceExec>().and_then(Files::of) {
                Some(files) => Transformed::yes(Arc::new(TextPlaceExec { input: node, files: Arc::new(files) }) as _),
                None => Transformed::no(node),
            })
        });
        placed.map(|t| t.data)
    }

    fn name(&self) -> &str {
        "text_places"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The files of a scan.
#[derive(Debug)]
struct Files {
    /// Those on this machine.
    paths: Vec<PathBuf>,
    /// Of CSV.
    syntax: Option<Syntax>,
    schema: SchemaRef,
}

impl Syntax {
    fn of(config: &FileScanConfig, source: &CsvSource) -> Self {
        let mut format = CsvFormat::default()
            .with_header(source.has_header())
            .with_delimiter(source.delimiter())
            .with_quote(source.quote())
            .with_truncated_rows(source.truncate_rows());
        if let Some(escape) = source.escape() {
            format = format.with_escape(escape);
        }
        if let Some(terminator) = source.terminator() {
            format = format.with_terminator(terminator);
        }
        if let Some(comment) = source.comment() {
            format = format.with_comment(comment);
        }
        Self { format, compression: config.file_compression_type }
    }
}

impl Files {
    fn of(scan: &DataSourceExec) -> Option<Self> {
        let csv = scan.downcast_to_file_source::<CsvSource>();
        let json = scan.downcast_to_file_source::<JsonSource>().map(|(config, _)| (config, None));
        let (config, syntax) = csv.map(|(config, source)| (config, Some(Syntax::of(config, source)))).or(json)?;
        let local = config.object_store_url.as_str().starts_with("file://");
        let files = config.file_groups.iter().flat_map(|group| group.files()).filter(|_| local);
        let mut paths: Vec<_> = files.map(|file| Path::new("/").join(file.object_meta.location.as_ref())).collect();
        paths.sort_unstable();
        paths.dedup();
        Some(Self { paths, syntax, schema: Arc::clone(config.file_schema()) })
    }

    fn explained(&self, error: DataFusionError) -> DataFusionError {
        match is_of_text(&error) {
            true => explained(error, &self.paths, self.syntax.as_ref(), Some(&self.schema)),
            false => error,
        }
    }
}

/// Whether an error comes of what a file holds, or of how it is compressed.
fn is_of_text(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::ArrowError(arrow, _) => matches!(
            arrow.as_ref(),
            ArrowError::CsvError(_) | ArrowError::ParseError(_) | ArrowError::JsonError(_) | ArrowError::IoError(..)
        ),
        DataFusionError::IoError(_) => true,
        DataFusionError::ObjectStore(e) => matches!(e.as_ref(), object_store::Error::Generic { .. }),
        other => other.to_string().contains("unequal lengths between records"),
    }
}

/// The error with the file and line of the first row that has not as many values as the others, or of the first value
/// that is none of its column's type.
fn explained(
    error: DataFusionError,
    paths: &[PathBuf],
    syntax: Option<&Syntax>,
    schema: Option<&SchemaRef>,
) -> DataFusionError {
    let columns = schema.map(|schema| schema.fields().len());
    if let Some(found) = syntax.and_then(|syntax| paths.iter().find_map(|path| uneven_row(path, syntax, columns))) {
        return exec_datafusion_err!("{found}");
    }
    let root = error.find_root().to_string();
    if let (Some(syntax), Some(schema), Some(column)) = (syntax, schema, column_of(&root))
        && let Some(found) = paths.iter().find_map(|path| bad_value(path, syntax, schema, column))
    {
        return exec_datafusion_err!("{found}");
    }
    match paths {
        [] => error,
        [path] => exec_datafusion_err!("{}: {root}", path.display()),
        [first, .., last] => {
            exec_datafusion_err!("one of {} files from {} to {}: {root}", paths.len(), first.display(), last.display())
        }
    }
}

/// Where in a file a row has another number of values than the file's first, or than the table.
fn uneven_row(path: &Path, syntax: &Syntax, columns: Option<usize>) -> Option<String> {
    let reader = syntax.compression.convert_read(File::open(path).ok()?).ok()?;
    let problem = match syntax.format.infer_schema(reader, None) {
        Err(ArrowError::CsvError(text)) => uneven(&text)?,
        Ok((schema, rows)) => match (columns, schema.fields().len()) {
            (Some(wanted), found) if found != wanted && rows > 0 => {
                format!("it has {found} columns, where the table has {wanted}")
            }
            _ => return None,
        },
        Err(_) => return None,
    };
    Some(format!("{}: {problem}", path.display()))
}

/// The column that a message of Arrow's about a value names.
fn column_of(text: &str) -> Option<usize> {
    let (_, rest) = text.split_once("Error")?.1.split_once("column ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Where in a file a column has a value that is none of its type.
fn bad_value(path: &Path, syntax: &Syntax, schema: &SchemaRef, column: usize) -> Option<String> {
    let reader = syntax.compression.convert_read(File::open(path).ok()?).ok()?;
    let one = ReaderBuilder::new(Arc::clone(schema)).with_format(syntax.format.clone()).with_projection(vec![column]);
    let error = one.build(reader).ok()?.find_map(Result::err)?.to_string();
    let (line, what) = line_and_problem(&error)?;
    Some(format!("{}: line {line}, column {:?}: {what}", path.display(), schema.fields().get(column)?.name()))
}

/// The line, counted from 1, and the rest of a message of Arrow's about a value: `Error while parsing value '2.3' as type
/// 'UInt64' for column 0 at line 2. …`, or `Error parsing column 0 at line 2: …`, whose lines are counted from 0.
fn line_and_problem(text: &str) -> Option<(u64, &str)> {
    let (before, after) = text.split_once(" at line ")?;
    let (line, rest) = after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len()));
    let what = match before.split_once("Error while ") {
        Some((_, what)) => what.split(" for column ").next()?,
        None => rest.strip_prefix(": ")?,
    };
    Some((line.parse::<u64>().ok()? + 1, what))
}

/// `line 7 has 6 values, where the lines before have 4`, of Arrow's message.
fn uneven(text: &str) -> Option<String> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
    let (wanted, found, line) = (numbers.next()?, numbers.next()?, numbers.next()?);
    let known = text.contains("unequal lengths") && numbers.next().is_none();
    known.then(|| format!("line {line} has {found} values, where the lines before have {wanted}"))
}

/// An error of making a table of text files, with the file and the line: of the files of that name, read as CSV is by
/// default.
pub(crate) fn explained_by_name(error: DataFusionError, paths: &[PathBuf]) -> DataFusionError {
    if !is_of_text(&error) {
        return error;
    }
    let extension = |path: &Path| path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let first = paths.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
    let (compression, text) = match extension(first).parse() {
        Ok(compression) => (compression, extension(Path::new(first.file_stem().unwrap_or_default()))),
        Err(_) => (FileCompressionType::UNCOMPRESSED, extension(first)),
    };
    let csv = Syntax { format: CsvFormat::default().with_header(true), compression };
    explained(error, paths, Some(&csv).filter(|_| !text.contains("json")), None)
}

/// Hands rows on, and errors with their place.
#[derive(Debug)]
struct TextPlaceExec {
    input: Arc<dyn ExecutionPlan>,
    files: Arc<Files>,
}

impl DisplayAs for TextPlaceExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name())
    }
}

impl ExecutionPlan for TextPlaceExec {
    fn name(&self) -> &str {
        "TextPlaceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match <[Arc<dyn ExecutionPlan>; 1]>::try_from(children) {
            Ok([input]) => Ok(Arc::new(Self { input, files: Arc::clone(&self.files) })),
            Err(_) => internal_err!("TextPlaceExec has one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let files = Arc::clone(&self.files);
        let rows = self.input.execute(partition, context)?.map_err(move |e| files.explained(e));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows_message_is_understood() {
        let text =
            "Encountered unequal lengths between records on CSV file. Expected 4 records, found 6 records at line 7";
        assert_eq!(uneven(text).as_deref(), Some("line 7 has 6 values, where the lines before have 4"));
        assert_eq!(uneven("Error parsing line 3"), None);
        let text =
            "Parser error: Error while parsing value '2.3' as type 'UInt64' for column 12 at line 2. Row data: '[2.3]'";
        assert_eq!(
            (column_of(text), line_and_problem(text)),
            (Some(12), Some((3, "parsing value '2.3' as type 'UInt64'")))
        );
        let text = "Parser error: Error parsing column 0 at line 2: no timestamp";
        assert_eq!((column_of(text), line_and_problem(text)), (Some(0), Some((3, "no timestamp"))));
    }
}
