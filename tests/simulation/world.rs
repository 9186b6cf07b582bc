//! One run of one seed: gateway, agent, API server and callers over one network, and its faults.
//!
//! Owns the hosts, what each fault does, and the sentences that are checked at every step. Owns not:
//! when faults come (`schedule`), what is said on the wire (`wiretap`), what callers see (`load`,
//! `follow`).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, UNIX_EPOCH};

use pipeops_agent::agent::{Agent, Settings};
use pipeops_agent::cluster::{self, Credentials};
use pipeops_agent::config::secret::SecretSource;
use pipeops_agent::config::value::ApiUrl;
use pipeops_agent::gateway::tls::dev::DevCertificate;
use pipeops_agent::gateway::{Certificate, Config, Gateway, Grant, TokenFile};
use pipeops_agent::status::{Phase, Status};
use pipeops_agent::{limits, policy, simulation};
use tokio::runtime::Handle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use turmoil::{Builder, Sim};

use crate::backend::{self, Backend};
use crate::caller::Caller;
use crate::follow::Follower;
use crate::interactive;
use crate::load::{self, Changes};
use crate::network::{GATEWAY, Simulated};
use crate::raw;
use crate::record::{Outcome, Record};
use crate::schedule::{Fault, Schedule};

const BACK: &str = "after the last fault is over the agent is connected within the cap and 5 s";
const NO_TASK: &str = "no task is left after the stop";
const STOPS: &str = "a program that is told to stop ends within its grace";

/// How long a run goes on after its load, so that all may stop.
const LAST: Duration = Duration::from_secs(60);

const TICK: Duration = Duration::from_millis(10);

/// Where the tokens are, and what the programs share with the run.
pub(crate) struct Programs {
    pub(crate) record: Record,
    pub(crate) folder: PathBuf,
    gateway: SocketAddr,
    backend: SocketAddr,
    status: RefCell<Option<Status>>,
    pub(crate) stop_agent: RefCell<CancellationToken>,
    pub(crate) stop_gateway: RefCell<CancellationToken>,
    stop_load: CancellationToken,
    /// Nothing is started again.
    over: Cell<bool>,
    agent_ended: Cell<bool>,
    gateway_ended: Cell<bool>,
}

/// Begins at a round number of tasks: a runtime that is dropped, as in a crash, ends its tasks in an
/// order that depends on their ids, which the process counts over all runs.
fn align_ids() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let next = || runtime.spawn(async {}).id().to_string().parse::<u64>();
    while next().unwrap() % 64 != 0 {}
}

