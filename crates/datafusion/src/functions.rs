//! The one list of functions: registration, the docs page, completion and the tests read it.

/// Where a function may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionKind {
    /// In an expression.
    Scalar,
    /// In FROM.
    Table,
}

/// What users are told of a function.
#[derive(Debug, Clone, Copy)]
pub struct FunctionDoc {
    /// Its name.
    pub name: &'static str,
    /// Its other names.
    pub aliases: &'static [&'static str],
    /// Scalar or table function.
    pub kind: FunctionKind,
    /// Its arguments, as error messages print them.
    pub signature: &'static str,
    /// What it gives, in a line.
    pub summary: &'static str,
    /// A statement that runs on the examples' data.
    pub example: &'static str,
}

/// Every function that Hyperslab adds, in order of name.
pub fn function_docs() -> Vec<FunctionDoc> {
    todo!()
}
