//! CREATE EXTERNAL TABLE: what is checked before DataFusion plans it.

use std::path::Path;

use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{CreateExternalTable, Statement as Parsed};
use datafusion::sql::sqlparser::ast::Value;
use hyperslab_formats::FORMATS;

use crate::session::Frame;

/// What DataFusion reads by itself.
const DATAFUSION_FORMATS: [&str; 4] = ["parquet", "arrow", "csv", "json"];

/// Formats whose files may be compressed as a whole.
const TEXTS: [&str; 3] = ["CSV", "JSON", "NDJSON"];
/// The option that says how, which the extension of the files says, too.
const COMPRESSION: &str = "format.compression";
/// Extensions and what they stand for.
const COMPRESSIONS: [(&str, &str); 4] = [("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz"), ("zst", "zstd")];

pub(super) async fn plan(frame: &Frame, mut create: CreateExternalTable) -> Result<LogicalPlan> {
    // Not a name of what is attached.
    frame.store_name(&create.name)?;
    let format = create.file_type.to_uppercase();
    if !frame.state.table_factories().contains_key(&format) {
        let formats: Vec<_> = FORMATS.iter().map(|f| f.name()).chain(DATAFUSION_FORMATS).collect();
        return plan_err!(
            "CREATE EXTERNAL TABLE {}: there is no file format {:?}; there are {}",
            create.name,
            create.file_type,
            formats.join(", ")
        );
    }
    let given = |key: &str| key.to_lowercase().ends_with("compression");
    if TEXTS.contains(&format.as_str())
        && !create.options.iter().any(|(key, _)| given(key))
        && let Some(compression) = compression(&create.locations)
    {
        create.options.push((COMPRESSION.to_owned(), Value::SingleQuotedString(compression.to_owned())));
    }
    frame.state.statement_to_plan(Parsed::CreateExternalTable(create)).await
}

/// How the files are compressed, if all of them are in the same way by their names.
fn compression(locations: &[String]) -> Option<&'static str> {
    let of = |location: &String| {
        let extension = Path::new(location).extension()?.to_str()?.to_lowercase();
        COMPRESSIONS.iter().find(|(known, _)| *known == extension).map(|(_, name)| *name)
    };
    let first = of(locations.first()?)?;
    locations.iter().all(|location| of(location) == Some(first)).then_some(first)
}
