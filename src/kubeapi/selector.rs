//! Field and label selectors, as far as they change what a request is.
//!
//! A field selector `metadata.name=x` makes a list or watch one of the object `x`; any option
//! that does not parse makes the API server ignore it. So the field selector is parsed and the
//! label selector recognised, both by the server's grammar. Matching objects is not done here
//! (the sample cluster does its own). Invariant: linear time, bounded memory, no panic.

/// An option that the API server would not parse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

// === Field selectors ===

/// The name that the field selector pins: the first exact match of `metadata.name` in the order of
/// the sorted terms, when it can be a path segment. An empty one pins nothing.
pub(super) fn exact_name(selector: &[u8]) -> Result<Option<String>, Malformed> {
    let mut terms = split_terms(selector);
    terms.sort_unstable();
    let mut pinned: Option<Vec<u8>> = None;
    for term in terms.into_iter().filter(|term| !term.is_empty()) {
        let (field, negated, value) = split_term(term).ok_or(Malformed)?;
        let value = unescape_value(value)?;
        // A term with neither field nor value selects everything, and names nothing.
        if !negated && field == b"metadata.name" && pinned.is_none() {
            pinned = Some(value);
        }
    }
    Ok(pinned
        .map(|name| go_string(&name))
        .filter(|name| !name.is_empty() && !matches!(name.as_str(), "." | ".."))
        .filter(|name| !name.contains(['/', '%'])))
}

/// Splits at commas that no backslash precedes.
fn split_terms(selector: &[u8]) -> Vec<&[u8]> {
    let mut escaped = false;
    selector
        .split(|&byte| {
            let separates = !escaped && byte == b',';
            escaped = !escaped && byte == b'\\';
            separates
        })
        .collect()
}

/// Field, whether the operator negates, and the raw value; split at the first operator.
fn split_term(term: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    (0..term.len()).find_map(|at| {
        let (field, rest) = term.split_at(at);
        let (negated, value) = match rest {
            [b'!', b'=', value @ ..] => (true, value),
            [b'=', b'=', value @ ..] | [b'=', value @ ..] => (false, value),
            _ => return None,
        };
        Some((field, negated, value))
    })
}

fn unescape_value(raw: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut value = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next() {
                Some(escaped @ (b'\\' | b',' | b'=')) => value.push(escaped),
                _ => return Err(Malformed),
            },
            b',' | b'=' => return Err(Malformed),
            plain => value.push(plain),
        }
    }
    Ok(value)
}

/// Go writes one U+FFFD for every byte that is not UTF-8, in its audit log too.
fn go_string(bytes: &[u8]) -> String {
    bytes
        .utf8_chunks()
        .fold(String::with_capacity(bytes.len()), |mut text, chunk| {
            text.push_str(chunk.valid());
            text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
            text
        })
}

// === Label selectors ===

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// A key, a value, or the words `in` and `notin`, which are both.
    Word(&'a [u8]),
    /// `=`, `==`, `!=`.
    Equality,
    /// `<`, `>`.
    Order,
    Not,
    Comma,
    Open,
    Close,
    End,
}

/// Reads tokens one at a time; at the end it gives [`Token::End`] for ever.
#[derive(Debug, Clone)]
struct Lexer<'a> {
    rest: &'a [u8],
}

impl<'a> Lexer<'a> {
    fn next(&mut self) -> Token<'a> {
        while let [b' ' | b'\t' | b'\r' | b'\n', rest @ ..] = self.rest {
            self.rest = rest;
        }
        let (token, rest) = match self.rest {
            // To the server a NUL is the end of the text, or of the token before it.
            [] | [0, ..] => return Token::End,
            [b'!', b'=', rest @ ..] | [b'=', b'=', rest @ ..] | [b'=', rest @ ..] => {
                (Token::Equality, rest)
            }
            [b'<' | b'>', rest @ ..] => (Token::Order, rest),
            [b'!', rest @ ..] => (Token::Not, rest),
            [b',', rest @ ..] => (Token::Comma, rest),
            [b'(', rest @ ..] => (Token::Open, rest),
            [b')', rest @ ..] => (Token::Close, rest),
            word => {
                let ends = |byte: &u8| {
                    matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n')
                        || matches!(byte, b'=' | b'!' | b'(' | b')' | b',' | b'>' | b'<')
                };
                let length = word.iter().position(ends).unwrap_or(word.len());
                let (word, rest) = word.split_at(length);
                (Token::Word(word), rest)
            }
        };
        self.rest = rest.strip_prefix(b"\0").unwrap_or(rest);
        token
    }

    fn peek(&self) -> Token<'a> {
        self.clone().next()
    }
}

/// Whether the API server would parse this label selector.
pub(super) fn is_label_selector(selector: &[u8]) -> bool {
    let mut lexer = Lexer { rest: selector };
    if lexer.peek() == Token::End {
        return true;
    }
    loop {
        if !requirement(&mut lexer) {
            return false;
        }
        match lexer.next() {
            Token::End => return true,
            Token::Comma => {}
            _ => return false,
        }
    }
}

fn requirement(lexer: &mut Lexer<'_>) -> bool {
    let (negated, key) = match lexer.next() {
        Token::Not => (true, lexer.next()),
        other => (false, other),
    };
    let Token::Word(key) = key else { return false };
    if !is_label_key(key) {
        return false;
    }
    if negated || matches!(lexer.peek(), Token::End | Token::Comma) {
        return true;
    }
    match lexer.next() {
        Token::Equality => exact_value(lexer, is_label_value),
        Token::Order => exact_value(lexer, |value| is_int64(value) && is_label_value(value)),
        Token::Word(b"in" | b"notin") => value_set(lexer),
        _ => false,
    }
}

/// One value, or none where the requirement ends at once.
fn exact_value(lexer: &mut Lexer<'_>, accepts: impl Fn(&[u8]) -> bool) -> bool {
    if matches!(lexer.peek(), Token::End | Token::Comma) {
        return accepts(b"");
    }
    matches!(lexer.next(), Token::Word(value) if accepts(value))
}

/// `(a,b,,c)`: words and commas, no two words side by side; empty values are allowed.
fn value_set(lexer: &mut Lexer<'_>) -> bool {
    if lexer.next() != Token::Open {
        return false;
    }
    let mut after_word = false;
    loop {
        match lexer.next() {
            Token::Close => return true,
            Token::Comma => after_word = false,
            Token::Word(value) if !after_word && is_label_value(value) => after_word = true,
            _ => return false,
        }
    }
}

/// An optional DNS subdomain and `/`, then a name of up to 63 bytes.
fn is_label_key(key: &[u8]) -> bool {
    let name = match key.iter().position(|&byte| byte == b'/') {
        Some(at) if !is_subdomain(&key[..at]) => return false,
        Some(at) => &key[at + 1..],
        None => key,
    };
    !name.is_empty() && is_label_value(name)
}

/// Empty, or up to 63 bytes of letters, digits, `-`, `_` and `.` that begin and end with a letter
/// or digit.
fn is_label_value(value: &[u8]) -> bool {
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    value.len() <= 63
        && edge(value.first())
        && edge(value.last())
        && value
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// A lower-case RFC 1123 subdomain of up to 253 bytes.
fn is_subdomain(text: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= 253
        && text.split(|&byte| byte == b'.').all(|label| {
            label.first().is_some_and(plain)
                && label.last().is_some_and(plain)
                && label.iter().all(|byte| plain(byte) || *byte == b'-')
        })
}

/// Whether Go's `strconv.ParseInt(text, 10, 64)` takes it.
pub(super) fn is_int64(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<i64>().is_ok())
}
