//! How the sample cluster lives, second by second.
