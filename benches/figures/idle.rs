//! An idle channel: what its pings, heartbeats and reports cost in bytes.
//!
//! Owns the whole of gateway, agent and sample cluster in this process, and the relay between the
//! two that counts what passes. What is counted are TLS records, both ways, as TCP carries them.
//! Invariant: nothing is counted before the channel stands and has said what it says at its start.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pipeops_agent::agent::{Agent, Settings as Told};
use pipeops_agent::cluster::{Config, Credentials};
use pipeops_agent::config::secret::{Secret, SecretSource};
use pipeops_agent::config::value::ApiUrl;
use pipeops_agent::gateway::tls::dev::DevCertificate;
use pipeops_agent::gateway::{self, Gateway};
use pipeops_agent::limits;
use pipeops_agent::policy::Access;
use pipeops_agent::sample::Sample;
use pipeops_agent::status::Phase;
use pipeops_agent::tasks::Tasks;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::table::{Table, short};

#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// Seconds instead of minutes.
    #[arg(long)]
    quick: bool,
    /// Seconds that are counted; the channel has one period of 30.
    #[arg(long)]
    seconds: Option<u64>,
    /// Understood and not needed: there is one round.
    #[arg(long, hide = true)]
    rounds: Option<usize>,
}

/// The goal for both ways together, in bytes a second.
const GOAL: f64 = 60.0;

pub(crate) async fn run(settings: &Settings) -> anyhow::Result<()> {
    let seconds = settings
        .seconds
        .unwrap_or(if settings.quick { 2 } else { 180 });
    // The first heartbeats tell what later ones leave out, and the counts come after a while.
    let settle = if settings.quick { 1 } else { 45 };
    let tasks = Tasks::new();
    let stop = CancellationToken::new();
    let sample = Sample::start(&tasks).await?;
    let certificate = DevCertificate::make(&["localhost", "127.0.0.1"])?;
    let mut config = gateway::Config::new(certificate.certificate());
    config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let gateway = Gateway::bind(config)?;
    let target = gateway.local_addr()?;
    let token = gateway.tokens().add_agent("idle")?;
    let halt = stop.clone();
    tasks.spawn_logged("gateway", async move {
        gateway.run(halt).await;
    });

    let relay = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = relay.local_addr()?;
    let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    tasks.spawn_logged(
        "relay",
        pass(relay, target, Arc::clone(&counts), tasks.clone()),
    );

    let authority = std::env::temp_dir().join(format!("idle-{:016x}.crt", rand::random::<u64>()));
    std::fs::write(&authority, &certificate.ca_pem)?;
    let agent = Agent::start(Told {
        api_url: ApiUrl::parse(&format!("https://{address}")).map_err(anyhow::Error::msg)?,
        token: SecretSource::Given(Secret::token(&token)?),
        ca_file: Some(authority.clone()),
        transports: Default::default(),
        binary: true,
        proxy: None,
        exit_when_refused: true,
        cluster_name: "idle".to_owned(),
        labels: Default::default(),
        agent_id: None,
        cluster: Config {
            credentials: Credentials::Direct {
                url: sample.url().parse()?,
                ca_pem: Some(sample.ca_pem().to_owned()),
                token: Some(sample.token().clone()),
            },
        },
        access: Access::Readonly,
        impersonate: false,
        local: None,
        extensions: Default::default(),
        grace: limits::DEMO_GRACE,
        pod: None,
    })
    .await?;
    let status = agent.status();
    let halt = stop.clone();
    tasks.spawn_logged("agent", async move {
        agent.run(halt).await;
    });
    let mut watch = status.watch();
    let connected = watch.wait_for(|now| now.phase == Phase::Connected);
    let _ = tokio::time::timeout(limits::DEMO_READY, connected).await??;
    std::fs::remove_file(authority)?;
    tokio::time::sleep(Duration::from_secs(settle)).await;
    let read = || [0, 1].map(|way| counts[way].load(Ordering::Relaxed));
    let before = read();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let after = read();
    anyhow::ensure!(status.snapshot().sessions == 1, "the channel did not stand");
    stop.cancel();
    tasks.stop();

    let rate = |way: usize| {
        let bytes = u32::try_from(after[way] - before[way]).unwrap_or(u32::MAX);
        f64::from(bytes) / f64::from(u32::try_from(seconds).unwrap_or(u32::MAX))
    };
    let both = rate(0) + rate(1);
    let mut table = Table::new(&[
        "idle channel",
        "seconds",
        "to the gateway B/s",
        "to the agent B/s",
        "both B/s",
        "goal",
    ]);
    table.row(&[
        "ping, heartbeat, report".to_owned(),
        seconds.to_string(),
        short(rate(0)),
        short(rate(1)),
        format!("**{}**", short(both)),
        short(GOAL),
    ]);
    crate::say(&table.with_load())
}

/// Carries every connection on to the gateway, and counts.
async fn pass(relay: TcpListener, target: SocketAddr, counts: Arc<[AtomicU64; 2]>, tasks: Tasks) {
    while let Ok((near, _)) = relay.accept().await {
        let Ok(far) = TcpStream::connect(target).await else {
            return;
        };
        let (near_reader, near_writer) = near.into_split();
        let (far_reader, far_writer) = far.into_split();
        let ways = [(near_reader, far_writer), (far_reader, near_writer)];
        for (way, (mut reader, mut writer)) in ways.into_iter().enumerate() {
            let counts = Arc::clone(&counts);
            tasks.spawn_logged("way", async move {
                let mut buffer = vec![0; 16 * 1024];
                while let Ok(read @ 1..) = reader.read(&mut buffer).await {
                    counts[way].fetch_add(read as u64, Ordering::Relaxed);
                    if writer.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
            });
        }
    }
}
