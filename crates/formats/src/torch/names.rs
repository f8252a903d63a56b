//! The names of tensors in dicts and lists of dicts and lists.

use hyperslab_core::{Error, Result};

use super::pickle::{Id, Object, Objects};
use super::tensor::Tensor;

const MAX_DEPTH: usize = 64;
/// How many times the pickle's bytes the names may have together: a list within itself many times over would have any
/// number of names.
const NAMES: usize = 64;
const LEAST: usize = 64 << 10;

/// What is found in the result of a pickle.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Tensors by name, in order.
    pub(super) tensors: Vec<(String, Tensor)>,
    /// Numbers and texts by name, as text.
    pub(super) plain: Vec<(String, String)>,
}

/// Finds the tensors in a result. One that is the result itself has the name `alone`.
///
/// # Errors
/// `Unsupported` for what is nested too deep or too often.
pub(super) fn find(objects: &Objects, result: Id, alone: &str, pickle_bytes: usize) -> Result<Found> {
    let left = pickle_bytes.saturating_mul(NAMES).max(LEAST);
    let mut walk = Walk { objects, left, found: Found::default() };
    walk.visit(result, &mut String::new(), 0, alone)?;
    Ok(walk.found)
}

struct Walk<'a> {
    objects: &'a Objects<'a>,
    /// Bytes that names may still have.
    left: usize,
    found: Found,
}

impl Walk<'_> {
    fn visit(&mut self, id: Id, name: &mut String, depth: usize, alone: &str) -> Result<()> {
        let named = |name: &str| if depth == 0 { alone.to_owned() } else { name.to_owned() };
        self.left = self.left.checked_sub(8 + name.len()).ok_or_else(|| {
            Error::unsupported("its lists and dicts hold each other so often that there are too many names")
        })?;
        if depth > MAX_DEPTH {
            return Err(Error::unsupported(format!("its lists and dicts are nested more than {MAX_DEPTH} deep")));
        }
        let objects = self.objects;
        match objects.get(id) {
            Object::Tensor(tensor) => self.found.tensors.push((named(name), (**tensor).clone())),
            Object::Dict(items) => {
                for (key, value) in items {
                    let Some(key) = plain(objects.get(*key)) else {
                        return Err(Error::unsupported(
                            "its pickle has a dict whose keys are neither texts nor numbers, so that what it holds has no name",
                        ));
                    };
                    self.inner(&key, *value, name, depth)?;
                }
            }
            Object::List(items) | Object::Tuple(items) => {
                for (i, item) in items.iter().enumerate() {
                    self.inner(&i.to_string(), *item, name, depth)?;
                }
            }
            other => {
                if let Some(text) = plain(other) {
                    self.left = self.left.saturating_sub(text.len());
                    self.found.plain.push((named(name), text));
                }
            }
        }
        Ok(())
    }

    fn inner(&mut self, key: &str, value: Id, name: &mut String, depth: usize) -> Result<()> {
        let length = name.len();
        if depth > 0 {
            name.push('.');
        }
        name.push_str(key);
        self.visit(value, name, depth + 1, "")?;
        name.truncate(length);
        Ok(())
    }
}

/// A number or a text as text.
fn plain(object: &Object) -> Option<String> {
    Some(match object {
        Object::Bool(b) => if *b { "True" } else { "False" }.to_owned(),
        Object::Int(n) => n.to_string(),
        Object::Float(x) => x.to_string(),
        Object::Text(text) => text.to_string(),
        Object::None => "None".to_owned(),
        _ => return None,
    })
}
