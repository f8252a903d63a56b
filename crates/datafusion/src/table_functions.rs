//! Table functions: one file each.
