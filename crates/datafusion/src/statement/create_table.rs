//! CREATE TABLE of columns, and CREATE TABLE AS a query, streamed.

use std::collections::BTreeSet;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::{Result, ScalarValue, not_impl_err, plan_datafusion_err, plan_err};
use datafusion::logical_expr::{CreateMemoryTable, DdlStatement, LogicalPlan};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{
    ColumnDef, CreateTable, CreateTableOptions, Expr as SqlExpr, HiveDistributionStyle, SqlOption, Statement as Sql,
    Value, ValueWithSpan,
};
use hyperslab_core::{Fill, arrow};
use hyperslab_store::{ArrayName, ArrayOptions, Codec};

use super::refuse_clauses;
use crate::session::Frame;
use crate::to_datafusion;
use crate::types::field_spec;
use crate::write::change::{Change, StoreChange};
use crate::write::convert::{Rows, convert};
use crate::write::{ArrayWrite, IfExists, Mode, Report, WriteTarget, without_row};

const CREATE: &str = "CREATE TABLE";

pub(super) async fn plan(frame: &Frame, create: CreateTable) -> Result<LogicalPlan> {
    let Some(name) = frame.store_name(&create.name)? else {
        // A table of another catalog is DataFusion's, in memory.
        return super::to_datafusion_plan(frame, Sql::CreateTable(create)).await;
    };
    let Parts { columns, query, options, if_exists } = parts(create)?;
    check_name(frame, &name)?;
    match query {
        None => {
            let fields = columns.iter().map(|c| column(frame, CREATE, c)).collect::<Result<Vec<_>>>()?;
            if fields.is_empty() {
                return plan_err!("CREATE TABLE {name}: an array has one field at least");
            }
            Ok(StoreChange::plan(&frame.store, Change::Create { name, fields, options, if_exists }))
        }
        Some(_) if !columns.is_empty() => {
            not_impl_err!("CREATE TABLE {name} (columns) AS: give names and types in the query, with AS and casts")
        }
        Some(query) => {
            let input = frame.state.statement_to_plan(Parsed::Statement(Box::new(Sql::Query(query)))).await?;
            create_as(frame, name, input, options, if_exists)
        }
    }
}

/// `SELECT … INTO name`: DataFusion plans it as a table in memory, which it must not become unseen.
pub(super) fn select_into(frame: &Frame, create: CreateMemoryTable) -> Result<LogicalPlan> {
    match frame.resolve(create.name.clone())? {
        Some(name) => {
            check_name(frame, &name)?;
            let input = std::sync::Arc::unwrap_or_clone(create.input);
            create_as(frame, name, input, ArrayOptions::default(), IfExists::Fail)
        }
        None => Ok(LogicalPlan::Ddl(DdlStatement::CreateMemoryTable(create))),
    }
}

fn check_name(frame: &Frame, name: &ArrayName) -> Result<()> {
    frame.check_writable(CREATE)?;
    if frame.catalog.store_schema(&name.schema).session_table(&name.name).is_some() {
        return plan_err!("there is a view or external table {name} in this session; drop it or choose another name");
    }
    Ok(())
}

fn create_as(
    frame: &Frame,
    name: ArrayName,
    input: LogicalPlan,
    options: ArrayOptions,
    if_exists: IfExists,
) -> Result<LogicalPlan> {
    let input = without_row(input)?;
    let columns = input.schema().fields();
    if columns.is_empty() {
        return plan_err!("CREATE TABLE {name} AS: the query gives no column but row, which every array has by itself");
    }
    // Nearly every column of a file may hold NULL. Vectors stay plain all the same: a NULL among them is an error.
    let plain = |f: hyperslab_core::FieldSpec| if f.cell().is_empty() { f } else { f.with_nullable(false) };
    let field = |c: &Field| arrow::from_field(&stored_as(c)).map(plain).map_err(to_datafusion);
    let fields = columns.iter().map(|c| field(c)).collect::<Result<Vec<_>>>()?;
    let mode = Mode::Create { options, if_exists };
    ArrayWrite::plan(WriteTarget { store: frame.store.clone(), name, fields, mode, report: Report::Count }, input)
}

/// A column as it is stored where its type has another that holds all its values: a date is the time of its midnight.
fn stored_as(column: &Field) -> Field {
    let data_type = match column.data_type() {
        DataType::Date32 => DataType::Timestamp(TimeUnit::Second, None),
        DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, None),
        _ => return column.clone(),
    };
    column.clone().with_data_type(data_type)
}

