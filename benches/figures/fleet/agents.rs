//! A process full of agents.
//!
//! Owns both ends of it: the process, which runs one uplink for each agent and says on standard
//! output how many are connected, and the handle to it. The uplinks are the agent's own, with its
//! schedule of coming back; cluster and handlers are shared.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use pipeops_agent::cluster::{Cluster, Config, Credentials};
use pipeops_agent::commands;
use pipeops_agent::config::secret::{Secret, SecretSource};
use pipeops_agent::config::value::ApiUrl;
use pipeops_agent::dispatch::{self, Dispatch};
use pipeops_agent::health::{self, Monitor};
use pipeops_agent::limits;
use pipeops_agent::metrics::Metrics;
use pipeops_agent::policy::{self, Access, Policy};
use pipeops_agent::sample::Sample;
use pipeops_agent::status::{Phase, Status};
use pipeops_agent::tasks::Tasks;
use pipeops_agent::uplink::{self, Uplink};
use tokio_util::sync::CancellationToken;

use super::{Folder, cluster, token};
use crate::process::{self, Process, memory};

#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// Where the gateway listens, on loopback.
    #[arg(long)]
    port: u16,
    /// The authority that its certificate is from.
    #[arg(long)]
    ca: PathBuf,
    /// The first agent's number.
    #[arg(long)]
    first: usize,
    /// How many agents there are.
    #[arg(long)]
    count: usize,
}

/// A running process of agents.
#[derive(Debug)]
pub(crate) struct Agents {
    process: Process,
    connected: Arc<AtomicUsize>,
    /// KiB that the process had before its first agent.
    alone: Arc<AtomicU64>,
}

impl Agents {
    /// Starts the `number`th process, of `each` agents or those that are left of `all`.
    pub(crate) fn start(
        folder: &Folder,
        port: u16,
        number: usize,
        each: usize,
        all: usize,
    ) -> anyhow::Result<Self> {
        let first = number * each;
        let count = each.min(all - first);
        let arguments = [
            "fleet-agents".to_owned(),
            format!("--port={port}"),
            format!("--ca={}", folder.ca().display()),
            format!("--first={first}"),
            format!("--count={count}"),
        ];
        let mut process = Process::start(
            process::again(&arguments)?
                .current_dir(folder.as_path())
                .stdout(Stdio::piped()),
        )?;
        let output = process.output().context("its output is a pipe")?;
        let (connected, alone) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default());
        let (set, base) = (Arc::clone(&connected), Arc::clone(&alone));
        // Ends with the process, whose pipe it reads.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                match line.split_once(' ') {
                    Some(("alone", kib)) => {
                        base.store(kib.parse().unwrap_or(0), Ordering::Relaxed);
                    }
                    Some(("connected", now)) => {
                        set.store(now.parse().unwrap_or(0), Ordering::Relaxed);
                    }
                    _ => {}
                }
            }
            set.store(0, Ordering::Relaxed);
        });
        Ok(Self {
            process,
            connected,
            alone,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// How many of its agents are connected.
    pub(crate) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// MiB that the process had before its first agent.
    pub(crate) fn alone_mib(&self) -> f64 {
        self.alone.load(Ordering::Relaxed) as f64 / 1024.0
    }
}

pub(crate) async fn run(settings: &Settings) -> anyhow::Result<()> {
    pipeops_agent::gateway::raise_open_files();
    let tasks = Tasks::new();
    let sample = Sample::start(&tasks).await?;
    let credentials = Credentials::Direct {
        url: sample.url().parse()?,
        ca_pem: Some(sample.ca_pem().to_owned()),
        token: Some(sample.token().clone()),
    };
    let backend = Cluster::connect(Config { credentials }, &tasks).await?;
    let access = Access::Admin;
    let config = health::Config {
        access,
        control_plane: None,
    };
    let health = Monitor::new(backend.clone(), Status::default(), config);
    let shared = commands::Shared {
        cluster: backend,
        impersonate: false,
        health,
    };
    let handlers = Arc::new(Dispatch::new(
        Arc::new(shared),
        Policy::new(policy::Config { access }),
        dispatch::metrics::Metrics::default(),
        tasks.child(),
        Box::new(|_| {}),
    ));
    let alone = memory(std::process::id(), "VmRSS")? * 1024.0;
    crate::say(&format!("alone {alone:.0}"))?;

    let stop = CancellationToken::new();
    let url = format!("https://127.0.0.1:{}", settings.port);
    let mut all = Vec::new();
    for number in settings.first..settings.first + settings.count {
        let status = Status::default();
        all.push(status.clone());
        let config = uplink::Config {
            api_url: ApiUrl::parse(&url).map_err(anyhow::Error::msg)?,
            token: SecretSource::Given(Secret::token(&token(number).1)?),
            ca_file: Some(settings.ca.clone()),
            proxy: None,
            transports: Default::default(),
            binary: true,
            cluster_name: cluster(number),
            labels: Default::default(),
            agent_id: Some(cluster(number)),
            instance: format!("{:016x}", rand::random::<u64>()),
            epoch: 1,
            access: access.as_str(),
            exit_when_refused: false,
            grace: limits::DEMO_GRACE,
        };
        let uplink = Uplink::new(
            config,
            status,
            &Metrics::default(),
            handlers.clone(),
            tasks.clone(),
        );
        let stop = stop.clone();
        tasks.spawn("agent", async move {
            uplink.run(stop).await;
        });
    }
    let mut said = usize::MAX;
    loop {
        let is_connected = |status: &&Status| status.snapshot().phase == Phase::Connected;
        let now = all.iter().filter(is_connected).count();
        if now != said {
            crate::say(&format!("connected {now}"))?;
            said = now;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
