//! From a DataFusion error, wrapped by planner, optimizer and executor, to the line that a user needs.

use std::error::Error as StdError;

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

/// The root cause in one line: rule names, "Error during planning" and backtraces are left out, hints are kept.
pub(crate) fn message(error: &DataFusionError) -> String {
    one_line(&root(error))
}

fn root(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => root(inner),
        DataFusionError::Shared(inner) => root(inner),
        DataFusionError::Collection(errors) => match errors.as_slice() {
            [] => "unknown error".to_owned(),
            [only] => root(only),
            [first, rest @ ..] => format!("{} (and {} more)", root(first), rest.len()),
        },
        DataFusionError::External(inner) => external(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => arrow(inner),
        DataFusionError::ParquetError(inner) => inner.to_string(),
        DataFusionError::ObjectStore(inner) => inner.to_string(),
        DataFusionError::IoError(inner) => inner.to_string(),
        DataFusionError::SQL(inner, _) => match inner.as_ref() {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => format!("syntax error: {text}"),
            ParserError::RecursionLimitExceeded => "the statement is nested too deeply".to_owned(),
        },
        DataFusionError::SchemaError(inner, _) => inner.to_string(),
        DataFusionError::NotImplemented(text)
        | DataFusionError::Plan(text)
        | DataFusionError::Configuration(text)
        | DataFusionError::Execution(text)
        | DataFusionError::ResourcesExhausted(text) => text.clone(),
        DataFusionError::Internal(text) => format!("internal error: {text}"),
        other => other.strip_backtrace(),
    }
}

fn arrow(error: &ArrowError) -> String {
    match error {
        ArrowError::ExternalError(inner) => external(inner.as_ref()),
        ArrowError::CastError(text) | ArrowError::ComputeError(text) | ArrowError::InvalidArgumentError(text) => {
            text.clone()
        }
        other => other.to_string(),
    }
}

fn external(error: &(dyn StdError + Send + Sync + 'static)) -> String {
    if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        return root(inner);
    }
    if let Some(inner) = error.downcast_ref::<ArrowError>() {
        return arrow(inner);
    }
    error.to_string()
}

fn one_line(text: &str) -> String {
    let text = text.split(DataFusionError::BACK_TRACE_SEP).next().unwrap_or(text);
    let text = text.split("This issue was likely caused by a bug in DataFusion's code").next().unwrap_or(text);
    // `Plan` errors are made from other errors' texts here and there.
    let text = text.trim_start_matches("Error during planning: ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_cause_comes_first_and_alone() {
        let engine = hyperslab::Error::not_found("there is no array \"a\"").with("store", "x.slab");
        let wrapped = DataFusionError::Context(
            "push_down_filter".into(),
            Box::new(DataFusionError::ArrowError(
                Box::new(ArrowError::ExternalError(Box::new(DataFusionError::External(Box::new(engine))))),
                None,
            )),
        );
        assert_eq!(message(&wrapped), "there is no array \"a\" (store: x.slab)");
        let plan = DataFusionError::Plan("k must be positive,\n  not 0".into());
        assert_eq!(message(&plan), "k must be positive, not 0");
        let sql = DataFusionError::SQL(Box::new(ParserError::ParserError("Expected: x".into())), None);
        assert_eq!(message(&sql), "syntax error: Expected: x");
    }
}
