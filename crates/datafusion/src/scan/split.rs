//! Where a scan is cut into partitions.

use hyperslab_core::ArraySource;

use super::RowRanges;

/// Partitions begin at multiples of this many rows, as segments do where the data allows.
const GRID: u64 = 65_536;

/// The finest grid, for small arrays.
const FINEST_GRID: u64 = 1024;

/// Below this many bytes, rows are fewer on the finest grid.
const FINEST_BYTES: u64 = 1 << 20;

/// The rows at which partitions begin (the first begins at 0), so that each has about as many of the selected rows.
/// At most `partitions - 1` of them, fewer where there is too little to read.
pub(crate) fn points(source: &dyn ArraySource, selected: &RowRanges, partitions: usize) -> Vec<u64> {
    let total = selected.rows();
    let partitions = partitions.max(1) as u64;
    let grid = grid(source, total, partitions);
    let Some(bounds) = selected.bounds() else { return vec![] };
    let mut points = Vec::new();
    let (mut before, mut next) = (0, 1);
    for range in selected.ranges() {
        let rows = range.end - range.start;
        // The range holds the row at which partition `next` would begin if there were no grid.
        while next < partitions && total / partitions * next < before + rows {
            let row = range.start + (total / partitions * next).saturating_sub(before);
            let on_grid = (row + grid / 2) / grid * grid;
            if on_grid > bounds.start && on_grid < bounds.end && points.last() != Some(&on_grid) {
                points.push(on_grid);
            }
            next += 1;
        }
        before += rows;
    }
    points
}

/// The coarse grid, or a finer one where that would leave cores idle. It does not depend on the projection.
fn grid(source: &dyn ArraySource, selected: u64, partitions: u64) -> u64 {
    let row_bytes = source.fields().iter().map(|f| f.row_bytes() as u64).sum::<u64>().max(1);
    let by_bytes = (FINEST_BYTES / row_bytes).max(1);
    let finest = FINEST_GRID.min(1 << by_bytes.ilog2());
    let mut grid = GRID;
    while grid > finest && selected / grid < 4 * partitions {
        grid /= 2;
    }
    grid
}