/// The field that a column's definition means. `what`: the statement, for messages.
pub(super) fn column(frame: &Frame, what: &str, column: &ColumnDef) -> Result<hyperslab_core::FieldSpec> {
    let ColumnDef { name, data_type, options } = column;
    let mut field = field_spec(&frame.identifier(name), data_type)?;
    for option in options {
        use datafusion::sql::sqlparser::ast::ColumnOption as O;
        field = match &option.option {
            // What holds anyway.
            O::NotNull => field.with_nullable(false),
            O::Null => field.with_nullable(true),
            O::Default(value) => {
                let fill = fill(&field, value)?;
                field.with_fill(fill).map_err(to_datafusion)?
            }
            other => return not_impl_err!("{what}: column {name}: {other} is not supported; leave it out"),
        };
    }
    Ok(field)
}

/// The element that DEFAULT gives.
fn fill(field: &hyperslab_core::FieldSpec, value: &SqlExpr) -> Result<Fill> {
    let text = value.to_string();
    let refused = || {
        plan_datafusion_err!(
            "column {:?}: DEFAULT {text}: a number, a text, TRUE or FALSE is needed: one element, not a list or a computation",
            field.name()
        )
    };
    let scalar = match value {
        SqlExpr::Value(ValueWithSpan { value: Value::Boolean(b), .. }) => ScalarValue::from(*b),
        SqlExpr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => {
            ScalarValue::from(text.as_str())
        }
        _ => match (text.parse::<i64>(), text.parse::<u64>(), text.parse::<f64>()) {
            (Ok(n), ..) => ScalarValue::from(n),
            (_, Ok(n), _) => ScalarValue::from(n),
            (.., Ok(x)) if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => ScalarValue::from(x),
            _ => return Err(refused()),
        },
    };
    let element = hyperslab_core::FieldSpec::new(field.name(), field.dtype(), vec![]).map_err(to_datafusion)?;
    let column = convert(&element, &scalar.to_array()?, Rows::Input(0)).map_err(|_| match scalar {
        ScalarValue::Int64(_) | ScalarValue::UInt64(_) | ScalarValue::Float64(_) if field.dtype().is_real() => {
            let (name, dtype) = (field.name(), field.dtype());
            plan_datafusion_err!("column {name:?}: DEFAULT {text} is out of the range of {dtype}, or no value of it")
        }
        _ => refused(),
    })?;
    let parts = arrow::parts(&element, column.as_ref(), 0).map_err(to_datafusion)?;
    Ok(Fill::from_bytes(parts.values.to_vec()))
}

struct Parts {
    columns: Vec<ColumnDef>,
    query: Option<Box<datafusion::sql::sqlparser::ast::Query>>,
    options: ArrayOptions,
    if_exists: IfExists,
}

/// Takes the statement apart. Every field is named, so that a clause that a newer parser learns does not go unseen.
fn parts(create: CreateTable) -> Result<Parts> {
    let CreateTable {
        or_replace,
        temporary,
        external,
        dynamic,
        global,
        if_not_exists,
        transient,
        volatile,
        iceberg,
        snapshot,
        name: _,
        columns,
        constraints,
        hive_distribution,
        hive_formats,
        table_options,
        file_format,
        location,
        query,
        without_rowid,
        like,
        clone,
        version,
        comment,
        on_commit,
        on_cluster,
        primary_key,
        order_by,
        partition_by,
        cluster_by,
        clustered_by,
        inherits,
        partition_of,
        for_values,
        strict,
        copy_grants,
        enable_schema_evolution,
        change_tracking,
        data_retention_time_in_days,
        max_data_extension_time_in_days,
        default_ddl_collation,
        with_aggregation_policy,
        with_row_access_policy,
        with_storage_lifecycle_policy,
        with_tags,
        external_volume,
        base_location,
        catalog,
        catalog_sync,
        storage_serialization_policy,
        target_lag,
        warehouse,
        refresh_mode,
        initialize,
        require_user,
        diststyle,
        distkey,
        sortkey,
        backup,
    } = create;
    // sqlparser notes an empty Hive format for statements that have none.
    let hive = hive_formats.is_some_and(|h| {
        h.row_format.is_some() || h.serde_properties.is_some() || h.storage.is_some() || h.location.is_some()
    });
    let snowflake = external_volume.is_some()
        || base_location.is_some()
        || catalog.is_some()
        || catalog_sync.is_some()
        || storage_serialization_policy.is_some()
        || target_lag.is_some()
        || warehouse.is_some()
        || refresh_mode.is_some()
        || initialize.is_some()
        || enable_schema_evolution.is_some()
        || change_tracking.is_some()
        || data_retention_time_in_days.is_some()
        || max_data_extension_time_in_days.is_some()
        || with_aggregation_policy.is_some()
        || with_row_access_policy.is_some()
        || with_storage_lifecycle_policy.is_some()
        || with_tags.is_some()
        || copy_grants
        || require_user;
    refuse_clauses(
        CREATE,
        &[
            ("TEMPORARY", temporary),
            ("EXTERNAL", external),
            ("DYNAMIC", dynamic),
            ("GLOBAL or LOCAL", global.is_some()),
            ("TRANSIENT", transient),
            ("VOLATILE", volatile),
            ("ICEBERG", iceberg),
            ("SNAPSHOT", snapshot),
            (
                "a constraint (PRIMARY KEY, UNIQUE, FOREIGN KEY, CHECK)",
                !constraints.is_empty() || primary_key.is_some(),
            ),
            ("PARTITIONED BY or SKEWED BY", !matches!(hive_distribution, HiveDistributionStyle::NONE)),
            ("ROW FORMAT, STORED AS or LOCATION", hive || file_format.is_some() || location.is_some()),
            ("WITHOUT ROWID", without_rowid),
            ("LIKE", like.is_some()),
            ("CLONE", clone.is_some()),
            ("a version", version.is_some()),
            ("COMMENT", comment.is_some()),
            ("ON COMMIT", on_commit.is_some()),
            ("ON CLUSTER", on_cluster.is_some()),
            ("ORDER BY outside of the query", order_by.is_some()),
            ("PARTITION BY", partition_by.is_some()),
            ("CLUSTER BY", cluster_by.is_some() || clustered_by.is_some()),
            ("INHERITS", inherits.is_some()),
            ("PARTITION OF", partition_of.is_some() || for_values.is_some()),
            ("STRICT", strict),
            ("COLLATE", default_ddl_collation.is_some()),
            ("DISTSTYLE, DISTKEY or SORTKEY", diststyle.is_some() || distkey.is_some() || sortkey.is_some()),
            ("BACKUP", backup.is_some()),
            ("an option of another system", snowflake),
        ],
    )?;
    let if_exists = match (or_replace, if_not_exists) {
        (true, true) => return plan_err!("{CREATE}: OR REPLACE and IF NOT EXISTS exclude each other"),
        (true, false) => IfExists::Replace,
        (false, true) => IfExists::Skip,
        (false, false) => IfExists::Fail,
    };
    Ok(Parts { columns, query, options: array_options(table_options)?, if_exists })
}

