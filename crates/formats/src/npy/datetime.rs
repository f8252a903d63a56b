//! NumPy's units of time that are not ours, brought to seconds or a multiple of a unit.

/// NumPy's NaT.
const NAT: i64 = i64::MIN;

/// How counts become counts of our unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// So many of our unit each.
    Times(i64),
    /// So many months each since 1970-01, to seconds since then.
    Months(i64),
}

/// Brings little-endian counts to ours. An error has the position of the element.
pub(crate) fn scale(bytes: &mut [u8], scale: Scale) -> Result<(), (usize, String)> {
    for (i, slot) in bytes.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let count = i64::from_le_bytes(*slot);
        if count == NAT {
            continue;
        }
        let scaled = match scale {
            Scale::Times(n) => count.checked_mul(n),
            Scale::Months(n) => count.checked_mul(n).and_then(month_start),
        };
        let scaled = scaled.filter(|&s| s != NAT);
        let scaled = scaled.ok_or_else(|| (i, format!("the time {count} is beyond the range of 64-bit seconds")))?;
        *slot = scaled.to_le_bytes();
    }
    Ok(())
}

/// Seconds from 1970-01-01 to the start of the month that is so many after 1970-01, in the proleptic Gregorian calendar.
fn month_start(months: i64) -> Option<i64> {
    let (year, month) = (months.div_euclid(12).checked_add(1970)?, months.rem_euclid(12));
    // Years that start in March, so that the leap day is the last: days_from_civil of
    // https://howardhinnant.github.io/date_algorithms.html.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let days = of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5;
    era.checked_mul(146_097)?.checked_add(days - 719_468)?.checked_mul(86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_start_where_numpy_has_them() {
        // numpy.datetime64('1969-12').astype('M8[s]').astype(int) and so on.
        for (month, seconds) in [(0, 0), (-1, -2_678_400), (1, 2_678_400), (361, 949_363_200), (362, 951_868_800)] {
            assert_eq!(month_start(month), Some(seconds), "{month}");
        }
        assert_eq!(month_start(-12 * 1970), Some(-62_167_219_200));
        assert_eq!(month_start(i64::MAX), None);
    }
}
