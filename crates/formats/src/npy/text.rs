//! Text as NumPy's `U`: UCS-4 code units, each text filled up with 0 to as many as the longest one has.

use arrow_array::LargeStringArray;
use hyperslab_core::{ByteOrder, Error, Result};

use crate::WriteOptions;

/// The most characters of a text: NumPy counts the bytes of a dtype with 32 bits.
pub(crate) const MOST_CHARACTERS: usize = (1 << 29) - 1;
/// The option that says how many characters each text has.
pub(crate) const TEXT_WIDTH: &str = "text_width";

/// The value of that option.
pub(crate) fn text_width(options: &WriteOptions) -> Result<Option<usize>> {
    options.number(TEXT_WIDTH, 1..=MOST_CHARACTERS)
}

/// Refuses texts that have more characters, or end with a NUL, which would be lost. None of them is NULL.
pub(super) fn check_text(field: &str, texts: &LargeStringArray, first_row: u64, most: usize) -> Result<()> {
    for (i, text) in texts.iter().enumerate() {
        let (row, text) = (first_row + i as u64, text.unwrap_or_default());
        if text.ends_with('\0') {
            return Err(Error::invalid(format!(
                "field {field:?}: the text of row {row} ends with a NUL character, which NumPy's texts cannot hold; remove it, or write HDF5, Zarr or Parquet"
            )));
        }
        // A character has at least one byte.
        if text.len() > most && text.chars().count() > most {
            return Err(Error::invalid(format!(
                "field {field:?}: the text of row {row} has {} characters, and each in the file has room for {most}; shorten it, as with left(), or write a file with a larger option {TEXT_WIDTH}",
                text.chars().count()
            )));
        }
    }
    Ok(())
}

/// Appends a text of not more characters than given, filled up.
pub(super) fn put_text(text: &str, characters: usize, order: ByteOrder, to: &mut Vec<u8>) {
    let end = to.len() + characters * 4;
    match order {
        ByteOrder::Little => text.chars().for_each(|c| to.extend_from_slice(&u32::from(c).to_le_bytes())),
        ByteOrder::Big => text.chars().for_each(|c| to.extend_from_slice(&u32::from(c).to_be_bytes())),
    }
    to.resize(end, 0);
}
