//! Text files that are read in order by several threads: cut into short ranges, of which the next ones are parsed while
//! the first is given out.
//!
//! DataFusion cuts a file into as many ranges as there are partitions, and keeping their order would read them one after
//! the other, on one thread.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::datasource::listing::{FileRange, PartitionedFile};
use datafusion::datasource::physical_plan::{
    CsvSource, FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, JsonSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;

/// Bytes of text that are parsed at once. What waits for its turn is kept in memory, so this times the threads.
const RANGE: u64 = if cfg!(test) { 64 << 10 } else { 4 << 20 };

/// Batches that a range may hold: more than it has.
pub(super) const BATCHES: usize = 1 << 10;

/// The plan with its text file in ranges; none if it has something else below, or a node that would see the partitions.
pub(super) fn cut(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(scan) = file_scan(plan) {
        let files: Vec<_> = scan.file_groups.iter().flat_map(FileGroup::iter).collect();
        if !is_lines(scan) || files.iter().map(|f| length(f)).sum::<u64>() <= RANGE {
            return Ok(None);
        }
        let groups = files.into_iter().flat_map(ranges).map(|range| FileGroup::new(vec![range])).collect();
        let scan = FileScanConfigBuilder::from(scan.clone()).with_file_groups(groups).with_preserve_order(true);
        return Ok(Some(DataSourceExec::from_data_source(scan.build())));
    }
    let [child] = plan.children()[..] else { return Ok(None) };
    if !(plan.is::<ProjectionExec>() || plan.is::<FilterExec>()) {
        return Ok(None);
    }
    cut(child)?.map(|child| replace_children_if_necessary(Arc::clone(plan), vec![child])).transpose()
}

/// Whether the plan reads what [`cut`] made.
pub(super) fn is_cut(plan: &Arc<dyn ExecutionPlan>) -> bool {
    match plan.children()[..] {
        [] => file_scan(plan).is_some_and(|scan| scan.preserve_order && scan.file_groups.len() > 1 && is_lines(scan)),
        [child] => is_cut(child),
        _ => false,
    }
}

fn file_scan(plan: &Arc<dyn ExecutionPlan>) -> Option<&FileScanConfig> {
    plan.downcast_ref::<DataSourceExec>()?.data_source().downcast_ref::<FileScanConfig>()
}

/// Whether a file's lines are its rows, wherever one begins to read.
fn is_lines(scan: &FileScanConfig) -> bool {
    let source: &dyn FileSource = scan.file_source().as_ref();
    let text = source.is::<CsvSource>() || source.is::<JsonSource>();
    text && source.supports_repartitioning() && !scan.file_compression_type.is_compressed()
}

fn length(file: &PartitionedFile) -> u64 {
    file.range.as_ref().map_or(file.object_meta.size, |r| r.end.abs_diff(r.start))
}

fn ranges(file: &PartitionedFile) -> impl Iterator<Item = PartitionedFile> {
    let (start, end) = match &file.range {
        Some(range) => (range.start, range.end),
        None => (0, i64::try_from(file.object_meta.size).unwrap_or(i64::MAX)),
    };
    let step = RANGE.cast_signed();
    let file = file.clone();
    (start..end).step_by(RANGE as usize).map(move |start| PartitionedFile {
        range: Some(FileRange { start, end: end.min(start + step) }),
        ..file.clone()
    })
}
