//! The checksum that ends every file of the log.
//!
//! A sealed text is one line of JSON: `{…,"crc32c":"xxxxxxxx"}` and a newline. The checksum covers every byte before
//! the comma that precedes `"crc32c"`.

use hyperslab_core::{Error, Result};
use serde::Serialize;

use crate::action::Crc;
use crate::layout::{SEAL_HEAD, SEAL_TAIL};

/// Writes `value`, a JSON object, with its checksum.
///
/// # Errors
/// `Invalid` if it is no object that JSON can hold.
pub(crate) fn seal(value: &impl Serialize) -> Result<(Vec<u8>, Crc)> {
    let mut bytes = serde_json::to_vec(value).map_err(|e| Error::invalid("this cannot be logged").because(e))?;
    bytes.pop(); // the closing brace
    let crc = Crc::of(&bytes);
    bytes.extend_from_slice(format!("{SEAL_HEAD}{crc}{SEAL_TAIL}").as_bytes());
    Ok((bytes, crc))
}

/// Checks a sealed text and gives its checksum and its JSON without it.
///
/// # Errors
/// `Corrupt`, saying whether the text is cut short or altered; the caller names the file.
pub(crate) fn unseal(bytes: &[u8]) -> Result<(String, Crc)> {
    let cut = || Error::corrupt("it is cut short or no longer what was written: it does not end with its checksum");
    let rest = bytes.strip_suffix(SEAL_TAIL.as_bytes()).ok_or_else(cut)?;
    let (rest, digits) = rest.split_at_checked(rest.len().wrapping_sub(8)).ok_or_else(cut)?;
    let written = std::str::from_utf8(digits).ok().and_then(Crc::parse).ok_or_else(cut)?;
    let body = rest.strip_suffix(SEAL_HEAD.as_bytes()).ok_or_else(cut)?;
    let found = Crc::of(body);
    if found != written {
        return Err(Error::corrupt(format!(
            "it was altered: its bytes have the checksum {found} and it says {written}"
        )));
    }
    let mut text = String::from_utf8(body.to_vec()).map_err(|e| Error::corrupt("it is not UTF-8").because(e))?;
    text.push('}');
    Ok((text, written))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_altered_or_missing_byte_is_noticed() {
        let (bytes, crc) = seal(&serde_json::json!({"a": [1, 2], "b": "crc32c"})).unwrap();
        assert!(bytes.ends_with(b"\"}\n"));
        assert_eq!(unseal(&bytes).unwrap(), (r#"{"a":[1,2],"b":"crc32c"}"#.to_owned(), crc));
        // Pinned: crc32c (Castagnoli) of `{"a":[1,2],"b":"crc32c"`.
        assert_eq!(crc, Crc::of(br#"{"a":[1,2],"b":"crc32c""#));
        for n in 0..bytes.len() {
            assert!(unseal(&bytes[..n]).is_err(), "cut at {n}");
            let mut altered = bytes.clone();
            altered[n] ^= 1;
            assert!(unseal(&altered).is_err(), "altered at {n}");
        }
    }
}
