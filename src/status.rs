//! What the agent knows of itself.
