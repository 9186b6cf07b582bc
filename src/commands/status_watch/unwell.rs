//! The pods that are not well: the first by UID are told one by one, the others are a number.
//!
//! Pure. Invariants: what is told is a function of the pods alone; twice as many are held as are
//! told, whatever befalls the cluster, so that most of what gets well needs no new listing.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::cluster::objects::Uid;
use crate::limits;
use crate::protocol::command::status_get::Pod;
use crate::protocol::command::status_watch::PodName;

const HELD: usize = 2 * limits::STATUS_UNHEALTHY;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unwell {
    held: BTreeMap<Uid, Pod>,
    /// All up to here are held; all there are without one.
    floor: Option<Uid>,
    count: usize,
    told: BTreeMap<Uid, (PodName, u64)>,
}

impl Unwell {
    /// A pod that is not well; `new` if it was, or was not there. Says whether there may be
    /// something to tell.
    pub(super) fn insert(&mut self, uid: Uid, pod: Pod, new: bool) -> bool {
        self.count += usize::from(new);
        if self.floor.is_some_and(|floor| uid > floor) && !self.held.contains_key(&uid) {
            return new;
        }
        if self.held.get(&uid) == Some(&pod) {
            return new;
        }
        self.held.insert(uid, pod);
        if self.held.len() > HELD {
            self.held.pop_last();
            self.floor = self.held.last_key_value().map(|(uid, _)| *uid);
        }
        true
    }

    /// A pod that is well again, or gone.
    pub(super) fn remove(&mut self, uid: Uid) -> bool {
        self.count = self.count.saturating_sub(1);
        self.held.remove(&uid);
        true
    }

    /// Whether too few are held to tell the first ones; what is listed from now on fills them up.
    pub(super) fn lacks(&mut self) -> bool {
        let lacks = self.held.len() < limits::STATUS_UNHEALTHY.min(self.count);
        if lacks {
            self.floor = None;
        }
        lacks
    }

    /// How many are only a number.
    pub(super) fn more(&self) -> usize {
        self.count
            - self
                .count
                .min(self.held.len())
                .min(limits::STATUS_UNHEALTHY)
    }

    /// The first ones.
    pub(super) fn first(&self) -> impl Iterator<Item = (&Uid, &Pod)> {
        self.held.iter().take(limits::STATUS_UNHEALTHY)
    }

    /// The reader knows all of it.
    pub(super) fn settle(&mut self) {
        self.told = self
            .first()
            .map(|(uid, pod)| (*uid, (name(pod), digest(pod))))
            .collect();
    }

    /// Those that are not told as they are now; whoever takes one tells it.
    pub(super) fn untold(&mut self) -> impl Iterator<Item = Pod> {
        let (held, told) = (&self.held, &mut self.told);
        let first = held.iter().take(limits::STATUS_UNHEALTHY);
        first.filter_map(|(uid, pod)| {
            let digest = digest(pod);
            if told.get(uid).is_some_and(|(_, known)| *known == digest) {
                return None;
            }
            told.insert(*uid, (name(pod), digest));
            Some(pod.clone())
        })
    }

    /// Those that were told and are not among the first any more.
    pub(super) fn gone(&mut self) -> Vec<PodName> {
        let first: Vec<Uid> = self.first().map(|(uid, _)| *uid).collect();
        let mut gone = Vec::new();
        self.told.retain(|uid, (name, _)| {
            let stays = first.binary_search(uid).is_ok();
            if !stays {
                gone.push(name.clone());
            }
            stays
        });
        gone
    }
}

fn name(pod: &Pod) -> PodName {
    PodName {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
    }
}

fn digest(pod: &Pod) -> u64 {
    let mut hasher = DefaultHasher::new();
    pod.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: usize, reason: &str) -> (Uid, Pod) {
        let pod = Pod {
            name: format!("pod-{name}"),
            reason: reason.to_owned(),
            ..Pod::default()
        };
        (Uid::new(&format!("{name:032x}")), pod)
    }

    fn insert(unwell: &mut Unwell, numbers: impl IntoIterator<Item = usize>, new: bool) {
        for number in numbers {
            let (uid, pod) = pod(number, "Pending");
            unwell.insert(uid, pod, new);
        }
    }

    #[test]
    fn the_first_are_told_the_others_are_a_number_and_no_more_are_held_than_needed() {
        let mut unwell = Unwell::default();
        insert(&mut unwell, (0..5000).rev(), true);
        assert_eq!(unwell.held.len(), HELD);
        assert_eq!(unwell.more(), 4000);
        assert_eq!(unwell.untold().count(), 1000);
        assert_eq!(unwell.untold().count(), 0);
        // Another one far behind is a number more, one in front is told.
        insert(&mut unwell, [5000], true);
        assert_eq!((unwell.more(), unwell.untold().count()), (4001, 0));
        let (uid, changed) = pod(0, "CrashLoopBackOff");
        assert!(unwell.insert(uid, changed.clone(), false));
        assert_eq!(unwell.untold().collect::<Vec<_>>(), [changed]);
    }

    #[test]
    fn what_gets_well_is_gone_and_the_next_ones_are_told_until_too_few_are_held() {
        let mut unwell = Unwell::default();
        insert(&mut unwell, 0..5000, true);
        assert_eq!(unwell.untold().count(), 1000);
        for number in 0..1000 {
            unwell.remove(pod(number, "").0);
        }
        assert_eq!(unwell.untold().next().unwrap().name, "pod-1000");
        assert_eq!(unwell.gone().len(), 1000);
        assert!(!unwell.lacks());
        unwell.remove(pod(1000, "").0);
        assert!(unwell.lacks());
        // A new listing brings all of them again.
        insert(&mut unwell, 1001..5000, false);
        assert!(!unwell.lacks());
        assert_eq!((unwell.held.len(), unwell.more()), (HELD, 2999));
    }
}
