//! `COPY … TO 'x.npy'`: a DataFusion file format whose writer is an array sink.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, GetExt, Result, Statistics, internal_err, not_impl_err, plan_err};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory};
use datafusion::datasource::physical_plan::{CsvSource, FileScanConfig, FileSinkConfig, FileSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, LexRequirement, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties,
};
use futures::StreamExt;
use hyperslab_core::{ArraySink, FieldSpec, arrow};
use hyperslab_formats::NpySink;
use object_store::{ObjectMeta, ObjectStore};

use crate::to_datafusion;
use crate::write::convert::{Rows, convert, fields_schema};
use crate::write::in_order::InOrderExec;

/// The extension of each format that has a sink.
pub(crate) const SINKS: [&str; 1] = ["npy"];

/// The factory of one array format, by its extension.
#[derive(Debug, Clone)]
pub(crate) struct ArrayFormatFactory {
    pub(crate) extension: &'static str,
}

impl GetExt for ArrayFormatFactory {
    fn get_ext(&self) -> String {
        self.extension.to_owned()
    }
}

impl FileFormatFactory for ArrayFormatFactory {
    fn create(&self, _state: &dyn Session, options: &HashMap<String, String>) -> Result<Arc<dyn FileFormat>> {
        match options.keys().min() {
            Some(key) => {
                let key = key.strip_prefix("format.").unwrap_or(key);
                plan_err!("COPY TO .{}: there is no option {key:?}; the options are: keep_row", self.extension)
            }
            None => Ok(self.default()),
        }
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        Arc::new(ArrayFormat { extension: self.extension })
    }
}

/// The format, for writing: array files are read as [`ArrayTable`](crate::ArrayTable)s.
#[derive(Debug)]
struct ArrayFormat {
    extension: &'static str,
}

#[async_trait]
impl FileFormat for ArrayFormat {
    fn get_ext(&self) -> String {
        self.extension.to_owned()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        match compression.get_variant() {
            CompressionTypeVariant::UNCOMPRESSED => Ok(self.get_ext()),
            other => not_impl_err!(".{} files are not compressed; leave {other} out", self.extension),
        }
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        None
    }

    async fn infer_schema(
        &self,
        _state: &dyn Session,
        _store: &Arc<dyn ObjectStore>,
        _objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        self.read_by_name()
    }

    async fn infer_stats(
        &self,
        _state: &dyn Session,
        _store: &Arc<dyn ObjectStore>,
        _schema: SchemaRef,
        _object: &ObjectMeta,
    ) -> Result<Statistics> {
        self.read_by_name()
    }

    async fn create_physical_plan(
        &self,
        _state: &dyn Session,
        _config: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.read_by_name()
    }

    async fn create_writer_physical_plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        _state: &dyn Session,
        config: FileSinkConfig,
        _order: Option<LexRequirement>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !config.table_partition_cols.is_empty() {
            return not_impl_err!("COPY TO .{}: PARTITIONED BY is not supported; leave it out", self.extension);
        }
        let path = local_path(&config)?;
        let schema = input.schema();
        let mut columns: Vec<usize> = (0..schema.fields().len()).collect();
        // A session leaves `row` out by itself; here it goes when another column stays.
        if columns.len() > 1 {
            columns.retain(|&i| schema.field(i).name() != crate::table::ROW);
        }
        let [column] = columns.as_slice() else {
            let names: Vec<_> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            return not_impl_err!(
                "COPY TO {}: an .{} holds one array, the query gives {}: {}; select one of them",
                path.display(),
                self.extension,
                columns.len(),
                names.join(", ")
            );
        };
        let named = schema.field(*column).clone();
        // A file keeps no name, so that `row` itself can be written.
        let named = if named.name() == crate::table::ROW { named.with_name(hyperslab_core::VALUE) } else { named };
        let field = arrow::from_field(&named).map_err(to_datafusion)?;
        let input: Arc<dyn ExecutionPlan> = match input.downcast_ref::<InOrderExec>() {
            Some(_) => input,
            None => Arc::new(InOrderExec::try_new(input, schema.fields().len())?),
        };
        Ok(Arc::new(ArrayFileExec::new(input, path, field, *column)))
    }

    // Never asked for: no table reads through this format.
    fn file_source(&self, schema: TableSchema) -> Arc<dyn FileSource> {
        Arc::new(CsvSource::new(schema))
    }
}

