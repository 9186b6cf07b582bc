//! Streams over lost channels: resumed where they stood, and changes that are made once.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::{BodyExt, Full};
use pipeops_agent::limits;
use serde_json::json;

use super::super::rig::{collected, request, rig};
use super::{Reading, connected, post, returned};
use crate::support::{soon, step_by_step};

#[tokio::test]
async fn a_follower_reads_on_over_a_lost_channel_as_if_nothing_had_been() {
    let (rig, mut agent, user, token) = connected().await;
    let answering = async {
        let open = agent.opened().await;
        agent.line(&open, "a", 1).await;
        agent.line(&open, "b", 1).await;
        agent.line(&open, "a", 2).await;
        agent.line(&open, "gone", 9).await;
        let forget = json!({"forget": {"source": "gone"}});
        agent.event(&open, forget).await;
    };
    let asking = post("logs.follow", &user, &[], r#"{"selector":"app=web"}"#);
    let (mut reading, ()) = tokio::join!(Reading::begin(&rig, asking), answering);
    for expected in [("a", 1), ("b", 1), ("a", 2), ("gone", 9)] {
        let line = reading.event().await.data;
        assert_eq!(
            (line["source"].as_str().unwrap(), &line["text"]),
            (expected.0, &json!(expected.1))
        );
    }
    assert_eq!(reading.event().await.event, "forget");
    drop(agent);
    let waiting = reading.event().await;
    assert_eq!(waiting.event, "reconnecting");
    assert_eq!(waiting.data["code"], "channel_lost");
    let (mut agent, open) = returned(&rig, &token, "two").await;
    assert_eq!(
        open["command"]["args"],
        json!({"selector": "app=web", "resume": {"a": "a-2", "b": "b-1"}})
    );
    assert!(
        open["command"].get("attempt").is_none(),
        "it changes nothing"
    );
    agent.line(&open, "b", 2).await;
    assert_eq!(reading.event().await.data["text"], 2);
}

#[tokio::test]
async fn who_has_heard_something_never_begins_anew() {
    let (rig, mut agent, user, token) = connected().await;
    let answering = async {
        let open = agent.opened().await;
        assert!(open["command"]["args"].get("resume").is_none());
        agent.line(&open, "a", 1).await;
        agent.event(&open, json!({"forget": {"source": "a"}})).await;
    };
    let asking = post("logs.follow", &user, &[], "{}");
    let (mut reading, ()) = tokio::join!(Reading::begin(&rig, asking), answering);
    reading.event().await;
    let id = reading.event().await.id.unwrap();
    drop(agent);
    let (mut agent, open) = returned(&rig, &token, "two").await;
    assert_eq!(open["command"]["args"], json!({"resume": {}}));
    drop(reading);
    let headers = [("last-event-id", id.as_str())];
    let asking = post("logs.follow", &user, &headers, "{}");
    let (_reading, open) = tokio::join!(Reading::begin(&rig, asking), agent.opened());
    assert_eq!(open["command"]["args"], json!({"resume": {}}));
}

#[tokio::test]
async fn arguments_and_cursors_that_fit_into_no_message_end_with_an_error() {
    let (rig, mut agent, user, token) = connected().await;
    let args = format!(r#"{{"x":"{}"}}"#, "x".repeat(limits::COMMAND_BODY - 10));
    let cursor = "c".repeat(1000);
    let sources = (limits::COMMAND_ARGS - limits::COMMAND_BODY) / 1000 + 1;
    let answering = async {
        let open = agent.opened().await;
        for source in 0..sources {
            let line = json!({"source": format!("s{source}"), "cursor": cursor});
            agent.event(&open, json!({ "line": line })).await;
        }
    };
    let asking = post("logs.follow", &user, &[], &args);
    let (mut reading, ()) = tokio::join!(Reading::begin(&rig, asking), answering);
    for _ in 0..sources {
        assert_eq!(reading.event().await.event, "line");
    }
    drop(agent);
    assert_eq!(reading.event().await.event, "reconnecting");
    let _agent = rig.agent(&token, "two").await;
    let error = reading.event().await;
    assert_eq!(error.event, "error");
    assert!(
        error.data["message"]
            .as_str()
            .unwrap()
            .contains("one message")
    );
}

#[tokio::test]
async fn another_replica_goes_on_at_once() {
    let (rig, mut one, user, token) = connected().await;
    let answering = async {
        let open = one.opened().await;
        one.line(&open, "a", 1).await;
    };
    let asking = post("logs.follow", &user, &[], "{}");
    let (mut reading, ()) = tokio::join!(Reading::begin(&rig, asking), answering);
    assert_eq!(reading.event().await.data["text"], 1);
    let mut two = rig.agent(&token, "two").await;
    drop(one);
    let open = two.opened().await;
    assert_eq!(open["command"]["args"]["resume"], json!({"a": "a-1"}));
    two.line(&open, "a", 2).await;
    let line = reading.event().await;
    assert_eq!(
        (line.event.as_str(), &line.data["text"]),
        ("line", &json!(2))
    );
}

#[tokio::test]
async fn an_agent_that_leaves_or_has_no_way_to_the_api_server_is_waited_for() {
    let (rig, mut agent, user, _) = connected().await;
    let answering = async {
        let mut open = agent.opened().await;
        for (number, code) in [
            (1, "shutting_down"),
            (2, "upstream_unreachable"),
            (3, "upstream_failed"),
            (4, "slow_reader"),
            (5, "busy"),
        ] {
            agent.line(&open, "a", number).await;
            agent.fail(&open["stream"], code).await;
            open = agent.opened().await;
            let cursor = format!("a-{number}");
            assert_eq!(open["command"]["args"]["resume"], json!({"a": cursor}));
        }
        agent.fail(&open["stream"], "forbidden").await;
    };
    let asking = post("logs.follow", &user, &[], "{}");
    let reading = async {
        let mut reading = Reading::begin(&rig, asking).await;
        let mut lines = Vec::new();
        loop {
            let event = reading.event().await;
            match event.event.as_str() {
                "line" => lines.push(event.data["text"].as_u64().unwrap()),
                "reconnecting" => {}
                "error" => break (lines, event.data),
                other => panic!("{other}"),
            }
        }
    };
    let ((lines, error), ()) = tokio::join!(reading, answering);
    assert_eq!(lines, [1, 2, 3, 4, 5]);
    assert_eq!(error["code"], "forbidden");
}

#[tokio::test]
async fn whoever_waits_too_long_is_told_so() {
    let rig = rig(|config| config.observer_waits = Duration::from_millis(300));
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let mut agent = rig.agent(&token, "one").await;
    let answering = async {
        let open = agent.opened().await;
        agent.line(&open, "a", 1).await;
    };
    let asking = post("logs.follow", &user, &[], "{}");
    let (mut reading, ()) = tokio::join!(Reading::begin(&rig, asking), answering);
    drop(agent);
    assert_eq!(reading.event().await.event, "line");
    assert_eq!(reading.event().await.event, "reconnecting");
    let error = reading.event().await;
    assert_eq!(
        (error.event.as_str(), &error.data["code"]),
        ("error", &json!("channel_lost"))
    );
    assert_eq!(reading.next().await, None);
}

#[tokio::test]
async fn another_gateway_goes_on_from_the_id_of_the_last_event() {
    let (first, mut agent, user, _) = connected().await;
    let args = r#"{"selector":"app=web","tail":5}"#;
    let answering = async {
        let open = agent.opened().await;
        agent.line(&open, "a", 1).await;
        agent.line(&open, "b", 7).await;
    };
    let asking = post("logs.follow", &user, &[], args);
    let (mut reading, ()) = tokio::join!(Reading::begin(&first, asking), answering);
    reading.event().await;
    let id = reading.event().await.id.unwrap();
    drop((reading, first, agent));

    // The agent has not found it yet: who goes on is not refused, but waits.
    let rig = rig(|_| {});
    let token = rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let headers = [("last-event-id", id.as_str())];
    let mut reading = Reading::begin(&rig, post("logs.follow", &user, &headers, args)).await;
    assert_eq!(reading.answer.status(), StatusCode::OK);
    assert_eq!(reading.event().await.event, "reconnecting");
    let (mut agent, open) = returned(&rig, &token, "one").await;
    assert_eq!(
        open["command"]["args"],
        json!({"selector": "app=web", "tail": 5, "resume": {"a": "a-1", "b": "b-7"}})
    );
    agent.line(&open, "b", 8).await;
    assert_eq!(reading.event().await.data["text"], 8);

    // The order of the fields is not the arguments'; another value is.
    let same = r#"{ "tail": 5, "selector": "app=web" }"#;
    let (again, open) = tokio::join!(
        Reading::begin(&rig, post("logs.follow", &user, &headers, same)),
        async {
            let open = agent.opened().await;
            agent.line(&open, "a", 2).await;
            open
        }
    );
    assert_eq!(again.answer.status(), StatusCode::OK);
    assert!(open["command"]["args"]["resume"].is_object());
    let other = r#"{"selector":"app=db","tail":5}"#;
    let mut caller = rig.caller().await;
    let answer = caller
        .send(post("logs.follow", &user, &headers, other))
        .await;
    let answer = collected(answer).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        answer.json()["message"]
            .as_str()
            .unwrap()
            .contains("other arguments")
    );
}

#[tokio::test]
async fn sources_that_do_not_fit_into_an_id_are_told_where_it_goes_on() {
    let (rig, mut agent, user, _) = connected().await;
    let cursor = "c".repeat(900);
    let sources = 12;
    let answering = async {
        let open = agent.opened().await;
        for source in 0..sources {
            let line = json!({"source": format!("s{source}"), "cursor": cursor});
            agent.event(&open, json!({ "line": line })).await;
        }
    };
    let asking = post("logs.follow", &user, &[], "{}");
    let (mut reading, ()) = tokio::join!(Reading::begin(&rig, asking), answering);
    let mut id = String::new();
    for _ in 0..sources {
        let event = reading.event().await;
        assert_eq!(event.event, "line");
        id = event.id.unwrap();
    }
    assert!(id.len() <= 8192);
    let headers = [("last-event-id", id.as_str())];
    let asking = post("logs.follow", &user, &headers, "{}");
    let (mut again, open) = tokio::join!(Reading::begin(&rig, asking), agent.opened());
    let resume = open["command"]["args"]["resume"].as_object().unwrap();
    assert!(resume.len() < sources && resume.contains_key("s11"));
    let gap = again.event().await;
    assert_eq!(gap.event, "gap");
    let expected = json!({"reason": "cursors_left_out", "sources": sources - resume.len()});
    assert_eq!(gap.data, expected);
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_a_status_for_who_begins() {
    let rig = rig(|_| {});
    rig.tokens.add_agent("prod").unwrap();
    let user = rig.tokens.add_user("alice", &[], &["*"]).unwrap();
    let mut caller = rig.caller().await;
    let answer = caller.send(post("logs.follow", &user, &[], "{}")).await;
    let answer = collected(answer).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.hop(), "Gateway");
}

#[tokio::test]
async fn a_gateway_that_leaves_says_so_in_its_streams() {
    let (rig, mut agent, user, _) = connected().await;
    let answering = async {
        let open = agent.opened().await;
        agent.line(&open, "a", 1).await;
    };
    let asking = post("logs.follow", &user, &[], "{}");
    let (mut reading, ()) = tokio::join!(Reading::begin(&rig, asking), answering);
    assert_eq!(reading.event().await.event, "line");
    rig.stop.cancel();
    let error = reading.event().await;
    assert_eq!(
        (error.event.as_str(), &error.data["code"]),
        ("error", &json!("shutting_down"))
    );
    assert_eq!(reading.next().await, None);
}

#[tokio::test]
async fn a_reader_that_stops_stalls_its_own_stream_and_no_other() {
    let (rig, mut agent, user, _) = connected().await;
    let mut caller = rig.caller().await;
    let stalled = post("logs.follow", &user, &[], "{}");
    let (answer, open) = tokio::join!(caller.send(stalled), async {
        let open = agent.opened().await;
        agent.line(&open, "a", 0).await;
        open
    });
    // As much as the gateway's credit and the sockets take, and nobody reads.
    let text = "x".repeat(32 * 1024);
    let mut credit = 256 * 1024_i64;
    let mut sent = 0_u64;
    loop {
        while credit > 0 {
            let line = json!({"line": {"source": "a", "cursor": sent.to_string(), "text": text}});
            credit -= i64::try_from(line.to_string().len()).unwrap();
            agent.event(&open, line).await;
            sent += 1;
        }
        let more = tokio::time::timeout(Duration::from_millis(700), agent.hear()).await;
        match more {
            Ok(super::super::rig::Said::Frame(frame)) if frame[0] == 2 => {
                credit += i64::from(u32::from_be_bytes(frame[8..12].try_into().unwrap()));
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => break,
        }
    }
    let held = sent * 32 * 1024;
    assert!(
        held < 16 * 1024 * 1024,
        "{held} bytes are held for who does not read"
    );
    // Another stream of the same channel goes on.
    let answering = async {
        let open = agent.opened().await;
        agent.end(&open["stream"]).await;
    };
    let mut other = rig.caller().await;
    let asking = post("status.get", &user, &[("accept", "application/json")], "{}");
    let (quick, ()) = tokio::join!(other.send(asking), answering);
    assert_eq!(quick.status(), StatusCode::OK);
    // Read on, everything is there once and in order.
    let mut reading = Reading {
        answer,
        text: String::new(),
        comments: 0,
        _caller: caller,
    };
    reading.event().await;
    for number in 0..sent {
        let line = reading.event().await.data;
        assert_eq!(line["cursor"], number.to_string());
    }
}

#[tokio::test]
async fn log_lines_as_text_go_on_over_a_lost_channel_and_break_off_when_they_cannot() {
    let (rig, mut agent, user, token) = connected().await;
    let path = "/clusters/prod/logs?selector=app%3Dweb&follow=true";
    let mut caller = rig.caller().await;
    let lines = |pod: &str, number: u32| {
        json!({"lines": {"source": format!("uid/{pod}"), "cursor": format!("c-{number}"),
            "namespace": "n", "pod": pod, "container": "app",
            "lines": [["2026-11-24T12:00:00Z", format!("line {number}")]]}})
    };
    let first = async {
        let open = agent.opened().await;
        assert_eq!(open["command"]["name"], "logs.follow");
        assert_eq!(open["command"]["args"], json!({"selector": "app=web"}));
        agent.event(&open, lines("web-0", 1)).await;
    };
    let asking = request(&Method::GET, path, &user).body(Full::default());
    let (mut answer, ()) = tokio::join!(caller.send(asking.unwrap()), first);
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(
        answer.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    let mut text = String::new();
    let mut read = async |text: &mut String| match soon(answer.body_mut().frame()).await {
        Some(Ok(frame)) => {
            let bytes = frame.into_data().unwrap();
            text.push_str(std::str::from_utf8(&bytes).unwrap());
            None
        }
        Some(Err(_)) => Some("broken"),
        None => Some("complete"),
    };
    assert_eq!(read(&mut text).await, None);
    drop(agent);
    let (mut agent, open) = returned(&rig, &token, "two").await;
    assert_eq!(
        open["command"]["args"]["resume"],
        json!({"uid/web-0": "c-1"})
    );
    agent.event(&open, lines("web-1", 2)).await;
    let gap = json!({"source": "uid/web-0", "cursor": "c-3", "reason": "rotated"});
    agent.event(&open, json!({ "gap": gap })).await;
    assert_eq!(read(&mut text).await, None);
    while !text.contains("gap") {
        assert_eq!(read(&mut text).await, None);
    }
    agent.fail(&open["stream"], "forbidden").await;
    let end = loop {
        if let Some(end) = read(&mut text).await {
            break end;
        }
    };
    assert_eq!(
        text,
        "[web-0/app] line 1\n\
         [web-1/app] line 2\n\
         --- gap: [web-0/app] rotated ---\n\
         --- error: forbidden: so it is ---\n"
    );
    assert_eq!(
        end, "broken",
        "a text that could not go on must not look complete"
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_stood_for_long_enough_ends_the_trouble_before_it() {
    let stands = [
        limits::OBSERVER_PROOF + Duration::from_secs(1),
        Duration::from_secs(5),
    ];
    for (stood, proven) in stands.into_iter().zip([true, false]) {
        // Longer than the stream stands, shorter than that and the time away together.
        let rig = rig(|config| config.observer_waits = Duration::from_secs(13));
        step_by_step(&rig.tasks);
        let token = rig.tokens.add_agent("prod").unwrap();
        let user = rig.tokens.add_user("alice", &["dev"], &["*"]).unwrap();
        let mut agent = rig.agent(&token, "one").await;
        let answering = async {
            let open = agent.opened().await;
            agent.line(&open, "a", 1).await;
            agent
        };
        let asking = post("logs.follow", &user, &[], "{}");
        let (mut reading, agent) = tokio::join!(Reading::begin(&rig, asking), answering);
        assert_eq!(reading.event().await.data["text"], 1);
        // The first trouble, which is over at once.
        drop(agent);
        assert_eq!(reading.event().await.event, "reconnecting");
        // A word of it would be proof at once: it says none.
        let (agent, _) = returned(&rig, &token, "one").await;
        tokio::time::sleep(stood).await;
        drop(agent);
        assert_eq!(reading.event().await.event, "reconnecting");
        tokio::time::sleep(Duration::from_secs(10)).await;
        let came = tokio::time::timeout(Duration::from_millis(1), reading.next()).await;
        assert_eq!(came.is_err(), proven, "after {stood:?}: {came:?}");
    }
}
