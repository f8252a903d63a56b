//! What the benches share: data, floors, and the table of ratios.

use std::path::Path;
use std::time::SystemTime;

/// Numbers in -1..1 that are the same in every run.
pub fn noise(n: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    // 24 bits of it, as a float32 holds.
    (0..n).map(|_| (next() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// The bandwidth floor: one pass of summing the same elements on `threads` threads.
pub fn sum(values: &[f32], threads: usize) -> f32 {
    if threads <= 1 {
        // A thread costs more than a batch of 512 KiB.
        return sum_chunk(values);
    }
    let part = values.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = values.chunks(part).map(|chunk| scope.spawn(|| sum_chunk(chunk))).collect();
        parts.into_iter().filter_map(|p| p.join().ok()).sum()
    })
}

fn sum_chunk(chunk: &[f32]) -> f32 {
    const LANES: usize = 32;
    let mut lanes = [0.0_f32; LANES];
    let blocks = chunk.chunks_exact(LANES);
    let tail: f32 = blocks.remainder().iter().sum();
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane += x;
        }
    }
    lanes.iter().sum::<f32>() + tail
}

/// The median time in nanoseconds that criterion measured for `group/name` since `start`.
///
/// # Errors
/// When criterion left no estimate in this run, for example because a filter skipped the bench.
pub fn median(folder: &Path, group: &str, name: &str, start: SystemTime) -> std::io::Result<f64> {
    let file = folder.join(group).join(name).join("new/estimates.json");
    if std::fs::metadata(&file)?.modified()? < start {
        return Err(std::io::Error::other("the estimate is of an earlier run"));
    }
    let estimates: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
    estimates["median"]["point_estimate"].as_f64().ok_or_else(|| std::io::Error::other("no estimate"))
}
