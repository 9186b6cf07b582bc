//! What an agent is asked, and what a caller gets who asks rightly and wrongly.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use pipeops_agent::limits;
use serde_json::json;

use super::super::rig::{Said, collected, request, rig};
use super::{Reading, connected, path, post};
use crate::support::soon;

/// The frame with which a gateway gives a stream up.
const RESET: u8 = 3;

#[tokio::test]
async fn events_come_one_by_one_with_their_names_and_the_result_last() {
    let (rig, mut agent, user, _) = connected().await;
    let headers = [("x-deadline-ms", "5000"), ("traceparent", "00-ab-cd-01")];
    let asking = post("logs.get", &user, &headers, r#"{"pod":"web-0"}"#);
    let answering = async {
        let open = agent.opened().await;
        let command = &open["command"];
        assert_eq!(command["name"], "logs.get");
        assert_eq!(command["args"], json!({"pod": "web-0"}));
        assert_eq!(
            command["actor"],
            json!({"user": "alice", "groups": ["dev"]})
        );
        assert!(command["deadline_ms"].as_u64().unwrap() <= 5000);
        assert_eq!(command["traceparent"], "00-ab-cd-01");
        assert_eq!(open["class"], "bulk");
        assert!(command.get("attempt").is_none() && command.get("idempotency_key").is_none());
        assert!(
            !open.to_string().contains(&user),
            "the caller's token crossed"
        );
        agent.line(&open, "web-0", 1).await;
        agent
            .event(&open, json!({"note": {"text": "two\nlines"}}))
            .await;
        agent.result(&open, json!({"lines": 1})).await;
    };
    let (mut reading, ()) = tokio::join!(Reading::begin(&rig, asking), answering);
    assert_eq!(reading.answer.status(), StatusCode::OK);
    let headers = reading.answer.headers().clone();
    assert_eq!(headers["content-type"], "text/event-stream");
    assert_eq!(headers["cache-control"], "no-store");
    assert!(headers.contains_key("x-request-id"));
    let line = reading.event().await;
    assert_eq!(
        (line.event.as_str(), &line.data["text"]),
        ("line", &json!(1))
    );
    assert!(line.id.is_some());
    let note = reading.event().await;
    assert_eq!(note.data, json!({"text": "two\nlines"}));
    assert_eq!(note.id, None, "it has no cursor");
    let end = reading.event().await;
    assert_eq!((end.event.as_str(), end.data), ("end", json!({"lines": 1})));
    assert_eq!(reading.next().await, None);
}

#[tokio::test]
async fn an_answer_in_one_piece_holds_all_events_and_the_result() {
    let (rig, mut agent, user, _) = connected().await;
    let json = [("accept", "application/json")];
    let asking = post("status.get", &user, &json, "");
    let mut caller = rig.caller().await;
    let answering = async {
        let open = agent.opened().await;
        assert_eq!(open["command"]["args"], json!({}));
        assert_eq!(open["command"]["deadline_ms"], 65_000);
        agent.event(&open, json!({"node": {"name": "n1"}})).await;
        agent.event(&open, json!({"node": {"name": "n2"}})).await;
        agent.end(&open["stream"]).await;
    };
    let (answer, ()) = tokio::join!(caller.send(asking), answering);
    let answer = collected(answer).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/json");
    let expected = json!({
        "events": [{"node": {"name": "n1"}}, {"node": {"name": "n2"}}],
        "result": null,
    });
    assert_eq!(answer.json(), expected);
}

#[tokio::test]
async fn what_is_too_much_for_one_piece_is_refused_with_the_way_to_get_it() {
    let (rig, mut agent, user, _) = connected().await;
    let asking = post("status.get", &user, &[("accept", "application/json")], "{}");
    let mut caller = rig.caller().await;
    let text = "x".repeat(200 * 1024);
    let answering = async {
        let open = agent.opened().await;
        for _ in 0..limits::COLLECTED / text.len() + 1 {
            agent.event(&open, json!({"node": {"text": text}})).await;
            // Credit for the next one, or the end of it.
            if let Said::Frame(frame) = agent.hear().await
                && frame[0] == RESET
            {
                return;
            }
        }
        panic!("it was not given up");
    };
    let (answer, ()) = tokio::join!(caller.send(asking), answering);
    let answer = collected(answer).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(
        answer.json()["message"]
            .as_str()
            .unwrap()
            .contains("text/event-stream")
    );
    assert_eq!(answer.hop(), "Gateway");
    // What was counted is given back: the next one has room.
    let answer = tokio::join!(
        caller.send(post(
            "status.get",
            &user,
            &[("accept", "application/json")],
            "{}"
        )),
        async {
            let open = agent.opened().await;
            agent.end(&open["stream"]).await;
        }
    );
    assert_eq!(answer.0.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_failure_before_anything_was_said_is_a_status_that_names_the_hop_and_the_code() {
    let (rig, mut agent, user, _) = connected().await;
    for (code, status, hop) in [
        ("forbidden", 403, "Agent"),
        ("not_found", 404, "ApiServer"),
        ("conflict", 409, "ApiServer"),
        ("in_progress", 409, "Agent"),
        ("upstream_refused", 422, "ApiServer"),
        ("bad_request", 400, "Agent"),
        ("unknown_command", 400, "Agent"),
        ("indeterminate", 504, "Agent"),
        ("upstream_unreachable", 502, "ApiServer"),
        ("internal", 500, "Agent"),
    ] {
        for accept in ["text/event-stream", "application/json"] {
            let asking = post("resources.apply", &user, &[("accept", accept)], "{}");
            let mut caller = rig.caller().await;
            let answering = async {
                let open = agent.opened().await;
                agent.fail(&open["stream"], code).await;
            };
            let (answer, ()) = tokio::join!(caller.send(asking), answering);
            let answer = collected(answer).await;
            assert_eq!(answer.status.as_u16(), status, "{code}");
            assert_eq!(answer.hop(), hop, "{code}");
            assert_eq!(answer.headers["x-pipeops-code"], code);
        }
    }
}

#[tokio::test]
async fn a_failure_after_the_first_event_is_an_event() {
    let (rig, mut agent, user, _) = connected().await;
    let asking = post("logs.get", &user, &[], "{}");
    let answering = async {
        let open = agent.opened().await;
        agent.line(&open, "a", 1).await;
        agent.fail(&open["stream"], "not_found").await;
    };
    let (mut reading, ()) = tokio::join!(Reading::begin(&rig, asking), answering);
    assert_eq!(reading.event().await.event, "line");
    let error = reading.event().await;
    assert_eq!(error.event, "error");
    assert_eq!(
        error.data,
        json!({"code": "not_found", "message": "so it is"})
    );
    assert_eq!(reading.next().await, None);
}

#[tokio::test]
async fn what_cannot_be_asked_never_reaches_the_agent() {
    let (rig, mut agent, user, _) = connected().await;
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    let deep = format!("{{\"x\":{deep}}}");
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(limits::COMMAND_BODY));
    let long_key = "k".repeat(129);
    for (command, headers, args, status) in [
        ("logs.eat", vec![], "{}", 400),
        ("k8s.request", vec![], "{}", 400),
        ("channel.echo", vec![], "{}", 400),
        (
            "logs.follow",
            vec![("accept", "application/json")],
            "{}",
            400,
        ),
        ("status.get", vec![], "[]", 400),
        ("status.get", vec![], "{", 400),
        ("status.get", vec![], deep.as_str(), 400),
        ("status.get", vec![], large.as_str(), 413),
        ("status.get", vec![("x-deadline-ms", "0")], "{}", 400),
        ("status.get", vec![("x-deadline-ms", "soon")], "{}", 400),
        ("status.get", vec![("x-deadline-ms", "86400001")], "{}", 400),
        (
            "status.get?deadline_ms=5",
            vec![("x-deadline-ms", "5")],
            "{}",
            400,
        ),
        ("status.get?verbose=1", vec![], "{}", 400),
        (
            "resources.apply",
            vec![("idempotency-key", "two words")],
            "{}",
            400,
        ),
        (
            "resources.apply",
            vec![("idempotency-key", &long_key)],
            "{}",
            400,
        ),
        (
            "resources.apply",
            vec![("idempotency-key", "a"), ("idempotency-key", "b")],
            "{}",
            400,
        ),
        (
            "resources.apply",
            vec![("idempotency-key", "a"), ("idempotency-attempt", "0")],
            "{}",
            400,
        ),
        (
            "resources.apply",
            vec![("idempotency-key", "a"), ("idempotency-attempt", "1000001")],
            "{}",
            400,
        ),
        ("logs.follow", vec![("last-event-id", "7")], "{}", 400),
        ("logs.follow", vec![], r#"{"resume":7}"#, 400),
    ] {
        let mut caller = rig.caller().await;
        let answer = caller.send(post(command, &user, &headers, args)).await;
        let answer = collected(answer).await;
        assert_eq!(answer.status.as_u16(), status, "{command} {headers:?}");
        assert_eq!(answer.hop(), "Gateway");
        assert!(
            answer.json()["message"]
                .as_str()
                .unwrap()
                .contains("(request r-")
        );
    }
    let answer = rig.get(&path("status.get"), &user).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    let answer = rig.get(&path("status.get"), "nobody").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let other = rig.tokens.add_user("bob", &[], &["test"]).unwrap();
    let answer = rig
        .caller()
        .await
        .post(&path("status.get"), &other, "{}")
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    // Of all that, nothing was opened.
    agent.say(&json!({"type": "ping", "nonce": 9})).await;
    assert_eq!(agent.hear().await.text()["nonce"], 9);
}

#[tokio::test]
async fn an_agent_that_breaks_the_rules_of_events_ends_its_own_stream_only() {
    let (rig, mut agent, user, _) = connected().await;
    let long = "c".repeat(1025);
    for event in [
        json!({"a": 1, "b": 2}),
        json!({"end": {}}),
        json!({"one\ntwo": {}}),
        json!({"line": {"cursor": long}}),
    ] {
        let answering = async {
            let open = agent.opened().await;
            agent.line(&open, "a", 1).await;
            agent.event(&open, event).await;
        };
        let asking = post("logs.follow", &user, &[], "{}");
        let (mut reading, ()) = tokio::join!(Reading::begin(&rig, asking), answering);
        assert_eq!(reading.event().await.event, "line");
        let error = reading.event().await;
        assert_eq!(
            (error.event.as_str(), &error.data["code"]),
            ("error", &json!("protocol_error"))
        );
    }
}

#[tokio::test]
async fn one_users_streams_are_capped_apart_from_their_requests() {
    let rig = rig(|config| config.user_limits.long_running = 1);
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let mut agent = rig.agent(&token, "one").await;
    let answering = async {
        let open = agent.opened().await;
        agent.line(&open, "a", 1).await;
    };
    let asking = post("logs.follow", &user, &[], "{}");
    let (first, ()) = tokio::join!(Reading::begin(&rig, asking), answering);
    let mut caller = rig.caller().await;
    let answer = caller.send(post("logs.follow", &user, &[], "{}")).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    let answering = async {
        let open = agent.opened().await;
        agent.end(&open["stream"]).await;
    };
    let asking = post("status.get", &user, &[], "{}");
    let (mut short, ()) = tokio::join!(Reading::begin(&rig, asking), answering);
    assert_eq!(short.event().await.event, "end");
    drop(first);
}

#[tokio::test]
async fn a_removed_token_ends_its_streams_and_the_agents_work() {
    let (rig, mut agent, user, _) = connected().await;
    let answering = async {
        let open = agent.opened().await;
        agent.line(&open, "a", 1).await;
        open
    };
    let asking = post("logs.follow", &user, &[], "{}");
    let (mut reading, _) = tokio::join!(Reading::begin(&rig, asking), answering);
    assert_eq!(reading.event().await.event, "line");
    assert!(rig.tokens.remove(&user));
    assert_eq!(reading.next().await, Some(Err(())));
    let Said::Frame(reset) = agent.hear().await else {
        panic!("no frame");
    };
    assert_eq!(reset[0], RESET);
}

#[tokio::test]
async fn silence_is_broken_by_a_comment() {
    let (rig, mut agent, user, _) = connected().await;
    let asking = post("events.watch", &user, &[], "{}");
    let mut caller = rig.caller().await;
    // Nothing comes for so long that the answer begins without an event.
    let (answer, open) = tokio::join!(caller.send(asking), agent.opened());
    assert_eq!(answer.status(), StatusCode::OK);
    let mut reading = Reading {
        answer,
        text: String::new(),
        comments: 0,
        _caller: caller,
    };
    let greeting = soon(reading.answer.body_mut().frame()).await;
    let greeting = greeting.unwrap().unwrap().into_data().unwrap();
    assert_eq!(greeting, "retry: 1000\n\n");
    tokio::time::pause();
    tokio::time::advance(limits::EVENTS_HEARTBEAT + Duration::from_secs(1)).await;
    tokio::time::resume();
    agent
        .event(&open, json!({"event": {"text": "at last"}}))
        .await;
    let event = reading.event().await;
    assert_eq!(event.data["text"], "at last");
    assert_eq!(reading.comments, 1);
}

#[tokio::test]
async fn a_page_is_one_json_object_or_a_stream_as_its_reader_asks() {
    let (rig, mut agent, user, _) = connected().await;
    let answering = async {
        let open = agent.opened().await;
        assert_eq!(open["command"]["name"], "status.get");
        assert_eq!(open["command"]["args"], json!({"namespace": "shop"}));
        agent.result(&open, json!({"pods": 3})).await;
    };
    let page = "/clusters/prod/status?namespace=shop";
    let (answer, ()) = tokio::join!(rig.get(page, &user), answering);
    assert_eq!(answer.json(), json!({"events": [], "result": {"pods": 3}}));

    let streaming = request(&Method::GET, page, &user)
        .header("accept", "text/event-stream")
        .body(Full::default())
        .unwrap();
    let answering = async {
        let open = agent.opened().await;
        assert_eq!(open["command"]["name"], "status.watch");
        assert!(open["command"].get("deadline_ms").is_none());
        agent.event(&open, json!({"synced": {"cursor": "c"}})).await;
    };
    let (mut reading, ()) = tokio::join!(Reading::begin(&rig, streaming), answering);
    assert_eq!(reading.event().await.event, "synced");
    drop(reading);
    let Said::Frame(reset) = agent.hear().await else {
        panic!("no frame");
    };
    assert_eq!(reset[0], RESET, "nobody watches any more");
}

#[tokio::test]
async fn a_look_at_events_ends_with_what_is_there_already() {
    let (rig, mut agent, user, _) = connected().await;
    let answering = async {
        let open = agent.opened().await;
        assert_eq!(open["command"]["name"], "events.watch");
        agent
            .event(&open, json!({"event": {"reason": "Pulled"}}))
            .await;
        agent.event(&open, json!({"synced": {"cursor": "c"}})).await;
        let Said::Frame(reset) = agent.hear().await else {
            panic!("no frame");
        };
        assert_eq!(reset[0], RESET);
    };
    let (answer, ()) = tokio::join!(rig.get("/clusters/prod/events", &user), answering);
    let expected = json!([{"event": {"reason": "Pulled"}}, {"synced": {"cursor": "c"}}]);
    assert_eq!(answer.json(), json!({"events": expected, "result": null}));
    let answer = rig.get("/clusters/prod/events?names=a", &user).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let answer = rig
        .caller()
        .await
        .post("/clusters/prod/events", &user, "")
        .await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
}
