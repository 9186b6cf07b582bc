//! What the cluster's owner allows.
