//! Cells of a table.
//!
//! Owns: one function a cell, from an object to what kubectl prints. Owns not: which columns a
//! kind has (`table`), nor the cells of a Pod (`pod`).
//! Invariant: a cell never fails; what is not there prints as the API server prints it.

use serde_json::Value;

use super::super::clock::{Millis, human, parse};

const NONE: &str = "<none>";

pub(super) fn name(object: &Value, _: Millis) -> Value {
    object["metadata"]["name"].clone()
}

pub(super) fn age(object: &Value, now: Millis) -> Value {
    since(&object["metadata"]["creationTimestamp"], now)
}

pub(super) fn created(object: &Value, _: Millis) -> Value {
    object["metadata"]["creationTimestamp"].clone()
}

/// How long ago a time was.
pub(super) fn since(time: &Value, now: Millis) -> Value {
    match time.as_str().and_then(parse) {
        Some(at) => human(now - at).into(),
        None => "<unknown>".into(),
    }
}

/// The same, where the time may not have come yet.
pub(super) fn since_or_none(time: &Value, now: Millis) -> Value {
    if time.is_null() {
        NONE.into()
    } else {
        since(time, now)
    }
}

/// Text, or `<none>`.
pub(super) fn text(value: &Value) -> Value {
    if value.is_string() {
        value.clone()
    } else {
        NONE.into()
    }
}

/// Text, or nothing.
pub(super) fn bare(value: &Value) -> Value {
    if value.is_string() {
        value.clone()
    } else {
        "".into()
    }
}

/// A number, or zero.
pub(super) fn number(value: &Value) -> Value {
    value.as_i64().unwrap_or_default().into()
}

/// A number as text, where the column is one of text.
pub(super) fn printed(value: &Value) -> Value {
    value.as_i64().unwrap_or_default().to_string().into()
}

pub(super) fn switch(value: &Value) -> Value {
    if value == true {
        "True".into()
    } else {
        "False".into()
    }
}

/// A number or text, or `N/A`.
pub(super) fn or_not(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.to_string().into(),
        Value::String(_) => value.clone(),
        _ => "N/A".into(),
    }
}

/// How many entries a map or a list has.
pub(super) fn length(value: &Value) -> Value {
    value
        .as_object()
        .map_or_else(|| value.as_array().map_or(0, Vec::len), |map| map.len())
        .into()
}

/// A map as `key=value`, joined by commas.
pub(super) fn pairs(map: &Value) -> Value {
    let pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    joined(&pairs, NONE)
}

fn joined(words: &[String], empty: &str) -> Value {
    if words.is_empty() {
        empty.into()
    } else {
        words.join(",").into()
    }
}

pub(super) fn selector(object: &Value, _: Millis) -> Value {
    let selector = &object["spec"]["selector"];
    let labels = selector.get("matchLabels").unwrap_or(selector);
    pairs(labels)
}

fn of_containers(object: &Value, field: &str) -> Value {
    let words: Vec<String> = object["spec"]["template"]["spec"]["containers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|container| container[field].as_str().map(str::to_owned))
        .collect();
    joined(&words, "")
}

pub(super) fn template_containers(object: &Value, _: Millis) -> Value {
    of_containers(object, "name")
}

pub(super) fn template_images(object: &Value, _: Millis) -> Value {
    of_containers(object, "image")
}

pub(super) fn replicas(object: &Value, _: Millis) -> Value {
    let count = |value: &Value| value.as_i64().unwrap_or_default();
    let ready = count(&object["status"]["readyReplicas"]);
    format!("{ready}/{}", count(&object["spec"]["replicas"])).into()
}

pub(super) fn node_status(node: &Value, _: Millis) -> Value {
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let mut word = if ready {
        "Ready".to_owned()
    } else {
        "NotReady".to_owned()
    };
    if node["spec"]["unschedulable"] == true {
        word.push_str(",SchedulingDisabled");
    }
    word.into()
}

pub(super) fn node_roles(node: &Value, _: Millis) -> Value {
    let roles: Vec<String> = node["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .map(str::to_owned)
        .collect();
    joined(&roles, NONE)
}

pub(super) fn event_object(event: &Value, _: Millis) -> Value {
    let involved = &event["involvedObject"];
    let kind = involved["kind"].as_str().unwrap_or_default().to_lowercase();
    format!("{kind}/{}", involved["name"].as_str().unwrap_or_default()).into()
}

pub(super) fn event_source(event: &Value, _: Millis) -> Value {
    let component = event["source"]["component"].as_str().unwrap_or_default();
    match event["source"]["host"].as_str() {
        Some(host) => format!("{component}, {host}").into(),
        None => component.into(),
    }
}

/// At most three of a list, then how many more.
fn some(words: &[String]) -> Value {
    match words {
        [] => NONE.into(),
        [.., _] if words.len() <= 3 => words.join(",").into(),
        _ => format!("{} + {} more...", words[..3].join(","), words.len() - 3).into(),
    }
}

fn texts<'value>(list: &'value Value, field: &str) -> Vec<&'value str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item[field].as_str())
        .collect()
}

pub(super) fn endpoints(object: &Value, _: Millis) -> Value {
    let mut words = Vec::new();
    for subset in object["subsets"].as_array().into_iter().flatten() {
        for port in subset["ports"].as_array().into_iter().flatten() {
            for address in texts(&subset["addresses"], "ip") {
                words.push(format!("{address}:{}", port["port"]));
            }
        }
    }
    some(&words)
}

