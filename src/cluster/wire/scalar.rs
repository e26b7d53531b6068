//! Numbers and dates as `JSON.stringify` writes them.

use std::fmt::Write;

/// Appends a number: whole ones without a fraction, NaN and the infinities as `null`.
pub(super) fn put_number(out: &mut String, value: f64) {
    let magnitude = value.abs();
    if !value.is_finite() {
        out.push_str("null");
    } else if value == 0.0 {
        out.push('0'); // Also for -0.
    } else if (1e-6..1e21).contains(&magnitude) {
        put(out, format_args!("{value}"));
    } else {
        let start = out.len();
        put(out, format_args!("{value:e}"));
        if let Some(at) = out[start..].find('e').map(|at| start + at + 1)
            && out.as_bytes().get(at) != Some(&b'-')
        {
            out.insert(at, '+');
        }
    }
}

/// The dates that JavaScript has: 100,000,000 days on both sides of 1970.
const DATE_MS_MAX: i64 = 8_640_000_000_000_000;
const DAY_MS: i64 = 86_400_000;

/// Appends a date as ISO 8601 text in UTC, and `null` for what is no date.
pub(super) fn put_date(out: &mut String, ms: f64) {
    #[expect(clippy::cast_precision_loss, reason = "the limit is exact in a float")]
    let is_date = ms.is_finite() && ms.abs() <= DATE_MS_MAX as f64;
    if !is_date {
        return out.push_str("null");
    }
    #[expect(clippy::cast_possible_truncation, reason = "dates have whole milliseconds")]
    let ms = ms.trunc() as i64;
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    let ms = ms.rem_euclid(DAY_MS);
    out.push('"');
    match year {
        0..=9999 => put(out, format_args!("{year:04}")),
        _ => put(out, format_args!("{year:+07}")),
    }
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    put(out, format_args!("-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z\"", ms % 1000));
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory");
}

/// Year, month and day of a day counted from 1970-01-01, after Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: f64) -> String {
        let mut out = String::new();
        put_number(&mut out, value);
        out
    }

    fn date(ms: f64) -> String {
        let mut out = String::new();
        put_date(&mut out, ms);
        out
    }

    /// Expected values from `JSON.stringify` of Node 20.
    #[test]
    fn numbers_read_as_javascript_writes_them() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (0.000_001, "0.000001"),
            (1e-7, "1e-7"),
            (1.25e-9, "1.25e-9"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1e21, "1e+21"),
            (-1e300, "-1e+300"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "null"),
            (f64::NEG_INFINITY, "null"),
        ] {
            assert_eq!(number(value), expected, "{value:e}");
        }
    }

    /// Expected values from `new Date(ms).toISOString()` of Node 20.
    #[test]
    fn dates_read_as_javascript_writes_them() {
        for (ms, expected) in [
            (0.0, "\"1970-01-01T00:00:00.000Z\""),
            (-1.0, "\"1969-12-31T23:59:59.999Z\""),
            (1_700_000_000_123.0, "\"2023-11-14T22:13:20.123Z\""),
            (951_782_400_000.0, "\"2000-02-29T00:00:00.000Z\""),
            (253_402_300_800_000.0, "\"+010000-01-01T00:00:00.000Z\""),
            (-62_167_219_200_001.0, "\"-000001-12-31T23:59:59.999Z\""),
            (8.64e15, "\"+275760-09-13T00:00:00.000Z\""),
            (-8.64e15, "\"-271821-04-20T00:00:00.000Z\""),
            (8.640_000_000_000_001e15, "null"),
            (f64::NAN, "null"),
        ] {
            assert_eq!(date(ms), expected, "{ms}");
        }
    }
}
