//! The protobuf that kubectl sends.
//!
//! Owns: reading the two reviews that client-go encodes as protobuf. Owns not: any other message,
//! nor writing: the answer is JSON, which such a client accepts as well.
//! Invariant: a message that does not hold together is `None`; lengths are checked before use.
//!
//! Field numbers are those of `generated.proto` in `k8s.io/apimachinery/pkg/runtime` (Unknown) and
//! `k8s.io/api/authorization/v1`, which never change.

use serde_json::{Map, Value, json};

/// What stands before a Kubernetes object in protobuf.
const MAGIC: &[u8] = b"k8s\0";

/// Whether the body is a Kubernetes object in protobuf.
pub(super) fn is_protobuf(body: &[u8]) -> bool {
    body.starts_with(MAGIC)
}

/// Reads a review into the form that its JSON would have had.
pub(super) fn review(body: &[u8]) -> Option<Value> {
    let unknown = Fields::of(body.strip_prefix(MAGIC)?)?;
    let raw = Fields::of(unknown.bytes(2).unwrap_or_default())?;
    let spec = Fields::of(raw.bytes(2).unwrap_or_default())?;
    let mut review = json!({"spec": {}});
    let resource = [
        "namespace",
        "verb",
        "group",
        "version",
        "resource",
        "subresource",
        "name",
    ];
    for (number, name, words) in [
        (1, "resourceAttributes", &resource[..]),
        (2, "nonResourceAttributes", &["path", "verb"]),
    ] {
        // A SelfSubjectRulesReview has its namespace, a text, where the other has attributes; it
        // does not read as attributes or does no harm as such.
        if let Some(attributes) = spec.bytes(number).and_then(Fields::of) {
            let mut map = Map::new();
            for (index, word) in words.iter().enumerate() {
                let text = attributes
                    .bytes(index as u64 + 1)
                    .map(String::from_utf8_lossy);
                map.insert((*word).to_owned(), text.unwrap_or_default().into());
            }
            review["spec"][name] = map.into();
        }
    }
    Some(review)
}

/// The length-delimited fields of a message.
struct Fields<'body>(Vec<(u64, &'body [u8])>);

impl<'body> Fields<'body> {
    fn of(mut rest: &'body [u8]) -> Option<Self> {
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let tag = varint(&mut rest)?;
            let length = match tag & 7 {
                0 => {
                    varint(&mut rest)?;
                    continue;
                }
                1 => 8,
                2 => usize::try_from(varint(&mut rest)?).ok()?,
                5 => 4,
                _ => return None,
            };
            let (value, after) = rest.split_at_checked(length)?;
            rest = after;
            if tag & 7 == 2 {
                fields.push((tag >> 3, value));
            }
        }
        Some(Self(fields))
    }

    fn bytes(&self, number: u64) -> Option<&'body [u8]> {
        self.0
            .iter()
            .find(|(known, _)| *known == number)
            .map(|(_, value)| *value)
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).unwrap();
        [&[number << 3 | 2, length], value].concat()
    }

    fn access_review() -> Vec<u8> {
        let attributes = [field(2, b"delete"), field(3, b""), field(5, b"pods")].concat();
        let spec = field(1, &attributes);
        let raw = [field(1, b""), field(2, &spec)].concat();
        let types = [field(1, b"authorization.k8s.io/v1"), field(2, b"Review")].concat();
        [MAGIC, &field(1, &types), &field(2, &raw)].concat()
    }

    #[test]
    fn a_review_reads_as_its_json_would() {
        let review = review(&access_review()).unwrap();
        assert_eq!(review["spec"]["resourceAttributes"]["verb"], "delete");
        assert_eq!(review["spec"]["resourceAttributes"]["resource"], "pods");
        assert!(review["spec"]["nonResourceAttributes"].is_null());
    }

    #[test]
    fn damaged_bytes_never_panic() {
        let whole = access_review();
        for end in 0..whole.len() {
            let _ = review(&whole[..end]);
        }
        for index in 0..whole.len() {
            for flip in [1, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[index] ^= flip;
                let _ = review(&damaged);
            }
        }
    }
}
