//! The turns: the controller, and the governor that is put into it for each decision.
//!
//! The image of the policy lies in memory that an upload may write, so nobody keeps a reference to
//! it: the policy is taken from its slot anew for every decision (its header is read, its weights
//! stay where they are).

use super::State;
use super::storage::{Mark, Storage, image, marked};
use controller_core::action::{Action, ActionSpace, Decision, Knob};
use controller_core::control::Controller;
use controller_core::governor::{Governor, Learned, Situation, TwoRule};
use controller_core::policy::{Policy, PolicyImage, schema_hash};
use controller_core::protocol::{Configuration, EventKind, InCharge, Refusal, UploadRefusal, checksum};
use controller_core::record::StepRecord;
use controller_core::supervisor::{self, Limits};
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::Instant;
use controller_core::units::MilliCelsius;

/// The empty chair between two decisions.
#[derive(Clone, Copy, Debug)]
struct Vacant;

impl Governor for Vacant {
    fn decide(&mut self, situation: &Situation<'_>) -> Action {
        situation.actions.safest()
    }
}

/// The controller and who is in charge of it.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    controller: Option<Controller<Vacant>>,
    /// Governs when no policy can.
    thermostat: Option<TwoRule>,
    /// Where the policy is; `None` when no slot has a usable one.
    slot: Option<u8>,
    /// Where the policy is that takes over at the next step.
    next_slot: Option<u8>,
    /// The policy of `slot` fits the configuration.
    fits: bool,
    /// The host's clock at the last step.
    stepped_at: Option<Instant>,
}

impl Engine {
    pub(super) const fn new() -> Self {
        Self { controller: None, thermostat: None, slot: None, next_slot: None, fits: true, stepped_at: None }
    }

    pub(super) const fn in_charge(&self) -> InCharge {
        if self.slot.is_some() && self.fits { InCharge::Policy } else { InCharge::TwoRule }
    }

    pub(super) const fn slot(&self) -> Option<u8> {
        self.slot
    }

    pub(super) const fn is_configured(&self) -> bool {
        self.controller.is_some()
    }

    pub(super) fn supervisor(&self) -> Option<supervisor::State> {
        self.controller.as_ref().map(|controller| controller.supervisor().state())
    }

    pub(super) fn replacements(&self) -> u32 {
        self.controller.as_ref().map_or(0, |controller| controller.supervisor().replacements())
    }

    pub(super) fn actions(&self) -> Option<&ActionSpace> {
        self.controller.as_ref().map(Controller::actions)
    }

    pub(super) const fn take_over_later(&mut self, slot: Option<u8>) {
        self.next_slot = slot;
    }

    pub(super) fn settle(&mut self, measurement: Measurement) -> Option<StepRecord> {
        self.controller.as_mut()?.settle(measurement)
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
pub(super) fn verify(
    bytes: Option<&[u8]>,
    expected: u32,
    schema: Option<u32>,
    actions: Option<&ActionSpace>,
) -> Result<(), UploadRefusal> {
    let bytes = bytes.filter(|bytes| checksum(bytes) == expected).ok_or(UploadRefusal::Checksum)?;
    let image = PolicyImage::new_checked(bytes).map_err(|_| UploadRefusal::Image)?;
    if schema.is_some_and(|schema| schema != schema_hash(image.header())) {
        return Err(UploadRefusal::Schema);
    }
    let policy = Policy::new(image).map_err(|_| UploadRefusal::Examples)?;
    match actions {
        Some(actions) => Learned::new(policy, actions).map(|_| ()).map_err(|_| UploadRefusal::OtherActions),
        None => Ok(()),
    }
}

impl<S: Storage> State<S> {
    fn verify_slot(&self, slot: u8) -> Result<(), UploadRefusal> {
        let mark = Mark::read(&self.storage, slot).ok_or(UploadRefusal::Checksum)?;
        verify(image(&self.storage, slot), mark.checksum, None, self.engine.actions())
    }

    /// At boot: the newest image that passes its self-test.
    pub(super) fn choose_image(&mut self) {
        for slot in marked(&self.storage) {
            match self.verify_slot(slot) {
                Ok(()) => {
                    self.engine.slot = Some(slot);
                    self.happened(EventKind::PolicyAccepted { slot });
                    return;
                }
                Err(why) => self.happened(EventKind::PolicyRefused { slot, why }),
            }
        }
        self.happened(EventKind::FellBackToTwoRule);
    }

    pub(super) fn configure(&mut self, configuration: &Configuration) -> Result<(), Refusal> {
        let Configuration { actions, limits, reward, fallback } = configuration;
        let controller = Controller::new(Vacant, actions.clone(), *limits, reward.clone());
        let controller = match fallback {
            Some(rule) => controller.and_then(|controller| controller.with_fallback(*rule)),
            None => controller,
        };
        let controller = controller.map_err(|_| Refusal::Configuration)?;
        self.engine.thermostat = Some(thermostat(actions, limits));
        self.engine.controller = Some(controller);
        self.engine.stepped_at = None;
        self.happened(EventKind::Configured);
        self.engine.fits = true;
        if let Some(slot) = self.engine.slot
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
        if !self.engine.is_configured() {
            return Err(Refusal::NotConfigured);
        }
        if self.engine.stepped_at.is_some_and(|last| now < last) {
            return Err(Refusal::TimeRunsBackwards);
        }
        self.take_over();
        let controller = self.engine.controller.take().ok_or(Refusal::NotConfigured)?;
        let policy = match self.engine.in_charge() {
            InCharge::Policy => self.engine.slot.and_then(|slot| image(&self.storage, slot)),
            InCharge::TwoRule => None,
        };
        let policy = policy.and_then(|bytes| Policy::unchanged(bytes).ok());
        let learned = policy.and_then(|policy| Learned::new(policy, controller.actions()).ok());
        let lost = learned.is_none() && self.engine.in_charge() == InCharge::Policy;
        let (decision, controller) = match (learned, &mut self.engine.thermostat) {
            (Some(learned), _) => decide(controller, learned, now, telemetry),
            (None, Some(thermostat)) => decide(controller, thermostat, now, telemetry),
            (None, None) => decide(controller, Vacant, now, telemetry),
        };
        self.engine.controller = Some(controller);
        self.engine.stepped_at = Some(now);
        if lost {
            // The slot has changed under us, for instance through a failing memory.
            self.engine.fits = false;
            self.happened(EventKind::FellBackToTwoRule);
        }
        Ok(decision)
    }

    fn take_over(&mut self) {
        let Some(slot) = self.engine.next_slot.take() else { return };
        match self.verify_slot(slot) {
            Ok(()) => {
                self.engine.slot = Some(slot);
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

/// Decides under `governor`, who leaves again afterwards.
fn decide<G: Governor>(
    controller: Controller<Vacant>,
    governor: G,
    now: Instant,
    telemetry: &Telemetry,
) -> (Decision, Controller<Vacant>) {
    let mut governed = controller.with_governor(governor);
    let decision = governed.step(now, telemetry);
    (decision, governed.with_governor(Vacant))
}
