//! FROM: table functions with positional and named arguments, versions, files; and what is refused.
