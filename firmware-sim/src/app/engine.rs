//! The turns, and the governor that comes for each decision.
//!
//! The image of the policy lies in memory that an upload may write, so nobody keeps a reference to
//! it: what its header says is kept, and the weights are looked up anew for every decision.

use super::State;
use super::storage::{Mark, Storage, image, marked};
use controller_core::action::{Action, ActionSpace, Decision, Knob};
use controller_core::control::Turns;
use controller_core::governor::{Governor, Learned, Situation, TwoRule, check_actions};
use controller_core::policy::{Network, Outline, PolicyImage};
use controller_core::protocol::{Configuration, EventKind, InCharge, Refusal, UploadRefusal, checksum};
use controller_core::record::StepRecord;
use controller_core::supervisor::{self, Limits, Supervisor};
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::Instant;
use controller_core::units::MilliCelsius;

/// The empty chair.
#[derive(Clone, Copy, Debug)]
struct Vacant;

impl Governor for Vacant {
    fn decide(&mut self, situation: &Situation<'_>) -> Action {
        situation.actions.safest()
    }
}

/// The turns and who is in charge of them.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    turns: Option<Turns>,
    /// Governs when no policy can.
    thermostat: Option<TwoRule>,
    /// Where the policy is and what to look its network up with; `None` when no slot has a usable one.
    policy: Option<(u8, Outline)>,
    /// Where the policy is that takes over at the next step.
    next_slot: Option<u8>,
    /// The policy fits the configuration.
    fits: bool,
}

impl Engine {
    pub(super) const fn new() -> Self {
        Self { turns: None, thermostat: None, policy: None, next_slot: None, fits: true }
    }

    pub(super) const fn in_charge(&self) -> InCharge {
        if self.policy.is_some() && self.fits { InCharge::Policy } else { InCharge::TwoRule }
    }

    pub(super) fn slot(&self) -> Option<u8> {
        self.policy.as_ref().map(|(slot, _)| *slot)
    }

    /// Schema hash of the policy; 0 without one.
    pub(super) fn schema(&self) -> u32 {
        self.policy.as_ref().map_or(0, |(_, outline)| outline.schema())
    }

    pub(super) const fn is_configured(&self) -> bool {
        self.turns.is_some()
    }

    pub(super) fn supervisor(&self) -> Option<supervisor::State> {
        self.turns.as_ref().map(|turns| turns.supervisor().state())
    }

    pub(super) fn replacements(&self) -> u32 {
        self.turns.as_ref().map(Turns::supervisor).map_or(0, Supervisor::replacements)
    }

    pub(super) fn actions(&self) -> Option<&ActionSpace> {
        self.turns.as_ref().map(Turns::actions)
    }

    pub(super) const fn take_over_later(&mut self, slot: Option<u8>) {
        self.next_slot = slot;
    }

    pub(super) fn settle(&mut self, measurement: Measurement) -> Option<&StepRecord> {
        self.turns.as_mut()?.settle(measurement)
    }
}

/// A thermostat for any board: the middle of every clock while cool, the safest action from 15 K
/// below the limit until it is 4 K cooler. That is what the host's `two-rule` does with its own
/// numbers, 80 and 76 °C under a limit of 95 °C.
fn thermostat(actions: &ActionSpace, limits: &Limits) -> TwoRule {
    let middle = |knob| actions.last(knob) / 2;
    let cool = Action {
        prefill: middle(Knob::Prefill),
        decode: middle(Knob::Decode),
        batch: actions.last(Knob::Batch),
        depth: actions.last(Knob::Depth),
        fan: 0,
    };
    let hot_from = MilliCelsius(limits.temperature.0.saturating_sub(15_000));
    TwoRule::new(cool, actions.safest(), hot_from, MilliCelsius(hot_from.0.saturating_sub(4_000)))
}