/// Runs one seed.
pub(crate) fn run(seed: u64, length: Duration, print: bool) -> Outcome {
    let record = Record::new(print);
    record.hear();
    align_ids();
    let schedule = Schedule::of(seed, length);
    let guard = simulation::install(Rc::new(Simulated(record.clone())), seed);
    let mut sim = Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .simulation_duration(length + LAST * 3)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(60))
        .tcp_capacity(1024)
        .epoch(UNIX_EPOCH + Duration::from_secs(1_800_000_000))
        .build();
    let folder = std::env::temp_dir().join(format!("pipeops-sim-{}-{seed}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let (user, programs) = programs(&sim, record.clone(), &folder);
    let backend = Backend::new(seed, record.clone());
    let changes = hosts(&mut sim, seed, &programs, &backend, user);
    let mut world = World {
        sim,
        programs,
        backend: backend.clone(),
        healed: schedule
            .0
            .iter()
            .map(|fault| fault.until)
            .max()
            .unwrap_or_default(),
        due: None,
        phase: None,
        away: Duration::ZERO,
    };
    world.through(&schedule, length);
    world.stop(&changes);
    drop(world);
    drop(guard);
    let _ = fs::remove_dir_all(&folder);
    record.outcome()
}

fn programs(sim: &Sim<'_>, record: Record, folder: &Path) -> (String, Rc<Programs>) {
    let file = TokenFile::new(folder.join("tokens.json"));
    let cluster = "prod".to_owned();
    let agent = file
        .add(Grant::Agent {
            cluster: cluster.clone(),
        })
        .unwrap();
    let user = file
        .add(Grant::User {
            name: "ann".to_owned(),
            groups: vec!["dev".to_owned()],
            clusters: vec![cluster],
        })
        .unwrap();
    fs::write(folder.join("token"), agent).unwrap();
    let programs = Programs {
        record,
        folder: folder.to_owned(),
        gateway: SocketAddr::new(sim.lookup("gateway"), GATEWAY),
        backend: SocketAddr::new(sim.lookup("backend"), backend::PORT),
        status: RefCell::default(),
        stop_agent: RefCell::default(),
        stop_gateway: RefCell::default(),
        stop_load: CancellationToken::new(),
        over: Cell::new(false),
        agent_ended: Cell::new(false),
        gateway_ended: Cell::new(false),
    };
    (user, Rc::new(programs))
}

fn hosts(
    sim: &mut Sim<'_>,
    seed: u64,
    programs: &Rc<Programs>,
    backend: &Backend,
    token: String,
) -> Changes {
    let server = backend.clone();
    sim.host("backend", move || server.clone().serve());
    let shared = Rc::clone(programs);
    sim.host("gateway", move || gateway(Rc::clone(&shared)));
    let shared = Rc::clone(programs);
    sim.host("agent", move || agent(Rc::clone(&shared)));
    let caller = Caller {
        gateway: programs.gateway,
        token,
        record: programs.record.clone(),
    };
    let changes = Changes::default();
    let (stop, made) = (programs.stop_load.clone(), Rc::clone(&changes));
    sim.client("callers", async move {
        sleep(Duration::from_secs(3)).await;
        let mut running = tokio::task::JoinSet::new();
        for number in 0..2 {
            let seed = seed.wrapping_mul(64) + number;
            running.spawn_local(load::read(caller.clone(), seed, stop.clone()));
            let (seed, made) = (seed + 8, Rc::clone(&made));
            running.spawn_local(load::change(caller.clone(), seed, stop.clone(), made));
            let follower = Follower::new(caller.clone(), seed + 8);
            running.spawn_local(follower.run(stop.clone()));
            running.spawn_local(raw::read(caller.clone(), seed + 24, stop.clone()));
            let talking = interactive::talk(caller.clone(), seed + 16, stop.clone());
            running.spawn_local(talking);
        }
        while running.join_next().await.is_some() {}
        Ok(())
    });
    changes
}

fn certificate() -> Certificate {
    static MADE: OnceLock<DevCertificate> = OnceLock::new();
    let made = MADE.get_or_init(|| DevCertificate::make(&["gateway"]).unwrap());
    made.certificate()
}

/// The gateway's program, started again whenever it was told to stop.
async fn gateway(programs: Rc<Programs>) -> turmoil::Result {
    while !programs.over.get() {
        let mut config = Config::new(certificate());
        config.listen = ([0, 0, 0, 0], GATEWAY).into();
        config.token_file = Some(TokenFile::new(programs.folder.join("tokens.json")));
        config.grace = Duration::from_secs(5);
        match Gateway::bind(config) {
            Ok(gateway) => {
                programs.record.note("gateway starts");
                let stop = CancellationToken::new();
                *programs.stop_gateway.borrow_mut() = stop.clone();
                gateway.run(stop).await;
                programs.all_ended("gateway").await;
            }
            Err(error) => programs
                .record
                .note(format!("gateway cannot start: {error}")),
        }
        sleep(Duration::from_secs(1)).await;
    }
    programs.gateway_ended.set(true);
    Ok(())
}

/// The agent's program, likewise.
async fn agent(programs: Rc<Programs>) -> turmoil::Result {
    while !programs.over.get() {
        let settings = programs.settings();
        let agent = Agent::start(settings).await?;
        programs.record.note("agent starts");
        *programs.status.borrow_mut() = Some(agent.status());
        let stop = CancellationToken::new();
        *programs.stop_agent.borrow_mut() = stop.clone();
        agent.run(stop).await;
        programs.all_ended("agent").await;
        sleep(Duration::from_secs(1)).await;
    }
    programs.agent_ended.set(true);
    Ok(())
}

impl Programs {
    fn settings(&self) -> Settings {
        Settings {
            api_url: ApiUrl::parse(&format!("https://{}", self.gateway)).unwrap(),
            token: SecretSource::File(self.folder.join("token")),
            ca_file: None,
            proxy: None,
            transports: Default::default(),
            binary: true,
            exit_when_refused: false,
            cluster_name: "prod".to_owned(),
            labels: BTreeMap::new(),
            agent_id: None,
            cluster: cluster::Config {
                credentials: Credentials::Direct {
                    url: format!("http://{}", self.backend).parse().unwrap(),
                    ca_pem: None,
                    token: None,
                },
            },
            access: policy::Access::Admin,
            impersonate: false,
            local: None,
            extensions: Default::default(),
            grace: Duration::from_secs(5),
            pod: None,
        }
    }

    /// What a program started has ended with it.
    async fn all_ended(&self, name: &str) {
        // What was told to stop may need a turn to notice.
        sleep(TICK).await;
        let left = Handle::current().metrics().num_alive_tasks();
        self.record.note(format!("{name} ended"));
        if left > 0 {
            self.record.broken(NO_TASK, format!("{left} of the {name}"));
        }
    }
}

/// A run under way.
pub(crate) struct World<'a> {
    pub(crate) sim: Sim<'a>,
    pub(crate) programs: Rc<Programs>,
    pub(crate) backend: Backend,
    healed: Duration,
    /// By when the agent must be connected for good.
    due: Option<Duration>,
    phase: Option<Phase>,
    /// Since when it is not connected.
    away: Duration,
}

