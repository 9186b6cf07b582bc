//! Small events: how many a second one agent sends, and what each costs at both ends.

use pipeops_agent::protocol::message::Class;
use pipeops_agent::session::{Item, StreamReader};
use pipeops_agent::tasks::Tasks;
use tokio::time::Instant;

use super::{Ends, Figures, Settings};
use crate::peer::{EVENTS, Told};
use crate::process::Meter;

/// How many the agent sends in a second of the row's time: that many take about that long.
const A_SECOND: f64 = 100_000.0;

pub(super) async fn run(settings: &Settings) -> anyhow::Result<Figures> {
    let ends = Ends::connect().await?;
    let each = (A_SECOND * settings.seconds) as u64 / settings.streams.max(1) as u64;
    let (meter, from) = (Meter::start(ends.agent.id())?, Instant::now());
    let tasks = Tasks::new();
    let mut readers = Vec::new();
    for _ in 0..settings.streams {
        let args = serde_json::value::to_raw_value(&each)?;
        let (reader, _writer) = super::open(&ends.session, Class::Api, EVENTS, args, false)?;
        readers.push(tasks.spawn("reader", count(reader, each)));
    }
    let mut bytes = 0;
    for reader in readers {
        bytes += reader.await??;
    }
    let seconds = from.elapsed().as_secs_f64();
    let [gateway, agent] = meter.stop()?;
    let events = (each * settings.streams as u64) as f64;
    Ok(Figures::from([
        ("per_s".to_owned(), events / seconds),
        ("gateway_cpu_us".to_owned(), gateway * 1e6 / events),
        ("agent_cpu_us".to_owned(), agent * 1e6 / events),
        ("agent_core_per_s".to_owned(), events / agent),
        ("bytes".to_owned(), bytes as f64 / events),
    ]))
}

/// Reads to the end, as what was sent: how many bytes of events came.
async fn count(mut reader: StreamReader, wanted: u64) -> anyhow::Result<u64> {
    let (mut count, mut bytes) = (0, 0);
    loop {
        match reader.recv().await? {
            Item::Event(event) => {
                let told: Told = serde_json::from_str(event.get())?;
                anyhow::ensure!(told.number == count, "event {} as {count}", told.number);
                count += 1;
                bytes += event.get().len() as u64;
            }
            Item::End(Ok(_)) => break,
            Item::Data(_) | Item::Fin => {}
            Item::End(Err(error)) => anyhow::bail!("{}: {}", error.code, error.message),
        }
    }
    anyhow::ensure!(count == wanted, "{count} of {wanted} events came");
    Ok(bytes)
}
