//! Values that look random and are the same every time: uids, name suffixes, addresses.
//!
//! Owns: the hash behind them. Owns not: who asks, nor secrets (the token is truly random).
//! Invariant: the same arguments give the same value, in every run.

/// Hashes words and a number into 64 bits (FNV-1a, then a finaliser that spreads the low bits).
pub(super) fn mix(words: &[&str], number: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let bytes = words
        .iter()
        .flat_map(|word| word.bytes().chain([0xff]))
        .chain(number.to_le_bytes());
    for byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// An object's uid, in the form of a version 4 UUID.
pub(super) fn uid(words: &[&str], number: u64) -> String {
    let (high, low) = (mix(words, number), mix(words, !number));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | ((low >> 48) & 0x3fff),
        low & 0xffff_ffff_ffff
    )
}

/// `length` letters of the alphabet that Kubernetes uses in generated names.
pub(super) fn suffix(words: &[&str], number: u64, length: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut hash = mix(words, number);
    let mut text = String::with_capacity(length);
    for _ in 0..length {
        let index = usize::try_from(hash % ALPHABET.len() as u64).unwrap_or_default();
        text.push(char::from(ALPHABET[index]));
        hash = (hash / 27) ^ hash.rotate_left(29);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_repeat_and_differ_by_their_words() {
        assert_eq!(uid(&["a", "b"], 1), uid(&["a", "b"], 1));
        assert_ne!(uid(&["a", "b"], 1), uid(&["ab"], 1));
        assert_eq!(uid(&["a"], 7).len(), 36);
        assert_eq!(suffix(&["pod"], 3, 5).len(), 5);
        assert_ne!(suffix(&["pod"], 3, 5), suffix(&["pod"], 4, 5));
    }
}
