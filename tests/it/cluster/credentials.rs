//! Credentials: which are taken, which are refused, and that none is ever shown.

use std::sync::Arc;

use pipeops_agent::cluster::error::Unreachable;
use pipeops_agent::cluster::run_as::RunAsError;
use pipeops_agent::cluster::{
    Cluster, ClusterError, Config, ConnectError, Credentials, Outgoing, RunAs,
};
use pipeops_agent::tasks::Tasks;

use super::{Ask, cluster, text};
use crate::support::apiserver::{ApiServer, Then, answer};
use crate::support::soon;

/// Must never be seen anywhere but in the one header.
const CANARY: &str = "canary-7c1f9d";

/// A folder of this test's own, removed at its end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pipeops-it-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn kubeconfig(&self, text: &str) -> Credentials {
        let path = self.0.join("config");
        std::fs::write(&path, text).unwrap();
        Credentials::Kubeconfig {
            path: Some(path),
            context: None,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn kubeconfig(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         contexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n\
         clusters: [{{name: k, cluster: {{{cluster}}}}}]\n\
         users: [{{name: u, user: {{{user}}}}}]\n"
    )
}

async fn connect(credentials: Credentials) -> Result<Cluster, ConnectError> {
    soon(Cluster::connect(Config { credentials }, &Tasks::new())).await
}

async fn ok_server(tasks: &Tasks) -> ApiServer {
    ApiServer::start(tasks, async |_, mut peer| {
        peer.send(answer("200 OK", "", "ok")).await;
        (peer, Then::KeepAlive)
    })
    .await
}

#[tokio::test]
async fn a_kubeconfigs_token_file_is_used_and_never_shown() {
    let tasks = Tasks::new();
    let server = ok_server(&tasks).await;
    let folder = Folder::new("token-file");
    let token = folder.0.join("token");
    std::fs::write(&token, CANARY).unwrap();
    let text_of_config = kubeconfig(
        &format!("server: \"http://{}\"", server.address),
        &format!("tokenFile: {}", token.display()),
    );
    let cluster = connect(folder.kubeconfig(&text_of_config)).await.unwrap();
    let answer = soon(Ask::get("/version").of(&cluster)).await.unwrap();
    soon(text(answer)).await.unwrap();
    assert_eq!(
        server.seen()[0].header("authorization"),
        Some(format!("Bearer {CANARY}").as_str())
    );
    assert!(!format!("{cluster:?}").contains(CANARY));
}

#[tokio::test]
async fn no_error_and_no_debug_shows_a_credential() {
    let folder = Folder::new("canary");
    // Not YAML, a key that is none, a token that no header may hold, a plugin that fails with it.
    let broken = [
        format!("users: [{{name: u, user: {{token: \"{CANARY}\"}}\n  - : :"),
        format!("apiVersion: v1\nclusters: {CANARY}\n"),
        kubeconfig(
            "server: \"https://127.0.0.1:1\"",
            &format!("client-key-data: \"{CANARY}!\", client-certificate-data: \"{CANARY}!\""),
        ),
        kubeconfig(
            "server: \"https://127.0.0.1:1\"",
            &format!(
                "exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, \
                 args: [\"-c\", \"echo {CANARY}; echo {CANARY} >&2; exit 3\"], \
                 interactiveMode: Never}}"
            ),
        ),
        kubeconfig(
            "server: \"https://127.0.0.1:1\"",
            &format!(
                "exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, \
                 args: [\"-c\", \"echo {CANARY}\"], interactiveMode: Never}}"
            ),
        ),
    ];
    for text in broken {
        let error = connect(folder.kubeconfig(&text)).await.unwrap_err();
        for shown in [format!("{error}"), format!("{error:?}")] {
            assert!(!shown.contains(CANARY), "{shown}");
        }
    }
    let credentials = Credentials::Direct {
        url: "http://127.0.0.1:1".parse().unwrap(),
        ca_pem: None,
        token: Some(CANARY.to_owned().into()),
    };
    let config = Config { credentials };
    assert!(!format!("{config:?}").contains(CANARY));
    // A token that no header may hold is found out before anything is sent.
    let credentials = Credentials::Direct {
        url: "http://127.0.0.1:1".parse().unwrap(),
        ca_pem: None,
        token: Some(format!("{CANARY}\nx").into()),
    };
    match connect(credentials).await {
        Ok(cluster) => {
            let error = soon(Ask::get("/version").of(&cluster)).await.unwrap_err();
            assert!(!format!("{error} {error:?}").contains(CANARY));
        }
        Err(error) => assert!(!format!("{error} {error:?}").contains(CANARY)),
    }
}

