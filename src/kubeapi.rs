//! What must be understood of a Kubernetes request: path, headers, status. Pure.
