//! The tar archive inside a pack (POSIX.1-2001, "ustar" with pax headers): written, and read back strictly. What we do not
//! write ourselves is refused, so that no member can be a device, a symbolic link, or stand outside its folder.

use hyperslab_core::{Error, Result};

/// What a tar archive is made of.
pub(crate) const BLOCK: usize = 512;
/// Ends the archive: two blocks of zeros.
pub(crate) const END: usize = 2 * BLOCK;
/// The largest size that the field of a header holds: eleven octal digits.
const LARGEST: u64 = (1 << 33) - 1;
/// The longest text of a pax header that is read: one line of JSON.
const LONGEST_PAX: u64 = 64 << 10;

const FILE: u8 = b'0';
const LINK: u8 = b'1';
const PAX: u8 = b'x';
const GLOBAL: u8 = b'g';

/// A header, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Header {
    /// A file of so many bytes.
    File { path: String, size: u64 },
    /// A file that holds the same as an earlier one, `target`.
    Link { path: String, target: String },
    /// A pax header for the next member, or (`global`) for all: so many bytes of records follow.
    Pax { global: bool, size: u64 },
    /// The first of the two blocks that end the archive.
    End,
}

/// The bytes from the end of a member of `size` bytes to the next header.
pub(crate) fn padding(size: u64) -> usize {
    (size.next_multiple_of(BLOCK as u64) - size) as usize
}

/// The header, or headers, of a file.
///
/// # Errors
/// `Invalid` for a path that tar's own fields cannot hold.
pub(crate) fn file(path: &str, size: u64, mtime: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if size > LARGEST {
        pax(&mut bytes, PAX, &record("size", &size.to_string()), mtime)?;
    }
    bytes.extend_from_slice(&header(path, if size > LARGEST { 0 } else { size }, FILE, "", mtime)?);
    Ok(bytes)
}

/// The header of a file that holds the same as `target`.
///
/// # Errors
/// `Invalid` for paths that tar's own fields cannot hold.
pub(crate) fn link(path: &str, target: &str, mtime: u64) -> Result<Vec<u8>> {
    if target.len() > 100 {
        // Longer than the field: the pax record takes its place.
        let mut bytes = Vec::new();
        pax(&mut bytes, PAX, &record("linkpath", target), mtime)?;
        bytes.extend_from_slice(&header(path, 0, LINK, "", mtime)?);
        return Ok(bytes);
    }
    header(path, 0, LINK, target, mtime)
}

/// The pax header that begins the archive, with a comment, which every tar passes over.
///
/// # Errors
/// None in fact.
pub(crate) fn comment(text: &str, mtime: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pax(&mut bytes, GLOBAL, &record("comment", text), mtime)?;
    Ok(bytes)
}

/// A pax record: its own length in decimal digits, a space, `key=value`, a newline.
fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    format!("{len} {key}={value}\n")
}

fn pax(bytes: &mut Vec<u8>, kind: u8, records: &str, mtime: u64) -> Result<()> {
    let name = if kind == GLOBAL { "pax_global_header" } else { "pax_header" };
    bytes.extend_from_slice(&header(name, records.len() as u64, kind, "", mtime)?);
    bytes.extend_from_slice(records.as_bytes());
    bytes.resize(bytes.len() + padding(records.len() as u64), 0);
    Ok(())
}

