//! A store as a DataFusion catalog: its schemas, its arrays.

/// A store's schemas.
#[derive(Debug)]
pub struct StoreCatalog {}

/// A schema's arrays.
#[derive(Debug)]
pub struct StoreSchema {}
