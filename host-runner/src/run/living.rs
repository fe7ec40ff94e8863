//! The real board as training meets it: requests arrive, llama.cpp answers them, and the supervisor stands between every action
//! and the clocks.

use crate::board::jetson::{Jetson, JetsonError};
use crate::env::answers::Answers;
use crate::env::board::Board as _;
use crate::env::living::{Done, LivingBoard, LivingError, Seen};
use crate::env::service::Service;
use controller_core::action::{Action, ActionSpace};
use controller_core::observation::{FeatureRange, Observer};
use controller_core::supervisor::Supervisor;
use std::sync::atomic::{AtomicBool, Ordering};

/// So many turns in a row without a sample of power, and the sensor is gone.
const MOST_BLIND_TURNS: u32 = 3;

/// A real board at work.
pub struct RealLiving<'a, A> {
    service: Service<A, Jetson<'a>>,
    observer: Observer,
    supervisor: Supervisor,
    actions: ActionSpace,
    layout: Vec<FeatureRange>,
    stop: &'a AtomicBool,
}

impl<'a, A: Answers> RealLiving<'a, A> {
    /// A board with a policy's knobs and inputs. `stop` ends the work at once, with an error.
    pub fn new(
        service: Service<A, Jetson<'a>>,
        supervisor: Supervisor,
        actions: ActionSpace,
        layout: Vec<FeatureRange>,
        stop: &'a AtomicBool,
    ) -> Self {
        Self { service, observer: Observer::default(), supervisor, actions, layout, stop }
    }

    /// A turn that was cut short teaches nothing.
    fn goes_on(&self) -> Result<(), LivingError> {
        if self.stop.load(Ordering::Relaxed) { Err(LivingError::Stopped) } else { Ok(()) }
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> LivingError {
    LivingError::Board(Box::new(error))
}

impl<A: Answers> LivingBoard for RealLiving<'_, A>
where
    A::Error: std::error::Error + Send + Sync + 'static,
{
    fn look(&mut self) -> Result<Seen, LivingError> {
        self.service.wait_for_work().map_err(failed)?;
        self.goes_on()?;
        let telemetry = self.service.telemetry();
        self.observer.watch(&telemetry);
        let observation = self.observer.observe(&self.layout, &telemetry).to_vec();
        Ok(Seen { telemetry, observation })
    }

    /// A turn whose energy nobody knows teaches nothing: the action gets another one.
    fn act(&mut self, seen: &Seen, action: Action) -> Result<Done, LivingError> {
        let mut telemetry = seen.telemetry;
        for _ in 0..MOST_BLIND_TURNS {
            let (now, slope) = (self.service.now(), self.observer.slope_mk_per_s());
            let decision = self.supervisor.supervise(now, &telemetry, slope, action, &self.actions);
            let setting =
                self.actions.setting(decision.applied).expect("the supervisor applies actions of the space only");
            let turn = self.service.execute(&decision, &setting);
            self.goes_on()?;
            let turn = turn.map_err(failed)?;
            self.observer.remember(decision.applied, setting, turn.measurement);
            if !turn.energy_unknown {
                return Ok(Done { decision, setting, measurement: turn.measurement });
            }
            telemetry = self.look()?.telemetry;
        }
        Err(failed(JetsonError::Blind))
    }

    /// The fan is stopped for good; a real one is not stopped and started by a schedule.
    fn set_fan_working(&mut self, working: bool) -> Result<(), LivingError> {
        if working { Ok(()) } else { self.service.board_mut().fail_fan().map_err(failed) }
    }
}
