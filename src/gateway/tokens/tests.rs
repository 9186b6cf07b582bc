//! Tokens in memory and in their file.

use super::*;

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pipeops-tokens-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

#[test]
fn a_token_opens_only_what_it_was_made_for() {
    let tokens = Tokens::new();
    let agent = tokens.add_agent("prod").unwrap();
    let user = tokens.add_user("alice", &["dev"], &["prod"]).unwrap();
    let agent = tokens.check(&agent).unwrap();
    let user = tokens.check(&user).unwrap();
    assert_eq!(agent.agent_of(), Some("prod"));
    assert!(!agent.may_use("prod"));
    assert!(user.may_use("prod") && !user.may_use("test") && user.agent_of().is_none());
    assert_eq!(user.actor.groups, ["dev"]);
}

#[test]
fn a_changed_character_anywhere_is_refused() {
    let tokens = Tokens::new();
    let token = tokens.add_agent("prod").unwrap();
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(tokens.check(&changed).is_none(), "{at}");
    }
    assert!(tokens.check("").is_none());
    assert!(tokens.check("pgt_").is_none());
}

#[test]
fn removing_a_token_tells_what_runs_under_it_and_nothing_else() {
    let tokens = Tokens::new();
    let first = tokens.add_agent("a").unwrap();
    let second = tokens.add_agent("b").unwrap();
    let (one, two) = (
        tokens.check(&first).unwrap(),
        tokens.check(&second).unwrap(),
    );
    assert!(tokens.remove(&first));
    assert!(one.revoked.is_cancelled());
    assert!(!two.revoked.is_cancelled());
    assert!(tokens.check(&first).is_none());
}

#[test]
fn changed_grants_end_what_ran_under_the_old_ones() {
    let tokens = Tokens::new();
    let text = tokens.add_user("alice", &[], &["*"]).unwrap();
    let before = tokens.check(&text).unwrap();
    let mut stored = tokens.stored();
    stored[0].grant = Grant::User {
        name: "alice".into(),
        groups: vec![],
        clusters: vec!["prod".into()],
    };
    tokens.replace(stored);
    assert!(before.revoked.is_cancelled());
    assert!(!tokens.check(&text).unwrap().may_use("test"));
}

#[test]
fn names_that_the_api_server_keeps_for_itself_are_refused() {
    let tokens = Tokens::new();
    assert!(tokens.add_user("system:admin", &[], &["*"]).is_err());
    assert!(tokens.add_user("a", &["system:masters"], &["*"]).is_err());
    assert!(tokens.add_user("a b", &[], &["*"]).is_err());
    assert!(tokens.add_agent("../x").is_err());
    assert!(tokens.add_agent("Prod").is_err());
    assert!(tokens.add_agent("").is_err());
}

#[test]
fn the_file_holds_no_token_and_nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let directory = directory("mode");
    let file = TokenFile::new(directory.join("tokens.json"));
    let token = file
        .add(Grant::Agent {
            cluster: "prod".into(),
        })
        .unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    let secret = token.rsplit('_').next().unwrap();
    assert!(!text.contains(secret));
    let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let tokens = Tokens::new();
    tokens.replace(file.read().unwrap());
    assert!(tokens.check(&token).is_some());
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn changes_at_once_lose_no_token() {
    let directory = directory("race");
    let file = TokenFile::new(directory.join("tokens.json"));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let file = &file;
            scope.spawn(move || {
                for round in 0..4 {
                    let cluster = format!("c-{thread}-{round}");
                    file.add(Grant::Agent { cluster }).unwrap();
                }
            });
        }
    });
    assert_eq!(file.read().unwrap().len(), 32);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn removing_an_unknown_token_says_so() {
    let directory = directory("unknown");
    let file = TokenFile::new(directory.join("tokens.json"));
    assert!(matches!(file.remove("1234"), Err(TokenError::Unknown(_))));
    std::fs::remove_dir_all(directory).unwrap();
}
