//! An array's name: its schema and its own.

use std::fmt;

/// The schema of names that do not say one.
pub const DEFAULT_SCHEMA: &str = "public";

/// A schema's name and an array's name in it. `"a".into()` is `public.a`; a dot is part of the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArrayName {
    /// The schema.
    pub schema: String,
    /// The array.
    pub name: String,
}

impl ArrayName {
    /// A name in a schema.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }
}

impl From<&str> for ArrayName {
    fn from(name: &str) -> Self {
        Self::new(DEFAULT_SCHEMA, name)
    }
}

impl From<&Self> for ArrayName {
    fn from(name: &Self) -> Self {
        name.clone()
    }
}

impl fmt::Display for ArrayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema == DEFAULT_SCHEMA { f.write_str(&self.name) } else { write!(f, "{}.{}", self.schema, self.name) }
    }
}

/// The names that differ from `name` in a few letters, the nearest first, quoted for a message.
pub(crate) fn nearest<'a>(name: &ArrayName, names: impl Iterator<Item = &'a ArrayName>) -> Vec<String> {
    by_distance(&name.name, names.map(|n| (n.name.as_str(), n))).map(|n| format!("{:?}", n.to_string())).collect()
}

/// The same of other names.
pub(crate) fn similar<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    by_distance(name, names.map(|n| (n, n))).map(|n| format!("{n:?}")).collect()
}

fn by_distance<'a, T: Ord>(wanted: &str, names: impl Iterator<Item = (&'a str, T)>) -> impl Iterator<Item = T> {
    let wanted = wanted.to_lowercase();
    let mut near: Vec<(usize, T)> = names
        .take(10_000)
        .map(|(text, n)| (distance(&wanted, &text.to_lowercase()), n))
        .filter(|(d, _)| *d <= wanted.chars().count() / 3 + 1)
        .collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, n)| n)
}

/// Levenshtein's distance: how many letters are inserted, removed or replaced.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for ((&y, &diagonal), &above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or(0);
            next.push((left + 1).min(above + 1).min(diagonal + usize::from(x != y)));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        assert_eq!((distance("kitten", "sitting"), distance("", "ab"), distance("a", "a")), (3, 2, 0));
        let names: Vec<ArrayName> = ["embeddings", "labels", "Embedding"].into_iter().map(ArrayName::from).collect();
        assert_eq!(nearest(&"embeding".into(), names.iter()), ["\"Embedding\"", "\"embeddings\""]);
        assert!(nearest(&"x".into(), names.iter()).is_empty());
    }
}
