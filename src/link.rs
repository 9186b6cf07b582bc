//! One connection as whole text and binary messages.