fn header(path: &str, size: u64, kind: u8, target: &str, mtime: u64) -> Result<Vec<u8>> {
    let (prefix, name) = split(path)?;
    let mut bytes = vec![0; BLOCK];
    let mut put = |at: usize, text: &[u8]| {
        if let Some(field) = bytes.get_mut(at..at + text.len()) {
            field.copy_from_slice(text);
        }
    };
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, format!("{:011o}\0", mtime.min(LARGEST)).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    put(345, prefix.as_bytes());
    let sum: u32 = bytes.iter().map(|&b| u32::from(b)).sum();
    if let Some(field) = bytes.get_mut(148..156) {
        field.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    Ok(bytes)
}

/// The two fields that hold a path: at most 155 bytes before a separator, 100 after it.
fn split(path: &str) -> Result<(&str, &str)> {
    if path.len() <= 100 {
        return Ok(("", path));
    }
    let fits = |(at, _): &(usize, &str)| *at <= 155 && path.len() - at - 1 <= 100;
    let at = path.match_indices('/').find(fits).map(|(at, _)| at);
    at.and_then(|at| Some((path.get(..at)?, path.get(at + 1..)?)))
        .ok_or_else(|| Error::invalid(format!("the path {path} is too long for a tar archive")))
}

impl Header {
    /// Reads a block.
    ///
    /// # Errors
    /// `Corrupt`, saying why; the caller names the file.
    pub(crate) fn parse(block: &[u8]) -> Result<Self> {
        if block.iter().all(|&b| b == 0) {
            return Ok(Self::End);
        }
        let field = |at: usize, len: usize| block.get(at..at + len).unwrap_or_default();
        let sum: u32 =
            block.iter().enumerate().map(|(i, &b)| u32::from(if (148..156).contains(&i) { b' ' } else { b })).sum();
        if octal(field(148, 8)) != Some(sum) {
            return Err(Error::corrupt("a tar header has another checksum than it says"));
        }
        if field(257, 8) != b"ustar\x0000" {
            return Err(Error::corrupt("a tar header is not of the format ustar"));
        }
        let size = octal::<u64>(field(124, 12)).ok_or_else(|| Error::corrupt("a tar header says no size"))?;
        let (name, prefix, target) = (text(field(0, 100))?, text(field(345, 155))?, text(field(157, 100))?);
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        match block.get(156).copied().unwrap_or(0) {
            FILE => Ok(Self::File { path, size }),
            LINK if size == 0 => Ok(Self::Link { path, target }),
            kind @ (PAX | GLOBAL) if size <= LONGEST_PAX => Ok(Self::Pax { global: kind == GLOBAL, size }),
            kind => Err(Error::corrupt(format!(
                "the member {path:?} is of type {:?}; a pack holds files only",
                char::from(kind)
            ))),
        }
    }
}

/// The one record of a pax header.
///
/// # Errors
/// `Corrupt` for anything else.
pub(crate) fn parse_record(bytes: &[u8]) -> Result<(&str, &str)> {
    let bad = || Error::corrupt("a pax header of the tar archive is not understood");
    let line = std::str::from_utf8(bytes).map_err(|_| bad())?;
    let (len, rest) = line.split_once(' ').ok_or_else(bad)?;
    if len.parse() != Ok(line.len()) {
        return Err(bad());
    }
    rest.strip_suffix('\n').and_then(|rest| rest.split_once('=')).ok_or_else(bad)
}

/// Text up to the first NUL, after which there is nothing else.
fn text(field: &[u8]) -> Result<String> {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    let (text, rest) = field.split_at(end);
    match std::str::from_utf8(text) {
        Ok(text) if rest.iter().all(|&b| b == 0) => Ok(text.to_owned()),
        _ => Err(Error::corrupt("a tar header names a file in bytes that are no text")),
    }
}

/// Octal digits with NULs or spaces behind them.
fn octal<T: TryFrom<u64>>(field: &[u8]) -> Option<T> {
    let digits = field.iter().position(|b| matches!(b, 0 | b' ')).unwrap_or(field.len());
    let (digits, rest) = field.split_at(digits);
    if digits.is_empty() || rest.iter().any(|b| !matches!(b, 0 | b' ')) {
        return None;
    }
    T::try_from(u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn headers_are_read_back() {
        let path = format!("demo.slab/arrays/{}/{}-3.npy.zst", "a".repeat(60), "b".repeat(36));
        assert!(path.len() > 100);
        let bytes = file(&path, 77, 5).unwrap();
        assert_eq!(Header::parse(&bytes).unwrap(), Header::File { path: path.clone(), size: 77 });
        assert_eq!(Header::parse(&[0; BLOCK]).unwrap(), Header::End);
        let short = link("a/b", "a/c", 5).unwrap();
        assert_eq!(Header::parse(&short).unwrap(), Header::Link { path: "a/b".into(), target: "a/c".into() });
        let long = link("a/b", &path, 5).unwrap();
        assert_eq!(long.len(), 3 * BLOCK);
        let Header::Pax { global: false, size } = Header::parse(&long[..BLOCK]).unwrap() else { unreachable!() };
        assert_eq!(parse_record(&long[BLOCK..BLOCK + size as usize]).unwrap(), ("linkpath", path.as_str()));
    }

    #[test]
    fn sizes_of_more_than_eight_gibibytes_are_pax_records() {
        let bytes = file("x", LARGEST + 1, 0).unwrap();
        assert_eq!(Header::parse(&bytes[..BLOCK]).unwrap(), Header::Pax { global: false, size: 19 });
        assert_eq!(parse_record(&bytes[BLOCK..BLOCK + 19]).unwrap(), ("size", "8589934592"));
        assert_eq!(Header::parse(&bytes[2 * BLOCK..]).unwrap(), Header::File { path: "x".into(), size: 0 });
        assert_eq!(file("x", LARGEST, 0).unwrap().len(), BLOCK);
    }

    #[test]
    fn a_record_counts_its_own_digits() {
        for n in 0..300 {
            let text = record("comment", &"x".repeat(n));
            assert_eq!(parse_record(text.as_bytes()).unwrap(), ("comment", "x".repeat(n).as_str()));
        }
    }

    #[test]
    fn what_we_do_not_write_is_refused() {
        let good = file("a", 1, 0).unwrap();
        for at in 0..BLOCK {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(Header::parse(&bad).is_err(), "byte {at}");
        }
        for kind in [b'2', b'3', b'4', b'5', b'6', b'L', b'K', b'S', 0] {
            assert!(Header::parse(&header("a", 0, kind, "b", 0).unwrap()).is_err());
        }
    }
}