fn array_options(options: CreateTableOptions) -> Result<ArrayOptions> {
    let options = match options {
        CreateTableOptions::None => return Ok(ArrayOptions::default()),
        CreateTableOptions::With(options) | CreateTableOptions::Options(options) => options,
        CreateTableOptions::Plain(options) | CreateTableOptions::TableProperties(options) => {
            return not_impl_err!(
                "{CREATE}: {} is not supported; options are given as WITH (shard_bytes = '64MiB')",
                options.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            );
        }
    };
    let mut out = ArrayOptions::default();
    let mut given = BTreeSet::new();
    for option in options {
        let SqlOption::KeyValue { key, value } = option else { return unknown_option(&option) };
        let (field, name) = match key.value.rsplit_once('.') {
            Some((field, name)) => (Some(field), name.to_lowercase()),
            None => (None, key.value.to_lowercase()),
        };
        if !given.insert((field.map(str::to_owned), name.clone())) {
            return plan_err!("option {} is given twice", key.value);
        }
        match (field, name.as_str()) {
            (None, "shard_bytes") => out.shard_bytes = byte_size(&value)?,
            (None, "codec") => out.codec = codec(&key.value, &value)?,
            (Some(field), "codec") => {
                out.codecs.insert(field.to_owned(), codec(&key.value, &value)?);
            }
            _ => return unknown_option(&key),
        }
    }
    Ok(out)
}

fn unknown_option<T>(option: &impl std::fmt::Display) -> Result<T> {
    not_impl_err!(
        "{CREATE}: option {option} is not supported; the options are: shard_bytes, codec, and '<field>.codec' for one field"
    )
}

/// `'zstd'`, `'zstd(9)'`, `'none'`.
pub(super) fn codec(option: &str, value: &SqlExpr) -> Result<Codec> {
    let text = match value {
        SqlExpr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => text,
        _ => return plan_err!("option {option} takes a codec such as 'zstd', 'zstd(9)' or 'none', not {value}"),
    };
    text.parse().map_err(to_datafusion)
}

/// `67108864`, `'64MiB'`, `'64 MB'`.
pub(super) fn byte_size(value: &SqlExpr) -> Result<u64> {
    let bad = || plan_err!("option shard_bytes takes a size such as '64MiB', not {value}");
    let SqlExpr::Value(v) = value else { return bad() };
    let text = match &v.value {
        Value::Number(n, _) => n.as_str(),
        Value::SingleQuotedString(s) => s.as_str(),
        _ => return bad(),
    };
    let digits = text.trim().len() - text.trim().trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.trim().split_at(digits);
    let scale: u64 = match unit.trim().to_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "kib" => 1 << 10,
        "mb" => 1_000_000,
        "mib" => 1 << 20,
        "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return bad(),
    };
    match number.parse::<u64>().ok().and_then(|n| n.checked_mul(scale)) {
        Some(0) | None => bad(),
        Some(bytes) => Ok(bytes),
    }
}
