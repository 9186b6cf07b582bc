//! The services with what is behind them, and which of them are to be told.
//!
//! Pure. Owns how a Service and its EndpointSlices become one. Invariants: an event fits a message
//! whatever is behind a service; what was told and is gone is told as gone.

use std::collections::{BTreeMap, BTreeSet};

use super::object::{self, NumberOrName};
use crate::cluster::objects::Uid;
use crate::limits;
use crate::protocol::command::services_list::{self as wire, Endpoint, Port, Service};
use crate::protocol::command::services_watch::{Name, Removed};

/// What is told at once.
#[derive(Debug)]
pub(in crate::commands) enum Piece {
    /// Services as they are.
    Services(wire::Services),
    /// Services that are gone.
    Removed(Removed),
}

/// What is known of one name.
#[derive(Debug, Default)]
struct Held {
    service: Option<Service>,
    slices: BTreeMap<Uid, Slice>,
    /// The reader knows of a service of this name.
    told: bool,
}

/// Endpoints of one slice: all are counted, so many are kept.
#[derive(Debug, Default)]
struct Slice {
    ready: u32,
    not_ready: u32,
    endpoints: Vec<Endpoint>,
}

/// All services.
#[derive(Debug, Default)]
pub(in crate::commands) struct Services {
    held: BTreeMap<Name, Held>,
    changed: BTreeSet<Name>,
    /// What is being told.
    batch: BTreeSet<Name>,
    /// What of it is gone.
    gone: Vec<Name>,
}

impl Services {
    /// A service as it is now; gives its name.
    pub(in crate::commands) fn service(&mut self, service: object::Service) -> Name {
        let name = Name {
            namespace: service.metadata.namespace.clone(),
            name: service.metadata.name.clone(),
        };
        self.held.entry(name.clone()).or_default().service = Some(read(service));
        self.changed.insert(name.clone());
        name
    }

    /// There is no such service any more.
    pub(in crate::commands) fn no_service(&mut self, name: Name) {
        if let Some(held) = self.held.get_mut(&name) {
            held.service = None;
            self.changed.insert(name);
        }
    }

    /// A slice as it is now; gives the name of its service.
    pub(in crate::commands) fn slice(&mut self, slice: object::Slice) -> Name {
        let object::Slice {
            metadata,
            endpoints,
        } = slice;
        let name = Name {
            namespace: metadata.namespace,
            name: metadata.labels.unwrap_or_default().service,
        };
        let held = self.held.entry(name.clone()).or_default();
        let uid = Uid::new(&metadata.uid);
        held.slices
            .insert(uid, behind(endpoints.unwrap_or_default()));
        self.changed.insert(name.clone());
        name
    }

    /// There is no such slice any more.
    pub(in crate::commands) fn no_slice(&mut self, uid: Uid, name: Name) {
        if let Some(held) = self.held.get_mut(&name)
            && held.slices.remove(&uid).is_some()
        {
            self.changed.insert(name);
        }
    }

    /// The listing of services began anew.
    pub(super) fn forget_services(&mut self) {
        for held in self.held.values_mut() {
            held.service = None;
        }
    }

    /// The reader knows all of it.
    pub(in crate::commands) fn settle(&mut self) {
        self.changed.clear();
        self.held.retain(|_, held| {
            held.told = held.service.is_some();
            held.told || !held.slices.is_empty()
        });
    }

