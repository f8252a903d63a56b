//! Hyperslab as a library: a session over a store, and SQL.
//!
//! `cargo run -p hyperslab-examples --bin library`

use hyperslab::Session;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // `Session::open("demo.slab")` keeps the store in a folder.
    let session = Session::memory();
    session.sql("CREATE TABLE packages AS SELECT * FROM 'examples/data/packages.npy'").await?.collect().await?;

    // The query of a search may be a parameter.
    let vector = session.sql("SELECT value FROM packages WHERE row = 42").await?.collect().await?;
    let vector = datafusion::common::ScalarValue::try_from_array(vector[0].column(0), 0)?;
    let nearest = session
        .sql("SELECT row, score FROM top_k('packages', $1, k => 5) ORDER BY rank")
        .await?
        .with_param_values(vec![vector])?;
    nearest.show().await?;

    // What changes something happens when its frame is collected, whole or not at all.
    let failed = session.sql("INSERT INTO packages VALUES ([1, 2, 3])").await?.collect().await;
    assert!(failed.is_err_and(|e| e.to_string().contains("a list of 3 elements")));
    session.sql("SELECT count(*) AS rows FROM packages").await?.show().await?;
    Ok(())
}
