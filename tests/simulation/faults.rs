//! What each fault does to a run, and how it is undone.
//!
//! Owns both halves of every kind of fault. Invariant: after its end nothing of a fault is left but
//! what it broke.

use std::fs;
use std::time::Duration;

use crate::schedule::{Fault, Kind, Target};
use crate::world::World;

/// The way's delay after one.
const USUAL: Duration = Duration::from_millis(30);

impl World<'_> {
    pub(crate) fn strike(&mut self, fault: &Fault) {
        let record = &self.programs.record;
        record.note(format!("fault {:?} {:?}", fault.target, fault.kind));
        record.count("faults");
        let (near, far) = ends(fault.target);
        match fault.kind {
            Kind::Partition | Kind::Drop => self.sim.partition(near, far),
            Kind::OneWay { from_agent: true } => self.sim.partition_oneway(near, far),
            Kind::OneWay { from_agent: false } => self.sim.partition_oneway(far, near),
            Kind::Hold => self.sim.hold(near, far),
            Kind::Delay(ms) => self
                .sim
                .set_link_latency(near, far, Duration::from_millis(ms)),
            Kind::Crash => self.sim.crash(process(fault.target)),
            Kind::HalfOpen => {
                self.sim.partition("agent", near);
                self.sim.crash(near);
            }
            Kind::Restart if fault.target == Target::Agent => {
                self.programs.stop_agent.borrow().cancel();
            }
            Kind::Restart => self.programs.stop_gateway.borrow().cancel(),
            Kind::HangUp => self.backend.kubelet.hang_up(),
            Kind::Unreadable => self.disk(fault.target, false),
        }
    }

    pub(crate) fn lift(&mut self, fault: &Fault) {
        let record = &self.programs.record;
        record.note(format!("over {:?} {:?}", fault.target, fault.kind));
        let (near, far) = ends(fault.target);
        match fault.kind {
            Kind::Partition | Kind::Drop => self.sim.repair(near, far),
            Kind::OneWay { from_agent: true } => self.sim.repair_oneway(near, far),
            Kind::OneWay { from_agent: false } => self.sim.repair_oneway(far, near),
            Kind::Hold => self.sim.release(near, far),
            Kind::Delay(_) => self.sim.set_link_latency(near, far, USUAL),
            Kind::Crash => self.sim.bounce(process(fault.target)),
            Kind::HalfOpen => {
                self.sim.repair("agent", near);
                self.sim.bounce(near);
            }
            Kind::Restart | Kind::HangUp => {}
            Kind::Unreadable => self.disk(fault.target, true),
        }
    }

    /// A disk that does not give its file, or gives it again.
    fn disk(&self, target: Target, whole: bool) {
        let name = match target {
            Target::GatewayDisk => "tokens.json",
            _ => "token",
        };
        let (file, kept) = (
            self.programs.folder.join(name),
            self.programs.folder.join("kept"),
        );
        let kept = kept.with_extension(name);
        if whole {
            fs::rename(kept, file).unwrap();
            return;
        }
        fs::rename(&file, &kept).unwrap();
        if target == Target::GatewayDisk {
            let text = fs::read(&kept).unwrap();
            fs::write(file, &text[..text.len() / 2]).unwrap();
        }
    }
}

/// The host that dies.
const fn process(target: Target) -> &'static str {
    match target {
        Target::Agent | Target::AgentDisk => "agent",
        Target::Gateway | Target::GatewayDisk | Target::Uplink => "gateway",
        Target::Cluster => "backend",
    }
}

/// The two ends of a way, or a host and another.
const fn ends(target: Target) -> (&'static str, &'static str) {
    match target {
        Target::Uplink => ("agent", "gateway"),
        Target::Cluster => ("agent", "backend"),
        Target::Agent | Target::AgentDisk => ("agent", "gateway"),
        Target::Gateway | Target::GatewayDisk => ("gateway", "agent"),
    }
}
