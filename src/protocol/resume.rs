//! What an `open` says of resuming a command over a lost channel (P-75, P-78).
//!
//! Owns the key and its one spelling. Owns not: which commands may be resumed (`dispatch`), nor how
//! (`session`). Invariant: a key's digits are in no debug output.

use serde::{Deserialize, Serialize};

/// The secret by which a gateway finds its command again: 128 random bits, as 32 lower-case
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(
    feature = "schema",
    schemars(with = "String", extend("pattern" = "^[0-9a-f]{32}$"))
)]
#[serde(try_from = "String", into = "String")]
pub struct ResumeKey([u8; 16]);

impl ResumeKey {
    /// A key of these bits, which must come from a source of secrets.
    pub const fn new(bits: [u8; 16]) -> Self {
        Self(bits)
    }

    /// The bits.
    pub const fn bits(&self) -> &[u8; 16] {
        &self.0
    }
}

impl std::fmt::Debug for ResumeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResumeKey")
    }
}

impl From<ResumeKey> for String {
    fn from(key: ResumeKey) -> Self {
        format!("{:032x}", u128::from_be_bytes(key.0))
    }
}

impl TryFrom<String> for ResumeKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(digit) {
            return Err("a key is 32 lower-case hexadecimal digits");
        }
        u128::from_str_radix(&text, 16)
            .map(|bits| Self(bits.to_be_bytes()))
            .map_err(|_| "a key is 32 lower-case hexadecimal digits")
    }
}

/// Which command a stream carries: a new one that may be resumed, or one that runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Resume {
    /// The command's key.
    pub key: ResumeKey,
    /// 0 for a new command; each resuming has a higher number than the one before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub count: u32,
    /// How many bytes of the command's events and data the gateway's reader has taken.
    #[serde(default, skip_serializing_if = "none_taken")]
    pub offset: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
const fn none_taken(offset: &u64) -> bool {
    *offset == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_spelling_and_no_debug_output() {
        let text = "00112233445566778899aabbccddeeff";
        let key = ResumeKey::try_from(text.to_owned()).unwrap();
        assert_eq!(String::from(key), text);
        assert_eq!(format!("{key:?}"), "ResumeKey");
        let tail = &text[1..];
        for wrong in ["", tail, "+0112233445566778899aabbccddeeff"] {
            assert!(ResumeKey::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
        assert!(ResumeKey::try_from(text.to_uppercase()).is_err());
    }
}
