//! A file that appears when it is whole: DataFusion's own writers finish their file even when the query fails half-way,
//! so that COPY lets them write beside the target and renames at the end.

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchemaRef, DataFusionError, Result, internal_err, plan_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, InputDistributionRequirements, Partitioning,
    PlanProperties,
};
use futures::{StreamExt, TryStreamExt};
use hyperslab_core::Error;

use crate::to_datafusion;

/// Two names for a file: while it is written, and when it is whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) temporary: PathBuf,
    pub(super) target: PathBuf,
    pub(super) overwrite: bool,
    /// Of a numbered series of files, whose names have a place for the number.
    pub(crate) rows_per_file: Option<u64>,
}

impl Place {
    /// A place for a target on this machine; none for a URL of another store or a folder.
    ///
    /// # Errors
    /// A target that is there and no regular file.
    pub(crate) fn of(target: &str, overwrite: bool, rows_per_file: Option<u64>) -> Result<Option<Self>> {
        let path = match target.split_once("://") {
            None => PathBuf::from(target),
            Some(("file", _)) => match url::Url::parse(target).ok().and_then(|u| u.to_file_path().ok()) {
                Some(path) => path,
                None => return Ok(None),
            },
            Some(_) => return Ok(None),
        };
        // A link stays one, and its target is replaced.
        let path = path.canonicalize().unwrap_or(path);
        if path.exists() && !path.is_file() {
            return plan_err!("COPY TO {target}: there is a folder, or something else that is no file, of that name");
        }
        let (Some(name), folder) = (path.file_name(), path.parent().unwrap_or(Path::new(""))) else { return Ok(None) };
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let unique = NEXT.fetch_add(1, Ordering::Relaxed);
        // The extension stays last: writers look at it.
        let temporary =
            format!(".{}-{unique}.tmp.{}", std::process::id(), name.to_string_lossy().replace(['{', '}'], ""));
        Ok(Some(Self { temporary: folder.join(temporary), target: path, overwrite, rows_per_file }))
    }

    fn publish(&self) -> hyperslab_core::Result<()> {
        let failed = |e| Error::io("writing", self.target.display(), e);
        // A query without rows may have made no file.
        if !self.temporary.exists() {
            return Ok(());
        }
        let file = std::fs::File::open(&self.temporary).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        if self.overwrite {
            return std::fs::rename(&self.temporary, &self.target).map_err(failed);
        }
        let temporary = tempfile::TempPath::try_from_path(&self.temporary).map_err(failed)?;
        temporary.persist_noclobber(&self.target).map_err(|e| match e.error.kind() {
            ErrorKind::AlreadyExists => self.exists(),
            _ => failed(e.error),
        })
    }

    /// A query's error as it is; one of writing names the file, and not what is known of DataFusion's insides.
    pub(super) fn failed(&self, error: DataFusionError) -> DataFusionError {
        let why = match error.find_root() {
            // Other errors of the kind are of files that the query reads.
            DataFusionError::ObjectStore(e) if e.to_string().contains("Unable to copy data to file") => e.to_string(),
            DataFusionError::Internal(text) if text.contains("finalizing writes") => {
                "the system could not write to it; the disk may be full".to_owned()
            }
            _ => return error,
        };
        to_datafusion(Error::new(hyperslab_core::ErrorKind::Io, format!("writing {}: {why}", self.target.display())))
    }

    /// Refuses to start on what may not be replaced.
    fn check(&self) -> hyperslab_core::Result<()> {
        if !self.overwrite && self.target.exists() { Err(self.exists()) } else { Ok(()) }
    }

    fn exists(&self) -> Error {
        let target = self.target.display();
        Error::already_exists(format!(
            "{target} exists; add the option overwrite to replace it, or choose another name"
        ))
    }
}

/// Removes the temporary file, whole or not, unless it was renamed.
pub(super) struct Guard(pub(super) PathBuf);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        // object_store writes to a file with such an end before ours has its name, and removes it in the background: not
        // any more where the process is about to end.
        let mut staged = self.0.clone().into_os_string();
        staged.push("#1");
        let _ = std::fs::remove_file(staged);
    }
}

/// The logical node, over a COPY to the temporary name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub(crate) struct WholeFile {
    pub(crate) place: Place,
    pub(crate) input: LogicalPlan,
}

impl WholeFile {
    pub(crate) fn plan(place: Place, input: LogicalPlan) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(Self { place, input }) })
    }
}

impl UserDefinedLogicalNodeCore for WholeFile {
    fn name(&self) -> &str {
        "WholeFile"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WholeFile: {}", self.place.target.display())
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 1]>::try_from(inputs) {
            Ok([input]) => Ok(Self { place: self.place.clone(), input }),
            Err(_) => internal_err!("WholeFile has one input"),
        }
    }
}

/// The physical node.
#[derive(Debug)]
pub(crate) struct WholeFileExec {
    place: Place,
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl WholeFileExec {
    pub(crate) fn new(place: Place, input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        ));
        Self { place, input, properties }
    }
}

impl DisplayAs for WholeFileExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WholeFileExec: {}", self.place.target.display())
    }
}

impl ExecutionPlan for WholeFileExec {
    fn name(&self) -> &str {
        "WholeFileExec"
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
            Ok([input]) => Ok(Arc::new(Self::new(self.place.clone(), input))),
            Err(_) => internal_err!("WholeFileExec has one input"),
        }
    }

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.place.check().map_err(to_datafusion)?;
        let guard = Guard(self.place.temporary.clone());
        let (place, input) = (self.place.clone(), self.input.execute(0, context)?);
        let work = async move {
            let guard = guard;
            let counts: Vec<_> = input.try_collect().await.map_err(|e| place.failed(e))?;
            let publish = move || {
                let done = place.publish();
                drop(guard);
                done
            };
            let done = tokio::task::spawn_blocking(publish).await;
            done.map_err(|e| DataFusionError::External(Box::new(e)))?.map_err(to_datafusion)?;
            Ok::<_, DataFusionError>(futures::stream::iter(counts.into_iter().map(Ok)))
        };
        let batches = futures::stream::once(work).try_flatten().boxed();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
