//! The items of a list, cut out of its bytes one by one as they arrive.
//!
//! Owns where an item begins and ends in a `{…,"items":[{…},{…}],…}` that comes in pieces; what an
//! item means is its reader's. Pure. Invariant: it holds at most one item and what stands around
//! the items, each within its bound; whatever comes, it never panics.

/// Why the bytes are no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoList {
    /// An item, or what stands around the items, is above its bound of so many bytes.
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    /// Items that are no objects, brackets that do not match.
    #[error("not a list")]
    Malformed,
}

/// The cutter.
#[derive(Debug)]
pub(super) struct Items {
    /// What the list is called, with its quotes.
    key: &'static str,
    most_item: usize,
    most_rest: usize,
    depth: usize,
    string: bool,
    escaped: bool,
    /// Between the brackets of `items`.
    within: bool,
    item: Vec<u8>,
    rest: Vec<u8>,
}

impl Items {
    pub(super) const fn new(most_item: usize, most_rest: usize) -> Self {
        Self {
            key: "\"items\"",
            most_item,
            most_rest,
            depth: 0,
            string: false,
            escaped: false,
            within: false,
            item: Vec::new(),
            rest: Vec::new(),
        }
    }

    /// Of a list that is called otherwise; `key` comes with its quotes.
    pub(super) const fn called(mut self, key: &'static str) -> Self {
        self.key = key;
        self
    }

    /// Takes bytes, and gives each item that they complete to `each`.
    pub(super) fn feed<E: From<NoList>>(
        &mut self,
        mut bytes: &[u8],
        each: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() {
            let (step, complete) = self.step(bytes)?;
            let (taken, left) = bytes.split_at(step);
            bytes = left;
            if self.within && self.depth <= 2 && !complete {
                // Commas and blanks between items.
                continue;
            }
            let (into, most) = if self.within {
                (&mut self.item, self.most_item)
            } else {
                (&mut self.rest, self.most_rest)
            };
            if into.len() + taken.len() > most {
                return Err(NoList::TooLarge(most).into());
            }
            into.extend_from_slice(taken);
            if complete {
                each(&self.item)?;
                self.item.clear();
            }
        }
        Ok(())
    }

    /// What stands around the items, which are an empty list in it.
    pub(super) fn finish(self) -> Result<Vec<u8>, NoList> {
        if self.depth == 0 && !self.rest.is_empty() {
            Ok(self.rest)
        } else {
            Err(NoList::Malformed)
        }
    }

    /// How many of `bytes` go to one place, and whether they complete an item.
    fn step(&mut self, bytes: &[u8]) -> Result<(usize, bool), NoList> {
        let between = self.within && self.depth == 2;
        if self.string {
            return Ok((self.in_string(bytes), false));
        }
        let plain = bytes
            .iter()
            .position(|byte| matches!(byte, b'"' | b'{' | b'[' | b'}' | b']'));
        let plain = match plain {
            Some(0) => 0,
            Some(count) => count,
            None => bytes.len(),
        };
        if plain > 0 {
            let separates = |byte: &u8| byte.is_ascii_whitespace() || *byte == b',';
            if between && !bytes[..plain].iter().all(separates) {
                return Err(NoList::Malformed);
            }
            return Ok((plain, false));
        }
        match bytes[0] {
            b'"' if between => Err(NoList::Malformed),
            b'"' => {
                self.string = true;
                Ok((1, false))
            }
            b'[' if between => Err(NoList::Malformed),
            open @ (b'{' | b'[') => {
                if open == b'[' && self.depth == 1 && self.opens_items() {
                    // The bracket itself belongs to the rest.
                    self.push_rest(open)?;
                    self.within = true;
                }
                self.depth += 1;
                Ok((1, false))
            }
            close => {
                if self.depth == 0 || (between && close == b'}') {
                    return Err(NoList::Malformed);
                }
                self.depth -= 1;
                if between {
                    self.within = false;
                    return Ok((1, false));
                }
                Ok((1, self.within && self.depth == 2))
            }
        }
    }

    /// Up to and with the end of the string, or all.
    fn in_string(&mut self, bytes: &[u8]) -> usize {
        if self.escaped {
            self.escaped = false;
            return 1;
        }
        match bytes.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
            None => bytes.len(),
            Some(at) => {
                if bytes[at] == b'"' {
                    self.string = false;
                } else {
                    self.escaped = true;
                }
                at + 1
            }
        }
    }

    /// Whether the key before this bracket is the list's; a value cannot stand before a colon.
    fn opens_items(&self) -> bool {
        self.rest
            .trim_ascii_end()
            .strip_suffix(b":")
            .is_some_and(|before| before.trim_ascii_end().ends_with(self.key.as_bytes()))
    }

    fn push_rest(&mut self, byte: u8) -> Result<(), NoList> {
        if self.rest.len() >= self.most_rest {
            return Err(NoList::TooLarge(self.most_rest));
        }
        self.rest.push(byte);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn cut(bytes: &[u8], piece: usize) -> Result<(Vec<Value>, Value), NoList> {
        let mut items = Items::new(200, 200);
        let mut found = Vec::new();
        for piece in bytes.chunks(piece) {
            items.feed::<NoList>(piece, &mut |item| {
                found.push(serde_json::from_slice(item).map_err(|_| NoList::Malformed)?);
                Ok(())
            })?;
        }
        let rest = serde_json::from_slice(&items.finish()?).map_err(|_| NoList::Malformed)?;
        Ok((found, rest))
    }

    #[test]
    fn items_are_found_however_the_bytes_are_cut() {
        let list = br#"{"kind":"PodList","metadata":{"resourceVersion":"5","items":[1,[2]]},
            "items" : [ {"a":"]}\"{","items":[{"x":1}]} , {},
            {"b":{"c":["d\\"]}}],"tail":"items"}"#;
        for piece in 1..list.len() {
            let (found, rest) = cut(list, piece).unwrap();
            assert_eq!(
                found,
                [
                    json!({"a": "]}\"{", "items": [{"x": 1}]}),
                    json!({}),
                    json!({"b": {"c": ["d\\"]}})
                ]
            );
            let around = json!({"kind": "PodList", "items": [], "tail": "items",
                                "metadata": {"resourceVersion": "5", "items": [1, [2]]}});
            assert_eq!(rest, around);
        }
    }

    #[test]
    fn a_list_without_items_has_none() {
        for list in [r#"{"items":null}"#, r#"{"items":[]}"#, "{}"] {
            assert_eq!(cut(list.as_bytes(), 3).unwrap().0, Vec::<Value>::new());
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [
            "",
            "{",
            r#"{"items":[1]}"#,
            r#"{"items":["a"]}"#,
            r#"{"items":[[]]}"#,
            "}",
            "<html>",
        ] {
            assert!(cut(text.as_bytes(), 4).is_err(), "{text}");
        }
    }

    #[test]
    fn an_item_and_its_surroundings_have_their_bounds() {
        let long = "x".repeat(200);
        let item = format!(r#"{{"items":[{{"a":"{long}"}}]}}"#);
        assert_eq!(cut(item.as_bytes(), 16).unwrap_err(), NoList::TooLarge(200));
        let rest = format!(r#"{{"a":"{long}","items":[]}}"#);
        assert_eq!(cut(rest.as_bytes(), 16).unwrap_err(), NoList::TooLarge(200));
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_pieces_are_survived(bytes in proptest::collection::vec(
            prop_oneof![Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b'"'), Just(b'\\'),
                        Just(b','), Just(b':'), any::<u8>()], 0..200), piece in 1usize..20) {
            let _ = cut(&bytes, piece);
        }
    }
}
