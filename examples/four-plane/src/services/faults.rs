//! Faults as an instance carries them out.

use std::time::Duration;

use seawall_core::{Entropy as _, ThreadEntropy, unit_interval};
use tokio::sync::watch;

use crate::link::{Fault, FaultKind, Role};

/// The longest that a latency fault lasts: an hour, whatever the value.
const LONGEST: Duration = Duration::from_hours(1);

/// A fault's value as a duration: 0 for what is negative or no number.
pub fn millis(value: f64) -> Duration {
    Duration::try_from_secs_f64(value / 1000.0).unwrap_or_default().min(LONGEST)
}

/// Whether a call is among the share that fails.
pub fn strikes(share: f64) -> bool {
    unit_interval(ThreadEntropy.next_u64()) < share
}

/// Whose faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Instance(Role, u32),
    Part(&'static str),
}

/// The faults of one instance, or of one part of the state plane.
#[derive(Debug, Clone)]
pub struct Faults {
    active: watch::Receiver<Vec<Fault>>,
    target: Target,
}

impl Faults {
    /// Those among `active` that are meant for this instance.
    pub fn new(active: watch::Receiver<Vec<Fault>>, role: Role, number: u32) -> Self {
        Self { active, target: Target::Instance(role, number) }
    }

    /// Those among `active` that are meant for `database` or `cache`.
    pub fn of_part(active: watch::Receiver<Vec<Fault>>, part: &'static str) -> Self {
        Self { active, target: Target::Part(part) }
    }

    fn value(&self, kind: FaultKind) -> Option<f64> {
        let faults = self.active.borrow();
        faults.iter().find(|fault| fault.kind == kind && self.target.is_hit_by(fault)).map(|fault| fault.value)
    }

    /// Does not return while there is a fault of this kind.
    async fn outlast(&self, kind: FaultKind) {
        let mut active = self.active.clone();
        let lasts = |fault: &Fault| fault.kind == kind && self.target.is_hit_by(fault);
        // An error means that nobody can lift the fault any more: the process is about to end.
        let _lifted = active.wait_for(|faults| !faults.iter().any(lasts)).await;
    }

    /// Does not return while it is to hang.
    pub async fn hang(&self) {
        self.outlast(FaultKind::Hang).await;
    }

    /// Whether connections are to break.
    pub fn refuses(&self) -> bool {
        self.value(FaultKind::Refuse).is_some()
    }

    /// Returns when connections are to be refused.
    pub async fn refusing(&self) {
        let mut active = self.active.clone();
        let refuses = |fault: &Fault| fault.kind == FaultKind::Refuse && self.target.is_hit_by(fault);
        if active.wait_for(|faults| faults.iter().any(refuses)).await.is_err() {
            // Nobody can ask for it any more.
            std::future::pending::<()>().await;
        }
    }

    /// Does not return while connections are to be refused.
    pub async fn accepting(&self) {
        self.outlast(FaultKind::Refuse).await;
    }

    /// Bytes per second that answers are to come at.
    pub fn trickles_at(&self) -> Option<f64> {
        self.value(FaultKind::Trickle)
    }

    /// Hangs and waits as the faults say, then says whether the call is to fail.
    pub async fn strike(&self) -> bool {
        self.hang().await;
        if let Some(value) = self.value(FaultKind::Latency) {
            tokio::time::sleep(millis(value)).await;
        }
        self.value(FaultKind::Error).is_some_and(strikes)
    }
}

impl Target {
    fn is_hit_by(self, fault: &Fault) -> bool {
        match self {
            Self::Instance(role, number) => fault.hits(role, number),
            Self::Part(name) => fault.target == name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: FaultKind, target: &str, value: f64) -> Fault {
        Fault { id: 1, kind, target: target.to_owned(), value }
    }

    #[test]
    fn a_latency_that_is_no_time_is_none_and_the_longest_is_bounded() {
        assert_eq!(millis(500.0), Duration::from_millis(500));
        assert_eq!(millis(-1.0), Duration::ZERO);
        assert_eq!(millis(f64::NAN), Duration::ZERO);
        assert_eq!(millis(1e18), LONGEST);
    }

    #[test]
    fn a_share_of_nothing_strikes_never_and_of_all_always() {
        assert!(!strikes(0.0));
        assert!(!strikes(f64::NAN));
        assert!(strikes(1.0));
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_instance_that_is_meant_is_struck() {
        let (_sender, active) = watch::channel(vec![fault(FaultKind::Error, "catalog/2", 1.0)]);

        assert!(!Faults::new(active.clone(), Role::Catalog, 1).strike().await);
        assert!(Faults::new(active, Role::Catalog, 2).strike().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_instance_answers_when_the_fault_is_lifted() {
        let (sender, active) = watch::channel(vec![fault(FaultKind::Hang, "catalog", 0.0)]);
        let hanging = tokio::spawn(async move { Faults::new(active, Role::Catalog, 1).strike().await });

        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(!hanging.is_finished());
        sender.send(Vec::new()).unwrap();

        assert!(!hanging.await.unwrap());
    }
}
