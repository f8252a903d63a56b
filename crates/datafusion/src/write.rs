//! The write node: what INSERT, CREATE TABLE AS and append() execute.
