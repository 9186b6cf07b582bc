//! The agent's side of dialling out, and of coming back.
