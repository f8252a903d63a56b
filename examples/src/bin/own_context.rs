//! A store in a DataFusion context that exists already, beside the tables that it has.
//!
//! `cargo run -p hyperslab-examples --bin own_context`

use datafusion::prelude::{CsvReadOptions, SessionContext};
use hyperslab::{Session, SessionOptions, Store};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let context = SessionContext::new();
    context.register_csv("packages", "examples/data/packages.csv", CsvReadOptions::new()).await?;

    // A store with an array; a session makes it here, any other program could have.
    let store = Store::memory();
    let session = Session::new(store.clone(), SessionOptions::default());
    session.sql("CREATE TABLE embeddings AS SELECT * FROM 'examples/data/packages.npy'").await?.collect().await?;

    // One call: the store is the catalog `lab`; functions, operators and rules come with it.
    hyperslab::register(&context, &store, "lab")?;
    let nearest = "SELECT p.name, t.score
        FROM top_k('lab.public.embeddings', (SELECT value FROM lab.public.embeddings WHERE row = 42), k => 5) t
        JOIN packages p ON p.id = t.row
        ORDER BY t.rank";
    context.sql(nearest).await?.show().await?;

    // INSERT works with a column list; every statement reads one version of the store.
    context
        .sql("INSERT INTO lab.public.embeddings (value) SELECT value FROM 'examples/data/packages.npy' WHERE row < 10")
        .await?
        .collect()
        .await?;
    context.sql("SELECT count(*) AS rows FROM lab.public.embeddings").await?.show().await?;
    Ok(())
}
