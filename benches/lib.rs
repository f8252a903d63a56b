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

/// The processor's arithmetic: billions of float32 operations per second in multiply-adds from registers, on `threads`
/// threads. 0 where it is not known how to ask for them.
pub fn multiply_add(threads: usize) -> f64 {
    const STEPS: usize = 20_000_000;
    let start = std::time::Instant::now();
    let operations: usize = std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(|| chains(std::hint::black_box(STEPS)))).collect();
        all.into_iter().filter_map(|thread| thread.join().ok()).sum()
    });
    operations as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Runs independent chains of multiply-adds, and returns how many operations that took.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "SIMD intrinsics")]
fn chains(steps: usize) -> usize {
    use std::arch::x86_64::*;

    const CHAINS: usize = 10;

    #[target_feature(enable = "avx512f")]
    fn wide(steps: usize) -> usize {
        let (factor, mut chains) = (_mm512_set1_ps(0.999), [_mm512_set1_ps(1.0); CHAINS]);
        for _ in 0..steps {
            chains.iter_mut().for_each(|chain| *chain = _mm512_fmadd_ps(*chain, factor, factor));
        }
        std::hint::black_box(chains);
        steps * CHAINS * 16 * 2
    }

    #[target_feature(enable = "avx2,fma")]
    fn narrow(steps: usize) -> usize {
        let (factor, mut chains) = (_mm256_set1_ps(0.999), [_mm256_set1_ps(1.0); CHAINS]);
        for _ in 0..steps {
            chains.iter_mut().for_each(|chain| *chain = _mm256_fmadd_ps(*chain, factor, factor));
        }
        std::hint::black_box(chains);
        steps * CHAINS * 8 * 2
    }

    if is_x86_feature_detected!("avx512f") {
        // SAFETY: just checked.
        unsafe { wide(steps) }
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: just checked.
        unsafe { narrow(steps) }
    } else {
        0
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn chains(_steps: usize) -> usize {
    0
}
