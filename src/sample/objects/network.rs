//! Services and what stands in front of them.
//!
//! Owns: Services, Ingresses, NetworkPolicies. Owns not: the endpoints behind a Service
//! (`life::controllers` derives them from the pods).
//! Invariant: a Service's selector names a workload that exists.

use serde_json::{Value, json};

use super::super::clock::{DAY, Millis};
use super::super::seed;
use super::super::store::Store;
use super::{metadata, pods};

const SHOP: &str = "sample-shop";

pub(super) fn fill(store: &Store, born: Millis) {
    store.put(kubernetes(born));
    let system = [
        ("kubernetes.io/cluster-service", "true"),
        ("kubernetes.io/name", "SampleDNS"),
    ];
    let mut dns = service("kube-system", "sample-dns", "sample-coredns", 53, 53, born);
    dns["metadata"]["labels"] = system
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
        .collect();
    dns["spec"]["ports"] = json!([
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
    ]);
    dns["spec"]["clusterIP"] = "10.96.0.10".into();
    dns["spec"]["clusterIPs"] = json!(["10.96.0.10"]);
    store.put(dns);
    let metrics = "sample-metrics-server";
    store.put(service(
        "kube-system",
        metrics,
        metrics,
        443,
        10250,
        born + DAY,
    ));
    let shop = born + 6 * DAY;
    let mut web = service(SHOP, "sample-web", "sample-web", 80, 8080, shop);
    web["spec"]["type"] = "LoadBalancer".into();
    web["spec"]["ports"][0]["nodePort"] = 30080.into();
    web["spec"]["externalTrafficPolicy"] = "Cluster".into();
    web["spec"]["allocateLoadBalancerNodePorts"] = true.into();
    web["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.10", "ipMode": "VIP"}]}});
    store.put(web);
    store.put(service(
        SHOP,
        "sample-catalog",
        "sample-catalog",
        80,
        8081,
        shop,
    ));
    store.put(service(SHOP, "sample-cart", "sample-cart", 80, 8082, shop));
    let mut database = service(SHOP, "sample-db", "sample-db", 5432, 5432, shop);
    database["spec"]["clusterIP"] = "None".into();
    database["spec"]["clusterIPs"] = json!(["None"]);
    store.put(database);
    ingress(store, shop);
}

/// The Service of the API server itself, with its endpoints, which no pod selector makes.
fn kubernetes(born: Millis) -> Value {
    let labels = [("component", "apiserver"), ("provider", "kubernetes")];
    let mut object = service("default", "kubernetes", "", 443, 6443, born);
    object["metadata"] = metadata("Service", "default", "kubernetes", born, &labels);
    object["spec"]["clusterIP"] = "10.96.0.1".into();
    object["spec"]["clusterIPs"] = json!(["10.96.0.1"]);
    object["spec"]["ports"][0]["name"] = "https".into();
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.remove("selector");
    }
    object
}

fn service(
    namespace: &str,
    name: &str,
    app: &str,
    port: u16,
    target: u16,
    created: Millis,
) -> Value {
    let hash = seed::mix(&["service", namespace, name], 0);
    let address = format!(
        "10.{}.{}.{}",
        97 + hash % 8,
        (hash >> 8) % 256,
        1 + (hash >> 16) % 254
    );
    let labels = [("app.kubernetes.io/name", name)];
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata("Service", namespace, name, created, &labels),
        "spec": {
            "type": "ClusterIP",
            "clusterIP": address,
            "clusterIPs": [address],
            "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "main", "port": port, "protocol": "TCP", "targetPort": target}],
            "selector": {"app.kubernetes.io/name": app},
            "sessionAffinity": "None",
        },
        "status": {"loadBalancer": {}},
    })
}

fn ingress(store: &Store, created: Millis) {
    let mut class = metadata("IngressClass", "", "sample-ingress", created, &[]);
    class["annotations"] = json!({"ingressclass.kubernetes.io/is-default-class": "true"});
    store.put(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": class,
        "spec": {"controller": "sample.invalid/ingress"},
    }));
    let backend = |name: &str| json!({"service": {"name": name, "port": {"name": "main"}}});
    store.put(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata("Ingress", SHOP, "sample-shop", created, &[]),
        "spec": {
            "ingressClassName": "sample-ingress",
            "tls": [{"hosts": ["shop.sample.invalid"], "secretName": "sample-shop-tls"}],
            "rules": [{"host": "shop.sample.invalid", "http": {"paths": [
                {"path": "/api/catalog", "pathType": "Prefix", "backend": backend("sample-catalog")},
                {"path": "/", "pathType": "Prefix", "backend": backend("sample-web")},
            ]}}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}},
    }));
    store.put(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata("NetworkPolicy", SHOP, "sample-db-only-from-shop", created, &[]),
        "spec": {
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "sample-db"}},
            "policyTypes": ["Ingress"],
            "ingress": [{
                "from": [{"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "sample"}}}],
                "ports": [{"port": 5432, "protocol": "TCP"}],
            }],
        },
    }));
    let port = json!([{"name": "https", "port": 6443, "protocol": "TCP"}]);
    let address = pods::node_ip(super::NODES[0]);
    store.put(json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": metadata("Endpoints", "default", "kubernetes", created, &[]),
        "subsets": [{"addresses": [{"ip": address}], "ports": port}],
    }));
    store.put(json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata("EndpointSlice", "default", "kubernetes", created,
            &[("kubernetes.io/service-name", "kubernetes")]),
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": port,
    }));
}