impl ArrayFormat {
    fn read_by_name<T>(&self) -> Result<T> {
        not_impl_err!(".{0} files are read by name, as in FROM 'x.{0}'", self.extension)
    }
}

fn local_path(config: &FileSinkConfig) -> Result<PathBuf> {
    let url = &config.original_url;
    if let Some((scheme, _)) = url.split_once("://") {
        let path = url::Url::parse(url).ok().filter(|_| scheme == "file").and_then(|u| u.to_file_path().ok());
        return path.map_or_else(
            || not_impl_err!("COPY TO {url}: array files are written to this machine only; write to a local path"),
            Ok,
        );
    }
    Ok(PathBuf::from(url))
}

/// Streams one column into a file that appears when it is whole.
#[derive(Debug, Clone)]
struct ArrayFileExec {
    input: Arc<dyn ExecutionPlan>,
    path: PathBuf,
    field: FieldSpec,
    column: usize,
    properties: Arc<PlanProperties>,
}

impl ArrayFileExec {
    fn new(input: Arc<dyn ExecutionPlan>, path: PathBuf, field: FieldSpec, column: usize) -> Self {
        let schema = Arc::new(Schema::new(vec![Field::new("count", DataType::UInt64, false)]));
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Self { input, path, field, column, properties }
    }
}

impl DisplayAs for ArrayFileExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArrayFileExec: {} to {}", self.field, self.path.display())
    }
}

impl ExecutionPlan for ArrayFileExec {
    fn name(&self) -> &str {
        "ArrayFileExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![Distribution::SinglePartition])
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
            Ok([input]) => Ok(Arc::new(Self { input, ..self.as_ref().clone() })),
            Err(_) => internal_err!("ArrayFileExec has one input"),
        }
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(0, context)?;
        let schema = self.schema();
        let work = write(self.path.clone(), self.field.clone(), self.column, input, Arc::clone(&schema));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::once(work))))
    }
}

async fn write(
    path: PathBuf,
    field: FieldSpec,
    column: usize,
    mut input: SendableRecordBatchStream,
    schema: SchemaRef,
) -> Result<RecordBatch> {
    if let Some(folder) = path.parent().filter(|f| *f != Path::new("")) {
        std::fs::create_dir_all(folder)
            .map_err(|e| to_datafusion(hyperslab_core::Error::io("creating", folder.display(), e)))?;
    }
    let fields = [field];
    let [field] = &fields;
    let mut sink = Box::new(NpySink::create(&path, field).map_err(to_datafusion)?);
    let file_schema = fields_schema(&fields);
    let mut rows = 0;
    while let Some(batch) = input.next().await {
        let batch = batch?;
        let Some(values) = batch.columns().get(column) else { return internal_err!("a column is missing") };
        let values = convert(field, values, Rows::Input(rows))?;
        let batch = RecordBatch::try_new(Arc::clone(&file_schema), vec![values])?;
        sink.write(&batch).map_err(to_datafusion)?;
        rows += batch.num_rows() as u64;
        tokio::task::yield_now().await;
    }
    let done = tokio::task::spawn_blocking(move || sink.finish()).await;
    let summary = done.map_err(|e| DataFusionError::External(Box::new(e)))?.map_err(to_datafusion)?;
    Ok(RecordBatch::try_new(schema, vec![Arc::new(UInt64Array::from(vec![summary.rows]))])?)
}