pub(super) fn slice_ports(slice: &Value, _: Millis) -> Value {
    let ports = slice["ports"].as_array().into_iter().flatten();
    let words: Vec<String> = ports.map(|port| port["port"].to_string()).collect();
    if words.is_empty() {
        "<unset>".into()
    } else {
        some(&words)
    }
}

pub(super) fn slice_endpoints(slice: &Value, _: Millis) -> Value {
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let words: Vec<String> = endpoints
        .flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten())
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    if words.is_empty() {
        "<unset>".into()
    } else {
        some(&words)
    }
}

pub(super) fn service_ports(service: &Value, _: Millis) -> Value {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let words: Vec<String> = ports
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            match port["nodePort"].as_u64() {
                Some(node_port) => format!("{}:{node_port}/{protocol}", port["port"]),
                None => format!("{}/{protocol}", port["port"]),
            }
        })
        .collect();
    joined(&words, NONE)
}

pub(super) fn service_selector(service: &Value, _: Millis) -> Value {
    pairs(&service["spec"]["selector"])
}

pub(super) fn access_modes(holder: &Value) -> Value {
    let modes = holder["accessModes"].as_array().into_iter().flatten();
    let words: Vec<String> = modes
        .filter_map(Value::as_str)
        .map(|mode| mode.chars().filter(char::is_ascii_uppercase).collect())
        .collect();
    joined(&words, "")
}

pub(super) fn volume_claim(volume: &Value, _: Millis) -> Value {
    let claim = &volume["spec"]["claimRef"];
    match (claim["namespace"].as_str(), claim["name"].as_str()) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}").into(),
        _ => "".into(),
    }
}

pub(super) fn quota(quota: &Value, _: Millis) -> Value {
    let hard = quota["status"]["hard"].as_object().into_iter().flatten();
    let words: Vec<String> = hard
        .map(|(key, limit)| {
            let used = quota["status"]["used"][key].as_str().unwrap_or("0");
            format!("{key}: {used}/{}", limit.as_str().unwrap_or_default())
        })
        .collect();
    words.join(", ").into()
}

pub(super) fn controller(object: &Value, _: Millis) -> Value {
    let owner = &object["metadata"]["ownerReferences"][0];
    let kind = owner["kind"].as_str().unwrap_or_default().to_lowercase();
    format!("{kind}.apps/{}", owner["name"].as_str().unwrap_or_default()).into()
}

pub(super) fn job_status(job: &Value, _: Millis) -> Value {
    if job["status"]["succeeded"] == 1 {
        "Complete".into()
    } else {
        "Running".into()
    }
}

pub(super) fn job_completions(job: &Value, _: Millis) -> Value {
    let done = job["status"]["succeeded"].as_u64().unwrap_or_default();
    format!(
        "{done}/{}",
        job["spec"]["completions"].as_u64().unwrap_or(1)
    )
    .into()
}

pub(super) fn job_duration(job: &Value, now: Millis) -> Value {
    let time = |field: &str| job["status"][field].as_str().and_then(parse);
    let Some(start) = time("startTime") else {
        return "".into();
    };
    human(time("completionTime").unwrap_or(now) - start).into()
}

pub(super) fn scale_target(scaler: &Value, _: Millis) -> Value {
    let target = &scaler["spec"]["scaleTargetRef"];
    let kind = target["kind"].as_str().unwrap_or_default();
    format!("{kind}/{}", target["name"].as_str().unwrap_or_default()).into()
}

pub(super) fn scale_metrics(scaler: &Value, _: Millis) -> Value {
    let current =
        &scaler["status"]["currentMetrics"][0]["resource"]["current"]["averageUtilization"];
    let wanted = &scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"];
    let current = current
        .as_u64()
        .map_or_else(|| "<unknown>".to_owned(), |it| format!("{it}%"));
    format!("cpu: {current}/{wanted}%").into()
}

pub(super) fn ingress_hosts(ingress: &Value, _: Millis) -> Value {
    let hosts: Vec<String> = texts(&ingress["spec"]["rules"], "host")
        .into_iter()
        .map(str::to_owned)
        .collect();
    if hosts.is_empty() {
        "*".into()
    } else {
        some(&hosts)
    }
}

pub(super) fn ingress_ports(ingress: &Value, _: Millis) -> Value {
    if ingress["spec"]["tls"].is_array() {
        "80, 443".into()
    } else {
        "80".into()
    }
}

pub(super) fn role(binding: &Value, _: Millis) -> Value {
    let role = &binding["roleRef"];
    let kind = role["kind"].as_str().unwrap_or_default();
    format!("{kind}/{}", role["name"].as_str().unwrap_or_default()).into()
}

pub(super) fn subjects(binding: &Value, kind: &str) -> Value {
    let subjects = binding["subjects"].as_array().into_iter().flatten();
    let words: Vec<String> = subjects
        .filter(|subject| subject["kind"] == kind)
        .map(|subject| {
            let name = subject["name"].as_str().unwrap_or_default();
            match subject["namespace"].as_str() {
                Some(namespace) => format!("{namespace}/{name}"),
                None => name.to_owned(),
            }
        })
        .collect();
    joined(&words, "")
}

pub(super) fn storage_class_name(class: &Value, _: Millis) -> Value {
    let name = class["metadata"]["name"].as_str().unwrap_or_default();
    let marks = &class["metadata"]["annotations"];
    if marks["storageclass.kubernetes.io/is-default-class"] == "true" {
        format!("{name} (default)").into()
    } else {
        name.into()
    }
}
