//! What viewers come back with.

use super::fleet::read_cursor;

/// A cursor. What is read is written and read again.
pub(crate) fn cursor(data: &[u8]) {
    let Some((epoch, seq)) = std::str::from_utf8(data).ok().and_then(read_cursor) else { return };
    assert_eq!(read_cursor(&format!("{epoch}.{seq}")), Some((epoch, seq)));
}
