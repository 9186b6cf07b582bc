//! The handlers, between a gateway's session and a scripted API server.

mod channel_echo;
mod events_watch;
mod k8s_request;
mod services_list;
mod services_watch;
mod watching;
