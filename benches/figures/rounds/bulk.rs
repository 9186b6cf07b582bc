//! Bulk: CPU seconds per GiB, both ends, user and system.

use bytes::Bytes;
use pipeops_agent::limits;
use pipeops_agent::protocol::command::channel_echo::Mode;
use pipeops_agent::protocol::message::Class;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::{Ends, Figures, Settings};
use crate::process::Meter;
use crate::wire::{self, Bare, Server};

/// Bytes before counting begins: windows and buffers have their size then.
const WARM_UP: u64 = 32 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;

pub(super) async fn bare(settings: &Settings, up: bool) -> anyhow::Result<Figures> {
    let (mut connections, agent) = super::bare(1).await?;
    let io = &mut connections[0];
    carry(io, WARM_UP, up).await?;
    let total = settings.mib * MIB;
    let (meter, from) = (Meter::start(agent.id())?, Instant::now());
    carry(io, total, up).await?;
    figures(meter, from, total)
}

async fn carry(io: &mut Server, count: u64, up: bool) -> anyhow::Result<()> {
    if up {
        Bare::Sink(count).ask(io).await?;
        wire::pour(io, count).await?;
        io.read_u8().await?;
    } else {
        Bare::Source(count).ask(io).await?;
        wire::drain(io, count).await?;
    }
    Ok(())
}

pub(super) async fn streams(settings: &Settings, up: bool) -> anyhow::Result<Figures> {
    let ends = Ends::connect().await?;
    transfer(&ends, settings.streams, WARM_UP, up).await?;
    let total = settings.mib * MIB;
    let (meter, from) = (Meter::start(ends.agent.id())?, Instant::now());
    transfer(&ends, settings.streams, total, up).await?;
    figures(meter, from, total)
}

async fn transfer(ends: &Ends, streams: usize, total: u64, up: bool) -> anyhow::Result<()> {
    let each = total / streams as u64;
    let mut running = Vec::new();
    for _ in 0..streams {
        let mode = if up { Mode::Sink } else { Mode::Source };
        let (mut reader, mut writer) = ends.echo(Class::Bulk, mode, each)?;
        let receive = async move {
            let count = super::to_end(&mut reader).await?;
            anyhow::ensure!(up || count == each, "{count} of {each} bytes came");
            Ok(())
        };
        if up {
            running.push(ends.tasks.spawn("upload", async move {
                static PATTERN: [u8; limits::CHUNK] = [b'x'; limits::CHUNK];
                let mut left = each;
                while left > 0 {
                    let room = writer.ready().await?.min(limits::CHUNK);
                    let size = usize::try_from(left).map_or(room, |left| left.min(room));
                    writer.push(Bytes::from_static(&PATTERN[..size]))?;
                    left -= size as u64;
                }
                writer.fin();
                receive.await
            }));
        } else {
            running.push(ends.tasks.spawn("download", receive));
        }
    }
    for task in running {
        task.await??;
    }
    Ok(())
}

fn figures(meter: Meter, from: Instant, total: u64) -> anyhow::Result<Figures> {
    let seconds = from.elapsed().as_secs_f64();
    let [gateway, agent] = meter.stop()?;
    let gib = total as f64 / (1024.0 * MIB as f64);
    Ok(Figures::from([
        ("cpu_s_per_gib".to_owned(), (gateway + agent) / gib),
        ("gateway_cpu_s_per_gib".to_owned(), gateway / gib),
        ("agent_cpu_s_per_gib".to_owned(), agent / gib),
        ("gib_per_s".to_owned(), gib / seconds),
    ]))
}
