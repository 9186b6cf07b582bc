//! What `status` prints for people, from the local server's JSON.
//!
//! Invariant: pure; an absent field is left out; no text of the answer reaches a terminal with its
//! control characters.

use std::fmt::Write;

use serde_json::Value;

/// A line for each part of the status.
#[must_use]
pub fn text(status: &Value) -> String {
    let mut text = String::new();
    let mut line = |name: &str, parts: Vec<String>| {
        if !parts.is_empty() {
            let _ = writeln!(text, "{name:<11}{}", parts.join(", "));
        }
    };
    line("agent", agent(&status["agent"]));
    line("channel", channel(&status["link"]));
    line("last error", last_error(&status["link"]["last_error"]));
    line("API server", api_server(&status["api_server"]));
    line("cluster", cluster(&status["cluster"]));
    line("features", features(&status["features"]));
    line("ready", ready(status));
    text
}

fn agent(agent: &Value) -> Vec<String> {
    let mut parts = Vec::new();
    parts.extend(word(&agent["id"]).or_else(|| word(&agent["name"])));
    push(&mut parts, "of cluster ", word(&agent["cluster_name"]));
    push(&mut parts, "version ", word(&agent["version"]));
    push(
        &mut parts,
        "up ",
        agent["uptime_seconds"].as_f64().map(span),
    );
    parts
}

fn channel(link: &Value) -> Vec<String> {
    let mut parts = Vec::new();
    parts.extend(word(&link["phase"]));
    if let Some(transport) = word(&link["transport"]).filter(|transport| transport != "none") {
        let host = word(&link["url_host"]).map(|host| format!(" to {host}"));
        parts.push(format!("{transport}{}", host.unwrap_or_default()));
    }
    push(&mut parts, "since ", word(&link["since"]));
    if let Some(round_trip) = link["round_trip_ms"].as_f64() {
        parts.push(format!("round trip {round_trip:.1} ms"));
    }
    if let Some(reconnects) = link["reconnects"].as_u64() {
        parts.push(format!("{reconnects} reconnects"));
    }
    parts
}

fn last_error(error: &Value) -> Vec<String> {
    let mut parts = Vec::new();
    parts.extend(word(&error["cause"]));
    parts.extend(word(&error["message"]));
    push(&mut parts, "at ", word(&error["at"]));
    parts
}

fn api_server(server: &Value) -> Vec<String> {
    let mut parts = Vec::new();
    // `/ready` says it in one word.
    let up = server.as_bool().or_else(|| server["up"].as_bool());
    parts.extend(up.map(|up| if up { "answers" } else { "does not answer" }.to_owned()));
    parts.extend(word(&server["version"]));
    parts.extend(word(&server["message"]));
    parts
}

fn cluster(cluster: &Value) -> Vec<String> {
    let mut parts = Vec::new();
    let nodes = &cluster["nodes"];
    match (nodes["ready"].as_u64(), nodes["total"].as_u64()) {
        (Some(ready), Some(total)) => parts.push(format!("{ready} of {total} nodes ready")),
        (None, Some(total)) => parts.push(format!("{total} nodes")),
        (_, None) => {}
    }
    if let Some(pods) = cluster["pods"]["total"].as_u64() {
        parts.push(format!("{pods} pods"));
    }
    parts
}

fn features(features: &Value) -> Vec<String> {
    let features = features.as_array().into_iter().flatten();
    features
        .filter(|feature| feature["enabled"] == true)
        .filter_map(|feature| word(&feature["name"]))
        .collect()
}

fn ready(status: &Value) -> Vec<String> {
    let Some(ready) = status["ready"].as_bool() else {
        return Vec::new();
    };
    let mut parts = vec![if ready { "yes" } else { "no" }.to_owned()];
    let reasons = status["reasons"].as_array().into_iter().flatten();
    parts.extend(reasons.filter_map(word));
    parts.extend(word(&status["last_cause"]));
    parts
}

fn push(parts: &mut Vec<String>, name: &str, value: Option<String>) {
    parts.extend(value.map(|value| format!("{name}{value}")));
}

/// A text of the answer, fit for a terminal; none where it is empty or no text.
fn word(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty())?;
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    Some(text.chars().map(shown).collect())
}

/// `3 d 4 h`, `2 min 5 s`.
fn span(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float saturates"
    )]
    let seconds = seconds as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_is_a_line_for_each_part() {
        let status = json!({
            "agent": {"id": "a1", "cluster_name": "prod", "version": "0.1.0", "uptime_seconds": 3725},
            "link": {
                "phase": "connected", "transport": "wss", "url_host": "gw.example",
                "since": "2026-01-02T03:04:05Z", "round_trip_ms": 12.34, "reconnects": 2,
                "last_error": {"cause": "dns", "message": "no such \u{1b}[31mname"},
            },
            "api_server": {"up": true, "version": "v1.36.3"},
            "cluster": {"nodes": {"total": 3, "ready": 2}, "pods": {"total": 40}},
            "features": [
                {"name": "binary", "enabled": true}, {"name": "dashboard", "enabled": false},
                {"name": "metrics_server", "enabled": true}, {"name": "watch_bookmarks", "enabled": null},
            ],
        });
        let expected = "\
agent      a1, of cluster prod, version 0.1.0, up 1 h 2 min
channel    connected, wss to gw.example, since 2026-01-02T03:04:05Z, round trip 12.3 ms, 2 reconnects
last error dns, no such \u{fffd}[31mname
API server answers, v1.36.3
cluster    2 of 3 nodes ready, 40 pods
features   binary, metrics_server
";
        assert_eq!(text(&status), expected);
    }

    #[test]
    fn what_is_absent_is_left_out() {
        assert_eq!(text(&Value::Null), "");
        let probe = json!({"ready": false, "reasons": ["channel"], "api_server": true, "last_cause": "dns"});
        let expected = "API server answers\nready      no, channel, dns\n";
        assert_eq!(text(&probe), expected);
        for (seconds, expected) in [
            (59.0, "59 s"),
            (61.0, "1 min 1 s"),
            (90_061.0, "1 d 1 h"),
            (-1.0, "0 s"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }
}
