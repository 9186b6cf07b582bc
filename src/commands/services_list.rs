//! `services.list`: the services, how they are reached and what is behind them (P-90).
//!
//! Owns the order: what is behind the services is read first, then they are sent. The state itself
//! is [`state`]'s, which `services.watch` shares.

pub(super) mod object;
pub(super) mod state;

use super::{CommandError, Context, Done};
use crate::cluster::objects::{Collection, Pages};
use crate::protocol::command::services_list::{self, Event, Request};
use state::{Piece, Services};

/// Where the services of a namespace are; of all where it is empty.
pub(super) fn services(namespace: &str) -> Collection {
    Collection::new("", "v1", "services").within(namespace)
}

/// Where their endpoints are.
pub(super) fn slices(namespace: &str) -> Collection {
    // A slice that belongs to no service is nobody's here.
    Collection::new("discovery.k8s.io", "v1", "endpointslices")
        .within(namespace)
        .labels(object::SERVICE_NAME)
}

pub(super) async fn run(mut context: Context, request: Request) -> Result<Done, CommandError> {
    let objects = context.objects();
    let mut state = Services::default();
    let mut list: Pages<object::Slice> = objects.list(&slices(&request.namespace));
    while let Some(page) = list.next().await? {
        if page.restarted {
            state = Services::default();
        }
        for slice in page.items {
            state.slice(slice);
        }
    }
    let mut list: Pages<object::Service> = objects.list(&services(&request.namespace));
    while let Some(page) = list.next().await? {
        if page.restarted {
            state.forget_services();
        }
        for service in page.items {
            state.service(service);
        }
    }
    state.begin();
    let mut count = 0;
    while let Some(piece) = state.next() {
        // Nothing was told before, so nothing is gone.
        if let Piece::Services(services) = piece {
            count += u32::try_from(services.items.len()).unwrap_or(u32::MAX);
            context.writer.event(&Event::Services(services)).await?;
        }
    }
    let done = services_list::Done { services: count };
    serde_json::value::to_raw_value(&done)
        .map(Some)
        .map_err(CommandError::Encode)
}
