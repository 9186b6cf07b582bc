//! The agent's end of a round, in a process of its own.
//!
//! Owns the handlers: `channel.echo` as the agent has it, and an exchange of small messages. Ends
//! when the gateway's end is gone.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use pipeops_agent::protocol::CommandEnvelope;
use pipeops_agent::protocol::command::Command;
use pipeops_agent::protocol::command::channel_echo::Mode;
use pipeops_agent::session::{
    Incoming, Item, Notice, Open, StreamError, StreamReader, StreamWriter,
};
use pipeops_agent::tasks::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::wire::{self, ANSWER, Bare, Dialler, PIECE, REQUEST};

/// The command that answers each message on an open stream; only the benchmark knows it.
pub(crate) const EXCHANGE: &str = "bench.exchange";

/// The command that sends so many small events; only the benchmark knows it.
pub(crate) const EVENTS: &str = "bench.events";

/// One of them: what the seed's agent sent of one object, in as many bytes.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Told<'a> {
    pub(crate) number: u64,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    reason: &'a str,
    message: &'a str,
}

impl Told<'_> {
    const fn new(number: u64) -> Self {
        Told {
            number,
            kind: "Pod",
            namespace: "default",
            name: "web-6d4cf56db6-x7k2p",
            reason: "Unhealthy",
            message: "Readiness probe failed: HTTP probe failed with statuscode: 503",
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// Where the gateway's end listens.
    address: SocketAddr,
    /// The authority that its certificate is from, in PEM form.
    #[arg(long)]
    ca: String,
    /// Bare TLS connections to open, instead of a session.
    #[arg(long, default_value_t = 0)]
    bare: usize,
}

pub(crate) async fn run(settings: &Settings) -> anyhow::Result<()> {
    let dialler = Dialler::new(settings.address, &settings.ca)?;
    let tasks = Tasks::new();
    if settings.bare > 0 {
        for _ in 0..settings.bare {
            let io = dialler.connect().await?;
            tasks.spawn("bare", bare(io));
        }
        tasks.wait().await;
        return Ok(());
    }
    let owner = Arc::new(Handlers(tasks));
    let (_session, driver) = dialler.session(owner).await?;
    driver.await;
    Ok(())
}

async fn bare(mut io: wire::Client) -> std::io::Result<()> {
    loop {
        match Bare::hear(&mut io).await? {
            Bare::Source(count) => wire::pour(&mut io, count).await?,
            Bare::Sink(count) => {
                wire::drain(&mut io, count).await?;
                io.write_u8(1).await?;
                io.flush().await?;
            }
            Bare::Exchange => {
                let mut request = [0; REQUEST];
                loop {
                    io.read_exact(&mut request).await?;
                    io.write_all(&[b'y'; ANSWER]).await?;
                    io.flush().await?;
                }
            }
        }
    }
}

struct Handlers(Tasks);

impl Open for Handlers {
    fn open(&self, incoming: Incoming) {
        self.0.spawn("command", serve(incoming));
    }

    fn notice(&self, _notice: Notice) {}
}

async fn serve(incoming: Incoming) {
    let Incoming {
        command,
        reader,
        mut writer,
        ender,
        ..
    } = incoming;
    if run_command(&command, reader, &mut writer).await.is_ok() {
        writer.fin();
        ender.end(Ok(None));
    }
}

static PATTERN: [u8; PIECE] = [b'x'; PIECE];

async fn run_command(
    command: &CommandEnvelope,
    mut reader: StreamReader,
    writer: &mut StreamWriter,
) -> Result<(), StreamError> {
    if command.name == EXCHANGE {
        let mut asked = 0;
        while let Item::Data(bytes) = reader.recv().await? {
            asked += bytes.len();
            while asked >= REQUEST {
                asked -= REQUEST;
                writer.send(Bytes::from_static(&PATTERN[..ANSWER])).await?;
            }
        }
        return Ok(());
    }
    if command.name == EVENTS {
        let count: u64 = serde_json::from_str(command.args.get()).unwrap_or(0);
        for number in 0..count {
            writer.event(&Told::new(number)).await?;
        }
        return Ok(());
    }
    let Ok(Command::ChannelEcho(request)) = Command::parse(&command.name, &command.args) else {
        return Err(StreamError::Ended);
    };
    match request.mode {
        Mode::Source => source(writer, request.bytes).await?,
        Mode::Sink => while let Item::Data(_) = reader.recv().await? {},
        Mode::Echo => {
            while let Item::Data(bytes) = reader.recv().await? {
                writer.send(bytes).await?;
            }
        }
    }
    Ok(())
}

async fn source(writer: &mut StreamWriter, mut left: u64) -> Result<(), StreamError> {
    while left > 0 {
        let room = writer.ready().await?.min(PIECE);
        let size = usize::try_from(left).map_or(room, |left| left.min(room));
        writer.push(Bytes::from_static(&PATTERN[..size]))?;
        left -= size as u64;
    }
    Ok(())
}
