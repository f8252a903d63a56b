//! `COPY … TO 'x.npy'`: DataFusion file formats whose writers are the sinks of array formats.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, GetExt, Result, Statistics, internal_err, not_impl_err};
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
use hyperslab_core::arrow;
use hyperslab_formats::{FORMATS, Format, WriteOptions};
use object_store::{ObjectMeta, ObjectStore};

use super::copy_options::CopyOptions;
use super::output::{Output, Target};
use crate::to_datafusion;
use crate::write::convert::{Rows, convert, fields_schema};
use crate::write::in_order::InOrderExec;

/// A factory for each name and extension of the array formats that are written.
pub(crate) fn array_sinks() -> impl Iterator<Item = ArrayFormatFactory> {
    let written = FORMATS.iter().filter(|f| f.can_write());
    written.flat_map(|format| {
        // Not archives of a folder, which are read only.
        let mut names: Vec<_> = format.extensions().iter().copied().filter(|e| !e.contains('.')).collect();
        names.extend((!names.contains(&format.name())).then_some(format.name()));
        names.into_iter().map(move |name| ArrayFormatFactory { format, name })
    })
}

/// Whether a format, by its name or extension in lower case, is one that an array sink writes.
pub(crate) fn is_array_sink(name: &str) -> bool {
    array_sinks().any(|f| f.name == name)
}

/// The factory of one array format, by its name or one of its extensions.
#[derive(Debug, Clone)]
pub(crate) struct ArrayFormatFactory {
    format: &'static Format,
    name: &'static str,
}

impl GetExt for ArrayFormatFactory {
    fn get_ext(&self) -> String {
        self.name.to_owned()
    }
}

impl FileFormatFactory for ArrayFormatFactory {
    fn create(&self, _state: &dyn Session, options: &HashMap<String, String>) -> Result<Arc<dyn FileFormat>> {
        let mut options = options.clone();
        let copy = CopyOptions::take(&mut options)?;
        let set = |all: WriteOptions, (key, value): (&String, &String)| {
            all.set(key.strip_prefix("format.").unwrap_or(key), value)
        };
        let options = options.iter().fold(WriteOptions::new(), set);
        Ok(Arc::new(ArrayFormat { format: self.format, copy, options }))
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        Arc::new(ArrayFormat { format: self.format, copy: CopyOptions::default(), options: WriteOptions::new() })
    }
}

/// The format, for writing: array files are read as [`ArrayTable`](crate::ArrayTable)s.
#[derive(Debug)]
struct ArrayFormat {
    format: &'static Format,
    copy: CopyOptions,
    options: WriteOptions,
}

#[async_trait]
impl FileFormat for ArrayFormat {
    fn get_ext(&self) -> String {
        self.format.name().to_owned()
    }

    fn get_ext_with_compression(&self, compression: &FileCompressionType) -> Result<String> {
        match compression.get_variant() {
            CompressionTypeVariant::UNCOMPRESSED => Ok(self.get_ext()),
            other => not_impl_err!("{} files are not compressed as a whole; leave {other} out", self.format.name()),
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
            return not_impl_err!("COPY TO {}: PARTITIONED BY is not supported; leave it out", self.format.name());
        }
        let path = local_path(&config)?;
        let schema = input.schema();
        let mut columns: Vec<usize> = (0..schema.fields().len()).collect();
        // A session leaves `row` out by itself; here it goes when another column stays.
        if columns.len() > 1 {
            columns.retain(|&i| schema.field(i).name() != crate::table::ROW);
        }
        let fields = columns.iter().map(|&i| {
            let named = schema.field(i).clone();
            // A position that is asked for is data, and no array has a field of its name.
            let named = if named.name() == crate::table::ROW { named.with_name(hyperslab_core::VALUE) } else { named };
            // None of the formats holds a NULL; an error names the row of the input.
            arrow::from_field(&named).map(|f| f.with_nullable(false)).map_err(to_datafusion)
        });
        let target = Target {
            path,
            format: self.format,
            copy: self.copy,
            options: self.options.clone(),
            fields: fields.collect::<Result<_>>()?,
            columns,
        };
        let input: Arc<dyn ExecutionPlan> = match input.downcast_ref::<InOrderExec>() {
            Some(_) => input,
            None => Arc::new(InOrderExec::try_new(input, schema.fields().len())?),
        };
        Ok(Arc::new(ArrayFileExec::new(input, Arc::new(target))))
    }

    // Never asked for: no table reads through this format.
    fn file_source(&self, schema: TableSchema) -> Arc<dyn FileSource> {
        Arc::new(CsvSource::new(schema))
    }
}

impl ArrayFormat {
    fn read_by_name<T>(&self) -> Result<T> {
        not_impl_err!(
            ".{0} files are read by name, as in FROM 'x.{0}'",
            self.format.extensions().first().unwrap_or(&self.format.name())
        )
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

/// Streams columns into a file that appears when it is whole.
#[derive(Debug, Clone)]
struct ArrayFileExec {
    input: Arc<dyn ExecutionPlan>,
    target: Arc<Target>,
    properties: Arc<PlanProperties>,
}

impl ArrayFileExec {
    fn new(input: Arc<dyn ExecutionPlan>, target: Arc<Target>) -> Self {
        let schema = Arc::new(Schema::new(vec![Field::new("count", DataType::UInt64, false)]));
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Self { input, target, properties }
    }
}

impl DisplayAs for ArrayFileExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<_> = self.target.fields.iter().map(ToString::to_string).collect();
        write!(f, "ArrayFileExec: {} to {}", fields.join(", "), self.target.path.display())
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
        let work = write(Arc::clone(&self.target), input, Arc::clone(&schema));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::once(work))))
    }
}

async fn write(target: Arc<Target>, mut input: SendableRecordBatchStream, schema: SchemaRef) -> Result<RecordBatch> {
    let mut output = Output::start(&target).await.map_err(to_datafusion)?;
    let file_schema = fields_schema(&target.fields);
    let mut rows = 0;
    while let Some(batch) = input.next().await {
        let batch = batch?;
        let mut columns = Vec::with_capacity(target.fields.len());
        for (field, column) in target.fields.iter().zip(&target.columns) {
            let Some(values) = batch.columns().get(*column) else { return internal_err!("a column is missing") };
            columns.push(convert(field, values, Rows::Input(rows))?);
        }
        let batch = RecordBatch::try_new(Arc::clone(&file_schema), columns)?;
        output.write(&batch).map_err(to_datafusion)?;
        rows += batch.num_rows() as u64;
        tokio::task::yield_now().await;
    }
    let done = tokio::task::spawn_blocking(move || output.finish()).await;
    done.map_err(|e| DataFusionError::External(Box::new(e)))?.map_err(to_datafusion)?;
    Ok(RecordBatch::try_new(schema, vec![Arc::new(UInt64Array::from(vec![rows]))])?)
}
