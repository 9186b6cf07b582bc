//! Percent escapes of a path: what is decoded, what is refused, what is written back.
//!
//! Owns bytes and escapes only; where a segment stands and what it means is [`super::path`]'s and
//! [`super::attributes`]'s. Invariant: decoding what [`encode`] wrote gives the same text back.

use super::path::PathError;

/// Decodes one path segment, or a whole tail where `tail` is set: there `%2F` and `%25` are data
/// that the service behind the proxy wants to see, and are let through.
///
/// Go decodes the path before it splits it, so a `%2F` elsewhere would move every segment after
/// it, and a `%25` would leave an escape for whoever decodes next.
pub(super) fn decode(raw: &str, tail: bool) -> Result<String, PathError> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let (digits, after) = after.split_at_checked(2).ok_or(PathError::Escape)?;
        let escaped = hex_pair(digits).ok_or(PathError::Escape)?;
        if !tail && matches!(escaped, b'/' | b'%') {
            return Err(PathError::EscapedSeparator);
        }
        bytes.push(escaped);
        rest = after;
    }
    let text = String::from_utf8(bytes).map_err(|_| PathError::Encoding)?;
    if text.chars().any(|c| c.is_control() || c == '\\') {
        return Err(PathError::Byte);
    }
    // The splits differ only in a tail, where a decoded `/` separates for whoever comes next.
    if text.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(PathError::DotSegment);
    }
    Ok(text)
}

/// Writes a decoded segment with every byte escaped that RFC 3986 does not allow in one.
pub(super) fn encode(text: &str, out: &mut String) {
    for &byte in text.as_bytes() {
        push(byte, is_segment_byte(byte), out);
    }
}

/// Writes a tail as received: its escapes stay, and only bytes that may not stand in a URI are
/// escaped. `raw` has passed [`decode`].
pub(super) fn normalise_tail(raw: &str, out: &mut String) {
    for &byte in raw.as_bytes() {
        push(
            byte,
            is_segment_byte(byte) || matches!(byte, b'/' | b'%'),
            out,
        );
    }
}

/// The value of two hexadecimal digits.
pub(super) fn hex_pair(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let high = char::from(*high).to_digit(16)?;
    let low = char::from(*low).to_digit(16)?;
    u8::try_from(high << 4 | low).ok()
}

fn push(byte: u8, plain: bool, out: &mut String) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    if plain {
        out.push(char::from(byte));
    } else {
        out.push('%');
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 0xF)]);
    }
}

/// `pchar` of RFC 3986, section 3.3, without its escapes.
const fn is_segment_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}
