//! The handlers, between a gateway's session and a scripted API server.

mod channel_echo;
mod k8s_request;
