//! The store alone, without SQL: arrays as ndarrays, versions, transactions.
//!
//! `cargo run -p hyperslab-examples --bin store_only`

#![allow(clippy::print_stdout, reason = "an example shows what it finds")]

use hyperslab::{ArrayOptions, DType, FieldSpec, Selection, Store};
use ndarray::array;

fn main() -> hyperslab::Result<()> {
    // `Store::open("demo.slab")` keeps it in a folder of ordinary .npy files.
    let store = Store::memory();

    // Changes to any number of arrays become one version, or nothing.
    let mut tx = store.begin()?;
    tx.create("points", vec![FieldSpec::new("value", DType::Float32, vec![2])?], ArrayOptions::default())?;
    tx.append_ndarray("points", &array![[1.0_f32, 2.0], [3.0, 4.0], [5.0, 6.0]])?;
    let version = tx.commit()?;

    // A snapshot never changes, whatever is committed after it.
    let before = store.snapshot()?;
    let mut tx = store.begin()?;
    tx.append_ndarray("points", &array![[7.0_f32, 8.0]])?;
    tx.commit()?;

    let field = before.array("points")?.field("value")?;
    println!("version {version}: shape {:?}", field.spec().shape(before.array("points")?.rows()));
    println!("sum {}", field.view::<f32>()?.to_ndarray()?.sum());

    // NumPy's slices over (row, axes…).
    let now = store.snapshot()?.array("points")?.field("value")?;
    println!("last column, backwards:\n{}", now.slice::<f32>(&Selection::parse("::-1, 1")?)?);
    Ok(())
}
