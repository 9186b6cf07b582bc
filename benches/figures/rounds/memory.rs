//! Memory: an idle session, then idle streams on it.

use std::time::Duration;

use bytes::Bytes;
use pipeops_agent::protocol::command::channel_echo::Mode;
use pipeops_agent::protocol::message::Class;
use pipeops_agent::session::Item;

use super::{Ends, Figures, Settings};
use crate::process::memory;

/// How many streams are opened before their echoes are awaited.
const AT_ONCE: usize = 256;

pub(super) async fn run(settings: &Settings) -> anyhow::Result<Figures> {
    let ends = Ends::connect().await?;
    let (gateway, agent) = (std::process::id(), ends.agent.id());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = [memory(gateway, "VmRSS")?, memory(agent, "VmRSS")?];
    let mut streams = Vec::new();
    while streams.len() < settings.streams {
        let first = streams.len();
        for _ in first..settings.streams.min(first + AT_ONCE) {
            let (reader, mut writer) = ends.echo(Class::Api, Mode::Echo, 0)?;
            writer.send(Bytes::from_static(b"x")).await?;
            streams.push((reader, writer));
        }
        for (reader, _) in &mut streams[first..] {
            let item = reader.recv().await?;
            anyhow::ensure!(matches!(item, Item::Data(_)), "{item:?} instead of an echo");
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = [memory(gateway, "VmRSS")?, memory(agent, "VmRSS")?];
    let each = |end: usize| (after[end] - before[end]) * 1024.0 / settings.streams as f64;
    Ok(Figures::from([
        ("gateway_mib".to_owned(), after[0]),
        ("agent_mib".to_owned(), after[1]),
        ("gateway_idle_mib".to_owned(), before[0]),
        ("agent_idle_mib".to_owned(), before[1]),
        ("gateway_kib_per_stream".to_owned(), each(0)),
        ("agent_kib_per_stream".to_owned(), each(1)),
    ]))
}
