//! How a file is written: whether it may replace another, and the options of its format.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use hyperslab_core::{Error, Result};

/// What a writer may be told. Each format reads its own options and refuses the rest, listing those it knows.
///
/// ```
/// use hyperslab_formats::WriteOptions;
/// let options = WriteOptions::new().overwrite(true).set("codec", "deflate");
/// let npy = hyperslab_formats::Format::named("npy")?;
/// let error = npy.create("a.npy".as_ref(), &[], &options).err().map(|e| e.to_string());
/// assert!(error.is_some_and(|e| e.contains("\"codec\"")));
/// # Ok::<(), hyperslab_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    overwrite: bool,
    options: BTreeMap<String, String>,
}

impl WriteOptions {
    /// Nothing set: an existing file is refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a file of the same name is replaced, when the new one is complete; otherwise it is an error.
    #[must_use]
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Sets an option of the format. Keys are the same in either case; the last value counts.
    #[must_use]
    pub fn set(mut self, key: impl AsRef<str>, value: impl Into<String>) -> Self {
        self.options.insert(key.as_ref().to_lowercase(), value.into());
        self
    }

    /// Whether a file of the same name is replaced.
    pub fn replaces(&self) -> bool {
        self.overwrite
    }

    /// Refuses options other than `known`, which are those of `format`.
    pub(crate) fn check(&self, format: &str, known: &[&str]) -> Result<()> {
        let Some(unknown) = self.options.keys().find(|k| !known.contains(&k.as_str())) else { return Ok(()) };
        let known = if known.is_empty() { "it has none".to_owned() } else { format!("known: {}", known.join(", ")) };
        Err(Error::invalid(format!("{unknown:?} is no option of {format}; {known}")))
    }

    /// An option's text.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str)
    }

    /// An option that is one of several words, with what each stands for.
    pub(crate) fn one_of<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let found = choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
        found.map(|(_, choice)| Some(*choice)).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            Error::invalid(format!("option {key}: {text:?} is none of {}", words.join(", ")))
        })
    }

    /// An option that is a number within a range.
    pub(crate) fn number<T>(&self, key: &str, range: std::ops::RangeInclusive<T>) -> Result<Option<T>>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(text) = self.get(key) else { return Ok(None) };
        text.trim().parse().ok().filter(|n| range.contains(n)).map(Some).ok_or_else(|| {
            let (from, to) = (range.start(), range.end());
            Error::invalid(format!("option {key}: {text:?} is no number from {from} to {to}"))
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn options_are_checked() {
        let options = WriteOptions::new().set("Codec", "DEFLATE").set("level", "12");
        options.check("npz", &["codec", "level"]).unwrap();
        let error = options.check("npz", &["codec"]).unwrap_err().to_string();
        assert_eq!(error, "\"level\" is no option of npz; known: codec");
        assert!(options.check("npy", &[]).unwrap_err().to_string().ends_with("it has none"));
        assert_eq!(options.one_of("codec", &[("none", 1), ("deflate", 2)]).unwrap(), Some(2));
        assert!(options.one_of("codec", &[("none", 1)]).unwrap_err().to_string().contains("none of none"));
        assert_eq!(options.number("level", 1..=12).unwrap(), Some(12));
        assert!(options.number("level", 1..=9).unwrap_err().to_string().contains("from 1 to 9"));
        assert_eq!(options.number("other", 1..=9).unwrap(), None);
    }
}