/// Everything that must hold of an image before its policy may decide.
#[inline(never)] // its image leaves the stack with it
pub(super) fn verify(
    bytes: Option<&[u8]>,
    expected: u32,
    schema: Option<u32>,
    actions: Option<&ActionSpace>,
) -> Result<Outline, UploadRefusal> {
    let bytes = bytes.filter(|bytes| checksum(bytes) == expected).ok_or(UploadRefusal::Checksum)?;
    let image = PolicyImage::new_checked(bytes).map_err(|_| UploadRefusal::Image)?;
    let network: Network = Network::unproven(&image).map_err(|_| UploadRefusal::Examples)?;
    if schema.is_some_and(|schema| schema != network.outline().schema()) {
        return Err(UploadRefusal::Schema);
    }
    network.self_test(&image).map_err(|_| UploadRefusal::Examples)?;
    if let Some(actions) = actions {
        check_actions(image.header(), actions).map_err(|_| UploadRefusal::OtherActions)?;
    }
    Ok(network.into_outline())
}

impl<S: Storage> State<S> {
    fn verify_slot(&self, slot: u8) -> Result<Outline, UploadRefusal> {
        let mark = Mark::read(&self.storage, slot).ok_or(UploadRefusal::Checksum)?;
        verify(image(&self.storage, slot), mark.checksum, None, self.engine.actions())
    }

    /// At boot: the newest image that passes its self-test.
    pub(super) fn choose_image(&mut self) {
        for slot in marked(&self.storage) {
            match self.verify_slot(slot) {
                Ok(outline) => {
                    self.engine.policy = Some((slot, outline));
                    self.happened(EventKind::PolicyAccepted { slot });
                    return;
                }
                Err(why) => self.happened(EventKind::PolicyRefused { slot, why }),
            }
        }
        self.happened(EventKind::FellBackToTwoRule);
    }

    pub(super) fn configure(&mut self, configuration: Configuration) -> Result<(), Refusal> {
        let Configuration { actions, limits, reward, fallback } = configuration;
        let thermostat = thermostat(&actions, &limits);
        let mut turns = Turns::new(actions, limits, reward).map_err(|_| Refusal::Configuration)?;
        if let Some(rule) = fallback {
            turns.set_fallback(rule).map_err(|_| Refusal::Configuration)?;
        }
        self.engine.thermostat = Some(thermostat);
        self.engine.turns = Some(turns);
        self.happened(EventKind::Configured);
        self.engine.fits = true;
        if let Some(slot) = self.engine.slot()
            && let Err(why) = self.verify_slot(slot)
        {
            self.engine.fits = false;
            self.happened(EventKind::PolicyRefused { slot, why });
            self.happened(EventKind::FellBackToTwoRule);
        }
        Ok(())
    }

    /// Begins a turn. A policy that was uploaded takes over here, between two turns.
    pub(super) fn step(&mut self, now: Instant, telemetry: &Telemetry) -> Result<Decision, Refusal> {
        let turns = self.engine.turns.as_ref().ok_or(Refusal::NotConfigured)?;
        if turns.decided_at().is_some_and(|last| now < last) {
            return Err(Refusal::TimeRunsBackwards);
        }
        self.take_over();
        let policy = self.engine.policy.as_ref().filter(|_| self.engine.fits);
        let network = policy.map(|(slot, outline)| Network::resume(outline.clone(), image(&self.storage, *slot)?));
        // The slot has changed under us, for instance through a failing memory.
        let lost = matches!(network, Some(None));
        let turns = self.engine.turns.as_mut().ok_or(Refusal::NotConfigured)?;
        let decision = match (network.flatten(), &mut self.engine.thermostat) {
            (Some(network), _) => turns.step(&mut Learned::trusted(network), now, telemetry),
            (None, Some(thermostat)) => turns.step(thermostat, now, telemetry),
            (None, None) => turns.step(&mut Vacant, now, telemetry),
        };
        if lost {
            self.engine.fits = false;
            self.happened(EventKind::FellBackToTwoRule);
        }
        Ok(decision)
    }

    fn take_over(&mut self) {
        let Some(slot) = self.engine.next_slot.take() else { return };
        match self.verify_slot(slot) {
            Ok(outline) => {
                self.engine.policy = Some((slot, outline));
                self.engine.fits = true;
                self.happened(EventKind::PolicySwapped { slot });
            }
            Err(why) => {
                // Without its mark the slot is not chosen at the next boot either. A slot that
                // cannot be erased is refused there again.
                let _ = self.storage.erase(slot);
                self.happened(EventKind::RolledBack { why });
            }
        }
    }
}
