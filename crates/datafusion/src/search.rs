//! Search: one logical node whose query is an input plan, and its execution.
