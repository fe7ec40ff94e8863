//! The firmware as the controller of a run.
//!
//! The same controller runs in this process too, turn by turn with the same inputs. It checks every
//! decision and every record of the firmware, and when the link is lost it decides alone until the
//! firmware is back ([`crate::link::keeper`]).

use super::choice::AnyGovernor;
use super::control::Control;
use crate::link::LinkError;
use crate::link::events::{LinkEvent, LinkReport};
use crate::link::journal::Half;
use crate::link::keeper::{Assignment, Keeper};
use crate::link::wire::Opener;
use controller_core::action::{ActionSpace, Decision};
use controller_core::control::Controller;
use controller_core::protocol::Reply;
use controller_core::record::StepRecord;
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::Instant;

/// Firmware at the other end of a line, and the controller in this process that stands in for it.
pub struct Firmware<'a> {
    own: Box<Controller<AnyGovernor<'a>>>,
    keeper: Keeper,
}

impl<'a> Firmware<'a> {
    /// Greets the firmware, tells it about its board, and uploads the policy unless it has it. `own`
    /// is the same controller at the beginning of its life.
    pub fn start(opener: Opener, assignment: Assignment, own: Controller<AnyGovernor<'a>>) -> Result<Self, LinkError> {
        Ok(Self { own: Box::new(own), keeper: Keeper::start(opener, assignment)? })
    }

    /// Who decided how often, and what the line carried.
    #[must_use]
    pub fn report(&self) -> LinkReport {
        self.keeper.report()
    }

    /// Whether the firmware is in charge now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.keeper.is_up()
    }
}

impl Control for Firmware<'_> {
    fn step(&mut self, now: Instant, telemetry: &Telemetry) -> anyhow::Result<Decision> {
        let decision = self.own.step(now, telemetry);
        Ok(match self.keeper.tell(Half::Step { now, telemetry: *telemetry, decision }) {
            Some(Reply::Decision(decision)) => decision,
            _ => decision,
        })
    }

    fn settle(&mut self, measurement: Measurement) -> anyhow::Result<StepRecord> {
        let record = self.own.settle(measurement).expect("a turn is open after a step").clone();
        Ok(match self.keeper.tell(Half::Settle { measurement, record: Box::new(record.clone()) }) {
            Some(Reply::Settled(record)) => record,
            _ => record,
        })
    }

    fn actions(&self) -> &ActionSpace {
        self.own.actions()
    }

    fn replacements(&mut self) -> anyhow::Result<u32> {
        Ok(self.own.supervisor().replacements())
    }

    fn events(&mut self) -> Vec<LinkEvent> {
        self.keeper.take_events()
    }
}