#[tokio::test]
async fn a_server_that_must_not_be_verified_is_refused() {
    let folder = Folder::new("insecure");
    let text = kubeconfig(
        "server: \"https://127.0.0.1:1\", insecure-skip-tls-verify: true",
        "token: t",
    );
    let error = connect(folder.kubeconfig(&text)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unverified), "{error:?}");
}

#[tokio::test]
async fn a_proxy_of_the_kubeconfig_is_refused_and_not_ignored() {
    let folder = Folder::new("proxy");
    let text = kubeconfig(
        "server: \"https://127.0.0.1:1\", proxy-url: \"http://127.0.0.1:2\"",
        "token: t",
    );
    let error = connect(folder.kubeconfig(&text)).await.unwrap_err();
    assert!(error.to_string().contains("proxy-url"), "{error}");
}

/// A certificate for 127.0.0.1 that is its own authority.
#[cfg(feature = "demo")]
fn certificate() -> (Arc<rustls::ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (Arc::new(tls), made.cert.pem())
}

#[cfg(feature = "demo")]
#[tokio::test]
async fn only_the_credentials_own_authority_is_trusted() {
    let tasks = Tasks::new();
    let (tls, ca_pem) = certificate();
    let (_, other_pem) = certificate();
    let server = ApiServer::start_tls(&tasks, tls, async |_, mut peer| {
        peer.send(answer("200 OK", "", "ok")).await;
        (peer, Then::KeepAlive)
    })
    .await;
    let with = async |pem: String| {
        let credentials = Credentials::Direct {
            url: format!("https://{}", server.address).parse().unwrap(),
            ca_pem: Some(pem),
            token: Some(CANARY.to_owned().into()),
        };
        connect(credentials).await.unwrap()
    };
    let trusted = with(ca_pem).await;
    let answer = soon(Ask::get("/version").of(&trusted)).await.unwrap();
    assert_eq!(soon(text(answer)).await.unwrap(), "ok");
    let error = soon(Ask::get("/version").of(&with(other_pem).await))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ClusterError::Unreachable {
                kind: Unreachable::Certificate,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(server.seen().len(), 1, "no token went to a stranger");
}

#[tokio::test]
async fn a_request_runs_as_its_caller_and_as_nobody_else() {
    let tasks = Tasks::new();
    let server = ok_server(&tasks).await;
    let cluster = cluster(&server, &tasks).await;
    let path = Ask::get("/api/v1/pods").path;
    let headers = [
        ("Impersonate-User".to_owned(), "root".to_owned()),
        ("Impersonate-Group".to_owned(), "system:masters".to_owned()),
        ("Impersonate-Extra-Scopes".to_owned(), "all".to_owned()),
    ];
    let run_as = RunAs {
        user: "ada".into(),
        groups: vec!["dev".into(), "ops".into()],
        extra: vec![("example.com/Reason".into(), vec!["a".into(), "b".into()])],
    };
    let answer = soon(cluster.request(Outgoing {
        path: &path,
        headers: &headers,
        run_as: Some(&run_as),
        upload: None,
    }))
    .await
    .unwrap();
    soon(text(answer)).await.unwrap();
    let seen = &server.seen()[0];
    assert_eq!(seen.all("impersonate-user"), ["ada"]);
    assert_eq!(seen.all("impersonate-group"), ["dev", "ops"]);
    assert_eq!(
        seen.all("impersonate-extra-example.com%2freason"),
        ["a", "b"]
    );
    assert_eq!(seen.header("impersonate-extra-scopes"), None);
}

#[test]
fn an_identity_that_cannot_be_set_whole_is_refused() {
    let of = |user: &str, groups: &[&str], key: &str, value: &str| {
        RunAs {
            user: user.into(),
            groups: groups.iter().map(|&group| group.into()).collect(),
            extra: vec![(key.into(), vec![value.into()])],
        }
        .headers()
        .map(drop)
    };
    assert_eq!(of("ada", &["dev"], "k", "v"), Ok(()));
    assert_eq!(of("", &[], "k", "v"), Err(RunAsError::NoUser));
    for system in ["system:admin", "System:admin", " system:admin", "system:"] {
        assert_eq!(
            of(system, &[], "k", "v"),
            Err(RunAsError::System),
            "{system}"
        );
        assert_eq!(
            of("ada", &["dev", system], "k", "v"),
            Err(RunAsError::System),
            "{system}"
        );
    }
    for (user, group, key, value) in [
        ("a\nda", "dev", "k", "v"),
        ("ada ", "dev", "k", "v"),
        ("ada", "", "k", "v"),
        ("ada", "d\0v", "k", "v"),
        ("ada", "dev", "", "v"),
        ("ada", "dev", "k", "v\r\nx: y"),
    ] {
        assert_eq!(of(user, &[group], key, value), Err(RunAsError::Unwritable));
    }
    let long = "x".repeat(20_000);
    assert_eq!(of(&long, &[], "k", "v"), Err(RunAsError::TooLarge));
}