impl World<'_> {
    /// The time of the faults.
    fn through(&mut self, schedule: &Schedule, length: Duration) {
        let mut begins = schedule.0.iter().copied().peekable();
        let mut lasting = Vec::new();
        while self.sim.elapsed() < length && !self.programs.record.is_broken() {
            let now = self.sim.elapsed();
            lasting.retain(|fault: &Fault| {
                let over = fault.until <= now;
                if over {
                    self.lift(fault);
                }
                !over
            });
            while let Some(fault) = begins.next_if(|fault| fault.at <= now) {
                self.strike(&fault);
                lasting.push(fault);
            }
            self.step();
        }
    }

    /// The end of everything, in its order.
    fn stop(&mut self, changes: &Changes) {
        let record = self.programs.record.clone();
        if record.is_broken() {
            return;
        }
        self.programs.over.set(true);
        self.programs.stop_load.cancel();
        // What callers wait for comes, or breaks off.
        self.until(Duration::from_secs(100), |_| false);
        load::judge(&record, &self.backend.all(), &changes.borrow());
        record.note("agent is told to stop");
        self.programs.stop_agent.borrow().cancel();
        if !self.until(LAST, |programs| programs.agent_ended.get()) {
            record.broken(STOPS, "the agent");
        }
        self.programs.stop_gateway.borrow().cancel();
        if !self.until(LAST, |programs| programs.gateway_ended.get()) {
            record.broken(STOPS, "the gateway");
        }
    }

    fn until(&mut self, time: Duration, done: impl Fn(&Programs) -> bool) -> bool {
        let end = self.sim.elapsed() + time;
        while self.sim.elapsed() < end {
            if done(&self.programs) {
                return true;
            }
            self.step();
        }
        done(&self.programs)
    }

    /// One tick, and the sentences that hold after each.
    fn step(&mut self) {
        self.programs.record.at(self.sim.elapsed());
        if let Err(error) = self.sim.step() {
            self.programs
                .record
                .broken("no program fails", error.to_string());
        }
        self.look();
    }

    fn look(&mut self) {
        let status = self.programs.status.borrow();
        let phase = status.as_ref().map(|status| status.watch().borrow().phase);
        let now = self.sim.elapsed();
        let record = &self.programs.record;
        if phase != self.phase {
            record.note(format!("agent is {phase:?}"));
            let connected = Some(Phase::Connected);
            if phase == connected {
                let took = now.saturating_sub(self.away.max(self.healed));
                let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                if now >= self.healed {
                    record.most("back_ms", ms);
                }
                record.count("sessions");
            } else if self.phase == connected {
                self.away = now;
            }
            self.phase = phase;
        }
        let connected = phase == Some(Phase::Connected);
        if now >= self.healed && self.due.is_none() {
            // A session that died under the last fault is found within 25 s.
            let found = if connected {
                Duration::from_secs(25)
            } else {
                Duration::ZERO
            };
            self.due = Some(self.healed + found + limits::RECONNECT_CAP + Duration::from_secs(5));
        }
        let due = self.due.is_some_and(|due| now > due);
        if due && !connected && !self.programs.over.get() {
            record.broken(BACK, format!("it is {phase:?} since {:?}", self.away));
        }
    }
}