    pub(in crate::commands) fn pending(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What has changed up to now is what [`Services::next`] gives.
    pub(in crate::commands) fn begin(&mut self) {
        self.batch.append(&mut self.changed);
    }

    /// The next to be told of the batch: first what is there, then what is gone.
    pub(in crate::commands) fn next(&mut self) -> Option<Piece> {
        let mut items = Vec::new();
        let mut bytes = 0;
        while bytes < limits::EVENT_FILL
            && let Some(name) = self.batch.pop_first()
        {
            // What changes while the batch is told goes with it.
            self.changed.remove(&name);
            let Some(held) = self.held.get_mut(&name) else {
                continue;
            };
            if let Some(service) = held.whole() {
                held.told = true;
                bytes += size(&service);
                items.push(service);
                continue;
            }
            if std::mem::take(&mut held.told) {
                self.gone.push(name.clone());
            }
            if held.slices.is_empty() {
                self.held.remove(&name);
            }
        }
        if !items.is_empty() {
            return Some(Piece::Services(wire::Services { items }));
        }
        let count = self.gone.len().min(limits::EVENT_NAMES);
        let items: Vec<Name> = self.gone.drain(..count).collect();
        (!items.is_empty()).then_some(Piece::Removed(Removed { items }))
    }
}

impl Held {
    /// The service with its endpoints, ready ones first.
    fn whole(&self) -> Option<Service> {
        let mut service = self.service.clone()?;
        for slice in self.slices.values() {
            service.ready = service.ready.saturating_add(slice.ready);
            service.not_ready = service.not_ready.saturating_add(slice.not_ready);
        }
        let all = || self.slices.values().flat_map(|slice| &slice.endpoints);
        let ready = all().filter(|endpoint| endpoint.ready);
        let others = all().filter(|endpoint| !endpoint.ready);
        let kept = ready.chain(others).take(limits::SERVICE_PARTS);
        service.endpoints = kept.cloned().collect();
        Some(service)
    }
}

fn read(service: object::Service) -> Service {
    let object::Service {
        metadata,
        spec,
        status,
    } = service;
    let balanced = status.load_balancer.ingress.into_iter().map(|ingress| {
        if ingress.ip.is_empty() {
            ingress.hostname
        } else {
            ingress.ip
        }
    });
    let named = Some(spec.external_name).filter(|name| !name.is_empty());
    let external = spec.external_ips.into_iter().chain(balanced).chain(named);
    let ports = spec.ports.into_iter().take(limits::SERVICE_PARTS);
    Service {
        namespace: metadata.namespace,
        name: metadata.name,
        uid: metadata.uid,
        kind: spec.kind,
        cluster_ips: spec.cluster_ips,
        external: external.take(limits::SERVICE_PARTS).collect(),
        ports: ports.map(port).collect(),
        ready: 0,
        not_ready: 0,
        endpoints: Vec::new(),
    }
}

fn port(port: object::Port) -> Port {
    Port {
        name: port.name,
        port: port.port,
        protocol: port.protocol,
        target_port: match port.target_port {
            Some(NumberOrName::Number(number)) => number.to_string(),
            Some(NumberOrName::Name(name)) => name,
            None => String::new(),
        },
        node_port: port.node_port.filter(|port| *port > 0),
        app_protocol: port.app_protocol,
    }
}

fn behind(endpoints: Vec<object::Endpoint>) -> Slice {
    let mut slice = Slice::default();
    for endpoint in endpoints {
        // Not said means ready (the API's own rule).
        let ready = endpoint.conditions.ready.unwrap_or(true);
        let count = if ready {
            &mut slice.ready
        } else {
            &mut slice.not_ready
        };
        *count += 1;
        if slice.endpoints.len() == limits::SERVICE_PARTS {
            continue;
        }
        let pod = endpoint
            .target_ref
            .filter(|target| target.kind == "Pod")
            .map_or_else(String::new, |target| target.name);
        slice.endpoints.push(Endpoint {
            // The others stand for the same endpoint.
            address: endpoint.addresses.into_iter().next().unwrap_or_default(),
            ready,
            pod,
            node: endpoint.node_name,
        });
    }
    slice
}

/// About how many bytes of JSON it is.
fn size(service: &Service) -> usize {
    let texts = |all: &[String]| all.iter().map(|text| text.len() + 3).sum::<usize>();
    let port =
        |port: &Port| port.name.len() + port.target_port.len() + port.app_protocol.len() + 100;
    let endpoint = |endpoint: &Endpoint| {
        endpoint.address.len() + endpoint.pod.len() + endpoint.node.len() + 60
    };
    200 + service.namespace.len()
        + service.name.len()
        + texts(&service.cluster_ips)
        + texts(&service.external)
        + service.ports.iter().map(port).sum::<usize>()
        + service.endpoints.iter().map(endpoint).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str, ports: usize) -> object::Service {
        let ports: Vec<_> = (0..ports)
            .map(|number| {
                json!({"port": number, "protocol": "TCP", "name": "p".repeat(63),
                       "targetPort": "q".repeat(15), "appProtocol": "a".repeat(253)})
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"namespace": "d", "name": name, "uid": name},
            "spec": {"type": "ClusterIP", "clusterIPs": ["10.0.0.1"], "ports": ports},
        }))
        .unwrap()
    }

    fn slice(uid: &str, service: &str, ready: usize, not_ready: usize) -> object::Slice {
        let endpoints: Vec<_> = (0..ready + not_ready)
            .map(|number| {
                json!({"addresses": ["fe80::1234:5678:9abc:def0"], "nodeName": "n".repeat(253),
                       "conditions": {"ready": number >= not_ready},
                       "targetRef": {"kind": "Pod", "name": "p".repeat(253)}})
            })
            .collect();
        serde_json::from_value(json!({
            "metadata": {"namespace": "d", "name": uid, "uid": uid,
                         "labels": {"kubernetes.io/service-name": service}},
            "endpoints": endpoints,
        }))
        .unwrap()
    }

    fn told(state: &mut Services) -> Vec<Piece> {
        state.begin();
        std::iter::from_fn(|| state.next()).collect()
    }

    #[test]
    fn a_service_counts_the_endpoints_of_all_its_slices_whichever_came_first() {
        let mut state = Services::default();
        state.slice(slice("s1", "web", 2, 1));
        state.service(service("web", 1));
        state.slice(slice("s2", "web", 1, 0));
        let pieces = told(&mut state);
        let [Piece::Services(services)] = pieces.as_slice() else {
            panic!("{pieces:?}");
        };
        let web = &services.items[0];
        assert_eq!((web.ready, web.not_ready), (3, 1));
        let ready: Vec<bool> = web
            .endpoints
            .iter()
            .map(|endpoint| endpoint.ready)
            .collect();
        assert_eq!(ready, [true, true, true, false]);
        assert!(told(&mut state).is_empty());
    }

    #[test]
    fn what_was_told_and_is_gone_is_told_as_gone_and_what_never_was_is_not() {
        let mut state = Services::default();
        let web = state.service(service("web", 1));
        let db = state.service(service("db", 1));
        state.no_service(db);
        assert_eq!(told(&mut state).len(), 1);
        state.slice(slice("s1", "web", 1, 0));
        state.no_service(web.clone());
        let pieces = told(&mut state);
        assert!(matches!(&pieces[..], [Piece::Removed(removed)] if removed.items == [web.clone()]));
        state.no_slice(Uid::new("s1"), web);
        assert!(told(&mut state).is_empty());
        assert!(state.held.is_empty());
    }

    #[test]
    fn a_reader_that_knows_it_all_is_told_only_what_changes() {
        let mut state = Services::default();
        let web = state.service(service("web", 1));
        state.settle();
        assert!(told(&mut state).is_empty());
        state.no_service(web);
        assert!(matches!(told(&mut state)[..], [Piece::Removed(_)]));
    }

    #[test]
    fn an_event_fits_a_message_whatever_is_behind_a_service() {
        let mut state = Services::default();
        for name in 0..3 {
            let name = format!("web-{name}");
            state.slice(slice(&name, &name, 600, 600));
            state.service(service(&name, 600));
        }
        let pieces = told(&mut state);
        assert_eq!(pieces.len(), 3);
        for piece in pieces {
            let Piece::Services(services) = piece else {
                panic!("{piece:?}");
            };
            assert_eq!(services.items[0].endpoints.len(), limits::SERVICE_PARTS);
            assert_eq!(services.items[0].ready, 600);
            let text = serde_json::to_string(&services).unwrap();
            assert!(text.len() < limits::TEXT_MESSAGE * 3 / 4, "{}", text.len());
        }
    }
}
