#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use datafusion::datasource::empty::EmptyTable;

use super::*;
use crate::testing::{context, error, rows, sorted, store};

fn other() -> Arc<dyn TableProvider> {
    Arc::new(EmptyTable::new(Arc::new(datafusion::arrow::datatypes::Schema::empty())))
}

#[tokio::test]
async fn a_pinned_catalog_stays_at_its_version_and_shares_the_sessions_tables() {
    let store = store();
    let live = StoreCatalog::new(store.clone());
    let pinned = live.pin(store.snapshot().unwrap());
    let mut transaction = store.begin().unwrap();
    transaction.rename("small", "tiny").unwrap();
    transaction.create_schema("more").unwrap();
    transaction.commit().unwrap();

    assert_eq!(live.schema("public").unwrap().table_names(), ["big", "label", "tiny"]);
    assert_eq!(pinned.schema("public").unwrap().table_names(), ["big", "label", "small"]);
    assert_eq!(live.schema_names(), ["more", "public"]);
    assert!(pinned.schema("more").is_none() && live.schema("nosuch").is_none());
    assert_eq!(live.array_table("public", "tiny").unwrap().unwrap().scan_name(), "tiny@v2");
    assert_eq!(pinned.array_table("public", "small").unwrap().unwrap().scan_name(), "small@v1");
    assert!(pinned.array_table("public", "tiny").unwrap().is_none());
    assert!(live.array_table("more", "tiny").unwrap().is_none());

    live.schema("public").unwrap().register_table("v".into(), other()).unwrap();
    assert!(pinned.schema("public").unwrap().table_exist("v"));
    assert_eq!(pinned.schema("public").unwrap().table_names(), ["big", "label", "small", "v"]);
    assert!(!StoreCatalog::pinned(store.clone(), store.snapshot().unwrap()).store_schema("public").table_exist("v"));
    assert!(pinned.schema("public").unwrap().deregister_table("v").unwrap().is_some());
    assert!(!live.schema("public").unwrap().table_exist("v"));
}

#[tokio::test]
async fn arrays_are_neither_hidden_nor_lost_by_registrations() {
    let schema = StoreCatalog::new(store()).store_schema("public");
    let error = schema.register_table("big".into(), other()).unwrap_err().to_string();
    assert!(error.contains("already an array \"big\""), "{error}");
    let error = schema.deregister_table("big").unwrap_err().to_string();
    assert!(error.contains("DROP TABLE"), "{error}");
    assert!(schema.table_exist("big"));
    assert!(schema.deregister_table("nosuch").unwrap().is_none());
}

#[tokio::test]
async fn schemas_are_created_and_dropped_in_the_store() {
    let store = store();
    let context = context(&store, 1, true);
    rows(&context, "CREATE SCHEMA lab").await;
    assert_eq!(store.snapshot().unwrap().schemas(), ["lab", "public"]);
    let mut transaction = store.begin().unwrap();
    transaction.rename("small", ArrayName::new("lab", "s")).unwrap();
    transaction.commit().unwrap();
    assert_eq!(rows(&context, "SELECT count(*) FROM lab.s").await, ["3000"]);
    rows(&context, "CREATE VIEW lab.v AS SELECT row FROM lab.s WHERE row < 2").await;
    assert_eq!(rows(&context, "SELECT * FROM lab.v ORDER BY row").await, ["0", "1"]);
    let names = "SELECT table_schema, table_name, table_type FROM information_schema.tables \
                 WHERE table_schema <> 'information_schema'";
    assert_eq!(
        sorted(&context, names).await,
        ["lab|s|BASE TABLE", "lab|v|VIEW", "public|big|BASE TABLE", "public|label|BASE TABLE"]
    );
    let refused = error(&context, "DROP SCHEMA lab").await;
    assert!(refused.contains("not empty: s, v"), "{refused}");
    rows(&context, "DROP SCHEMA lab CASCADE").await;
    assert_eq!(store.snapshot().unwrap().schemas(), ["public"]);
    assert!(error(&context, "SELECT * FROM lab.v").await.contains("lab"));
}
