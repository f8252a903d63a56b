//! Statements that DataFusion does not plan as we need them.
