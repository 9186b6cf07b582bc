//! Documents: discovery, lists, tables, selectors, pages, metrics, OpenAPI.
//!
//! Owns: what answers that end at once say. Owns not: watches and logs (`streams`), nor refusals.

use http::StatusCode;
use serde_json::json;

use super::{Cluster, SHOP, TABLE, names};

#[tokio::test]
async fn discovery_says_the_same_in_both_forms() {
    let cluster = Cluster::start().await;
    let v2 =
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let (_, aggregated) = cluster.get_as("/apis", v2).await;
    assert_eq!(aggregated["kind"], "APIGroupDiscoveryList");
    let groups = cluster.found("/apis").await;
    assert_eq!(
        groups["groups"].as_array().unwrap().len(),
        aggregated["items"].as_array().unwrap().len()
    );
    for item in aggregated["items"].as_array().unwrap() {
        let group = item["metadata"]["name"].as_str().unwrap();
        let version = item["versions"][0]["version"].as_str().unwrap();
        let resources = cluster.found(&format!("/apis/{group}/{version}")).await;
        let count = resources["resources"].as_array().unwrap().len();
        assert_eq!(
            item["versions"][0]["resources"].as_array().unwrap().len(),
            count,
            "{group}"
        );
    }
    let core = cluster.found("/api/v1").await;
    let core: Vec<_> = core["resources"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|it| it["name"].as_str())
        .collect();
    assert!(core.contains(&"pods") && core.contains(&"pods/log"));
    assert_eq!(
        cluster.found("/version").await["gitVersion"],
        "v1.36.0-sample"
    );
}

#[tokio::test]
async fn every_listed_resource_can_be_listed_as_objects_and_as_a_table() {
    let cluster = Cluster::start().await;
    let mut bases = vec!["/api/v1".to_owned()];
    for group in cluster.found("/apis").await["groups"].as_array().unwrap() {
        bases.push(format!(
            "/apis/{}",
            group["preferredVersion"]["groupVersion"].as_str().unwrap()
        ));
    }
    let mut listed = 0;
    for base in bases {
        for resource in cluster.found(&base).await["resources"].as_array().unwrap() {
            if !resource["verbs"]
                .as_array()
                .unwrap()
                .contains(&json!("list"))
            {
                continue;
            }
            let path = format!("{base}/{}", resource["name"].as_str().unwrap());
            let objects = cluster.found(&path).await;
            let (_, table) = cluster.get_as(&path, TABLE).await;
            assert_eq!(table["kind"], "Table", "{path}");
            let columns = table["columnDefinitions"].as_array().unwrap().len();
            for row in table["rows"].as_array().unwrap() {
                assert_eq!(row["cells"].as_array().unwrap().len(), columns, "{path}");
                assert_eq!(row["object"]["kind"], "PartialObjectMetadata", "{path}");
                assert!(
                    row["cells"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .all(|cell| !cell.is_null()),
                    "{row}"
                );
            }
            listed += objects["items"].as_array().unwrap().len();
        }
    }
    assert!(listed > 150, "{listed}");
}

#[tokio::test]
async fn selectors_choose_and_what_is_not_understood_is_refused() {
    let cluster = Cluster::start().await;
    let web = cluster
        .found(&format!(
            "{SHOP}/pods?labelSelector=app.kubernetes.io%2Fname%3Dsample-web"
        ))
        .await;
    assert_eq!(web["items"].as_array().unwrap().len(), 3);
    let pending = cluster
        .found("/api/v1/pods?fieldSelector=status.phase%3DPending")
        .await;
    assert!(
        names(&pending)
            .iter()
            .any(|name| name.starts_with("sample-recommender"))
    );
    assert!(
        names(&pending)
            .iter()
            .all(|name| !name.starts_with("sample-web"))
    );
    let on_node = cluster
        .found("/api/v1/pods?fieldSelector=spec.nodeName%3Dsample-node-1")
        .await;
    assert!(names(&on_node).contains(&"etcd-sample-node-1".to_owned()));
    let pod = &pending["items"][0];
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let events = format!("/api/v1/events?fieldSelector=involvedObject.uid%3D{uid}");
    for event in cluster.found(&events).await["items"].as_array().unwrap() {
        assert_eq!(event["involvedObject"]["uid"], uid);
    }
    for query in [
        "fieldSelector=spec.color%3Dred",
        "labelSelector=a%20b",
        "limit=many",
    ] {
        let (status, answer) = cluster.get(&format!("/api/v1/pods?{query}")).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {answer}");
        assert_eq!(answer["kind"], "Status");
    }
}

#[tokio::test]
async fn pages_join_to_the_whole_list_of_one_version() {
    let cluster = Cluster::start().await;
    let first = cluster.found("/api/v1/pods?limit=7").await;
    let version = first["metadata"]["resourceVersion"].clone();
    let whole = format!(
        "/api/v1/pods?resourceVersionMatch=Exact&resourceVersion={}",
        version.as_str().unwrap()
    );
    let whole = names(&cluster.found(&whole).await);
    let mut seen = names(&first);
    let mut page = first;
    while let Some(token) = page["metadata"]["continue"].as_str() {
        assert_eq!(page["items"].as_array().unwrap().len(), 7);
        page = cluster
            .found(&format!("/api/v1/pods?limit=7&continue={token}"))
            .await;
        assert_eq!(page["metadata"]["resourceVersion"], version);
        seen.extend(names(&page));
    }
    assert_eq!(seen, whole);
    let (status, _) = cluster.get("/api/v1/pods?continue=nonsense").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    // "1//" in base64: a version long gone.
    let (status, gone) = cluster.get("/api/v1/pods?continue=MS8v").await;
    assert_eq!(
        (status, &gone["reason"]),
        (StatusCode::GONE, &json!("Expired"))
    );
}

#[tokio::test]
async fn metrics_cover_every_node_and_every_running_pod() {
    let cluster = Cluster::start().await;
    let nodes = cluster.found("/apis/metrics.k8s.io/v1beta1/nodes").await;
    assert_eq!(
        names(&nodes),
        ["sample-node-1", "sample-node-2", "sample-node-3"]
    );
    let memory = nodes["items"][0]["usage"]["memory"].as_str().unwrap();
    assert!(memory.ends_with("Ki"), "{memory}");
    let pods = cluster
        .found("/apis/metrics.k8s.io/v1beta1/namespaces/sample-shop/pods")
        .await;
    let web = pods["items"].as_array().unwrap().iter().find(|pod| {
        pod["metadata"]["name"]
            .as_str()
            .unwrap()
            .starts_with("sample-web")
    });
    assert_eq!(web.unwrap()["containers"].as_array().unwrap().len(), 2);
    let one = cluster
        .found("/apis/metrics.k8s.io/v1beta1/nodes/sample-node-2")
        .await;
    assert_eq!(one["kind"], "NodeMetrics");
}

#[tokio::test]
async fn openapi_has_a_schema_for_what_is_served() {
    let cluster = Cluster::start().await;
    let index = cluster.found("/openapi/v3").await;
    for place in index["paths"].as_object().unwrap().values() {
        let url = place["serverRelativeURL"].as_str().unwrap();
        let document = cluster.found(url).await;
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{url} lacks {name}");
        }
    }
    let core = cluster.found("/openapi/v3/api/v1").await;
    let pod = &core["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"];
    assert!(pod["properties"]["containers"]["items"].is_object());
    assert_eq!(pod["required"], json!(["containers"]));
}
