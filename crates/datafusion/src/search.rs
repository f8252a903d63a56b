//! Search: one logical node whose query is an input plan, and its execution.
//!
//! `top_k`, and through [rules](crate::optimizer) `ORDER BY distance LIMIT k`, LATERAL and NEAREST, are this one node: the rows of an input
//! plan are ranked by the distance of their vectors to the vectors of a query plan. A literal, a parameter or a
//! subquery makes no difference, since each is a plan. What ranking does not need is fetched for the winners only, by
//! their row numbers; and where the input has a filter or a join, the vectors too are read by the numbers of its rows, so
//! that those of other rows are not touched.

mod array_search;
mod carried;
mod exec;
mod indexed;
mod joined;
mod late;
mod lineage;
mod logical;
mod planner;
mod queries;
mod query;
mod rank;
mod stored_query;
mod stream;

pub use array_search::{ArraySearch, SearchOptions, SearchRows};
pub(crate) use joined::search_of;
pub(crate) use lineage::origin;
pub(crate) use logical::{Order, Outer, Output, Search, count_of, pushed_condition, vector_column};
pub(crate) use planner::SearchPlanner;
pub(crate) use query::QueryVector;

#[cfg(test)]
mod tests;
