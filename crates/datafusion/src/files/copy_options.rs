//! The options of COPY that every format has: what becomes of a file that is there, and how many rows go into one.

use std::collections::HashMap;

use datafusion::common::{Result, plan_err};

/// What a COPY does where a file of the name is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// It is an error.
    #[default]
    Create,
    /// It is replaced when the new one is whole.
    Overwrite,
    /// It grows.
    Append,
}

const MODES: [(&str, Mode); 3] = [("create", Mode::Create), ("overwrite", Mode::Overwrite), ("append", Mode::Append)];
const MODE: &str = "mode";
const OVERWRITE: &str = "overwrite";
const ROWS_PER_FILE: &str = "rows_per_file";

/// The options of COPY that are no format's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CopyOptions {
    pub(crate) mode: Mode,
    /// Rows of each file but the last, of a numbered series of files.
    pub(crate) rows_per_file: Option<u64>,
}

impl CopyOptions {
    /// Takes them from the options of a planned COPY, where DataFusion has put `format.` before their names.
    ///
    /// # Errors
    /// A value that is none of an option's, and options that contradict each other.
    pub(crate) fn take(options: &mut HashMap<String, String>) -> Result<Self> {
        let mut take = |name: &str| options.remove(&format!("format.{name}")).or_else(|| options.remove(name));
        let mode = match take(MODE) {
            None => None,
            Some(text) => match MODES.iter().find(|(name, _)| name.eq_ignore_ascii_case(&text)) {
                Some((_, mode)) => Some(*mode),
                None => return plan_err!("option {MODE}: {text:?} is none of create, overwrite, append"),
            },
        };
        let overwrite = match take(OVERWRITE) {
            None => None,
            Some(text) => Some(truth(OVERWRITE, &text)?),
        };
        let mode = match (mode, overwrite) {
            (None, Some(true)) => Mode::Overwrite,
            (Some(mode), Some(overwrite)) if overwrite != (mode == Mode::Overwrite) => {
                return plan_err!(
                    "option {OVERWRITE} {overwrite} contradicts the option {MODE}; leave one of them out"
                );
            }
            (mode, _) => mode.unwrap_or_default(),
        };
        let rows_per_file = match take(ROWS_PER_FILE) {
            None => None,
            Some(text) => match text.replace('_', "").parse() {
                Ok(rows) if rows > 0 => Some(rows),
                _ => return plan_err!("option {ROWS_PER_FILE}: {text:?} is no number of rows, from 1"),
            },
        };
        if rows_per_file.is_some() && mode == Mode::Append {
            return plan_err!("option {ROWS_PER_FILE} starts new files; leave it or {MODE} 'append' out");
        }
        Ok(Self { mode, rows_per_file })
    }
}

/// The value of an option that is true or false.
pub(crate) fn truth(option: &str, text: &str) -> Result<bool> {
    match text.trim_matches('\'').to_lowercase().as_str() {
        "true" | "on" | "1" => Ok(true),
        "false" | "off" | "0" => Ok(false),
        other => plan_err!("option {option} is true or false, not {other}"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn taken(options: &[(&str, &str)]) -> Result<CopyOptions> {
        let mut map: HashMap<_, _> = options.iter().map(|(k, v)| (format!("format.{k}"), (*v).to_owned())).collect();
        map.insert("format.codec".to_owned(), "gzip".to_owned());
        let taken = CopyOptions::take(&mut map)?;
        assert_eq!(map.len(), 1);
        Ok(taken)
    }

    #[test]
    fn options_are_taken_or_refused() {
        let mode = |options| taken(options).unwrap().mode;
        assert_eq!(mode(&[]), Mode::Create);
        assert_eq!(mode(&[("overwrite", "true")]), Mode::Overwrite);
        assert_eq!(mode(&[("mode", "OVERWRITE"), ("overwrite", "on")]), Mode::Overwrite);
        assert_eq!(mode(&[("mode", "append"), ("overwrite", "false")]), Mode::Append);
        assert_eq!(taken(&[("rows_per_file", "1_000")]).unwrap().rows_per_file, Some(1000));
        for (options, says) in [
            (&[("mode", "x")][..], "none of create, overwrite, append"),
            (&[("overwrite", "perhaps")], "option overwrite is true or false, not perhaps"),
            (&[("mode", "append"), ("overwrite", "true")], "contradicts"),
            (&[("mode", "overwrite"), ("overwrite", "false")], "contradicts"),
            (&[("rows_per_file", "0")], "from 1"),
            (&[("rows_per_file", "5"), ("mode", "append")], "starts new files"),
        ] {
            let error = taken(options).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
