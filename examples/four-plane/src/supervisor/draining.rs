//! The order in which the instances stop.

use std::time::Duration;

use super::roster::Roster;
use crate::link::Role;

/// Those nearest to the users first: what is in flight there still needs the others.
const STAGES: [&[Role]; 5] =
    [&[Role::Edge], &[Role::Gateway], &[Role::Recommendation], &[Role::Catalog], &[Role::State]];
/// How long the instances of one stage may take before they are killed. Longer than a gateway's call may take (5 s).
pub(super) const STAGE_LIMIT: Duration = Duration::from_secs(8);

/// How far the draining has come.
#[derive(Debug, Default)]
pub(super) struct Draining {
    stage: usize,
    /// The grace is over.
    begun: bool,
}

impl Draining {
    /// Moves on while the present stage has no process left, and returns the roles to drain; `None` when all are done.
    pub(super) fn advance(&mut self, roster: &Roster) -> Option<&'static [Role]> {
        while let Some(roles) = STAGES.get(self.stage) {
            if roster.members().iter().any(|member| member.pid().is_some() && roles.contains(&member.role())) {
                return Some(roles);
            }
            self.stage = self.stage.saturating_add(1);
        }
        None
    }

    pub(super) const fn begin(&mut self) {
        self.begun = true;
    }

    pub(super) const fn has_begun(&self) -> bool {
        self.begun
    }

    pub(super) const fn stage(&self) -> usize {
        self.stage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_left_when_its_last_process_has_ended() {
        let mut roster = Roster::new();
        for (index, member) in roster.members.iter_mut().enumerate() {
            member.pid = u32::try_from(index).ok();
        }
        let mut draining = Draining::default();

        let mut order = Vec::new();
        while let Some(roles) = draining.advance(&roster) {
            order.push(roles[0]);
            let first = roster.members.iter_mut().find(|member| roles.contains(&member.role) && member.pid.is_some());
            first.unwrap().pid = None;
        }

        let edge = [Role::Edge; 2].as_slice();
        let expected =
            [edge, &[Role::Gateway; 2], &[Role::Recommendation; 3], &[Role::Catalog; 3], &[Role::State; 1]].concat();
        assert_eq!(order, expected);
    }
}
