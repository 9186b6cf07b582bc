//! A kube-rs watcher through the tunnel sees what is done directly.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};

use crate::tunnel::{self, Tunnel};

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([("watched".to_owned(), "yes".to_owned())])),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

#[tokio::test]
async fn a_kube_rs_watcher_sees_every_object_come_and_go() {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let _ = provider.install_default();
    let direct: Api<ConfigMap> =
        Api::namespaced(tunnel::client(&tunnel::direct()).await, "default");
    let names: Vec<String> = (0..20)
        .map(|i| format!("watched-{}-{i}", std::process::id()))
        .collect();
    direct
        .create(&PostParams::default(), &config_map(&names[0]))
        .await
        .unwrap();

    let tunnel = Tunnel::start();
    let through: Api<ConfigMap> = Api::namespaced(tunnel.client().await, "default");
    let config = watcher::Config::default().labels("watched=yes");
    let mut events = pin!(watcher(through, config).default_backoff());
    let (mut seen, mut gone) = (Vec::new(), Vec::new());
    let watch = async {
        while gone.len() < names.len() {
            match events.next().await.unwrap().unwrap() {
                Event::InitApply(object) | Event::Apply(object) => {
                    seen.push(object.metadata.name.unwrap());
                }
                Event::InitDone => {
                    for name in &names[1..] {
                        direct
                            .create(&PostParams::default(), &config_map(name))
                            .await
                            .unwrap();
                    }
                    for name in &names {
                        direct.delete(name, &DeleteParams::default()).await.unwrap();
                    }
                }
                Event::Delete(object) => gone.push(object.metadata.name.unwrap()),
                Event::Init => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), watch)
        .await
        .expect("within a minute");
    assert_eq!(
        (&seen, &gone),
        (&names, &names),
        "each once, in the order of the API server"
    );
}
