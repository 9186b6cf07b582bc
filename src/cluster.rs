//! The Kubernetes API server as this agent reaches it. The only home of kube.
