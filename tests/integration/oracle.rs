//! NumPy and pyarrow as oracles: what they say of slices, of nearest rows, of shards and of files is right.

mod files;
mod shapes;
mod shards;
mod slices;
mod top_k;

use std::path::Path;

/// A seed for random cases: `HYPERSLAB_SEED`, or another one each time. It is printed, which a failed test shows.
fn seed() -> u64 {
    let given = std::env::var("HYPERSLAB_SEED").ok().map(|s| s.parse().expect("HYPERSLAB_SEED is a number"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let seed = given.unwrap_or(u64::from(now.subsec_micros()));
    println!("HYPERSLAB_SEED={seed}");
    seed
}

/// A path as a SQL string.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "''"))
}
