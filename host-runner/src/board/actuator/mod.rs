//! What is written to a board: GPU clock and fan, by a thread of their own.
//!
//! A driver may take as long as it likes. Whoever wants something set hands the wish over, waits for a
//! bounded time, and goes on. A wish that is not begun in that time is dropped: what was right then need
//! not be right later. Between wishes the thread looks after the fan once a second.

pub mod backoff;
pub mod clock;
pub mod fan;
pub mod incidents;

use clock::{ClockError, GpuClock, Pinned};
use controller_core::units::MilliCelsius;
use fan::FanControl;
use incidents::{Incident, Incidents};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the fan is looked after.
const FAN_PERIOD: Duration = Duration::from_secs(1);

/// How often setting the clock may fail in a row before it is given up.
pub const MOST_FAILURES: u32 = 5;

/// The hottest temperature of the board, as fresh as it must be for the fan; `None` when unknown.
pub type Thermometer = Box<dyn Fn() -> Option<MilliCelsius> + Send>;

/// What is to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// GPU clock, hertz; the nearest entry at or below it is pinned. `None` leaves the clock alone.
    pub clock_hz: Option<u64>,
    /// Lowest duty of the fan, 0 to 255.
    pub fan_floor: u8,
    /// The fan stands still from now on, until the board is hot: a test of the controller.
    pub fan_off: bool,
}

/// What came of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The clock was set and read back, or was found to be somebody else's.
    Clock(Pinned),
    /// There was no clock to set.
    NoClock,
    /// It failed. Counts only when it goes on.
    Failed(ClockError),
    /// The board has not answered in time; nobody knows what is set.
    Late,
}

/// Why the actuator is given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActuatorError {
    /// The clock cannot be set, again and again.
    #[error(
        "the GPU clock could not be set {MOST_FAILURES} times in a row; the last time: {0}. See `energyllm board doctor`"
    )]
    Failing(ClockError),
    /// Its thread is gone.
    #[error("the thread that sets clocks and fan has died; this is a bug, please report it")]
    Died,
    /// There is no thread.
    #[error("cannot start a thread for clocks and fan: {0}")]
    NoThread(std::io::ErrorKind),
}

/// The hand on clock and fan.
#[derive(Debug)]
pub struct Actuator {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    failures: u32,
}

#[derive(Debug, Default)]
struct Shared {
    desk: Mutex<Desk>,
    news: Condvar,
}

/// What lies between the one who wishes and the one who acts.
#[derive(Debug, Default)]
struct Desk {
    wish: Option<(Wish, Instant)>,
    /// The number of the wish that lies here, or lay here last.
    asked: u64,
    /// The number of the wish that was dealt with last.
    answered: u64,
    outcome: Option<Outcome>,
    incidents: Incidents,
    stop: bool,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Actuator {
    /// Starts the thread.
    pub fn start(clock: Option<GpuClock>, fan: FanControl, thermometer: Thermometer) -> Result<Self, ActuatorError> {
        let shared = Arc::new(Shared::default());
        let worker = Worker { shared: Arc::clone(&shared), clock, fan, thermometer };
        let thread = std::thread::Builder::new().name("actuator".to_owned()).spawn(move || worker.work());
        let thread = thread.map_err(|error| ActuatorError::NoThread(error.kind()))?;
        Ok(Self { shared, thread: Some(thread), failures: 0 })
    }

    /// Has something set, and waits for it for at most `patience`. Allocates nothing, unless something
    /// is wrong.
    pub fn set(&mut self, wish: Wish, patience: Duration) -> Result<Outcome, ActuatorError> {
        let until = Instant::now() + patience;
        let mut desk = self.shared.desk();
        desk.asked += 1;
        let number = desk.asked;
        desk.wish = Some((wish, until));
        self.shared.news.notify_all();
        let outcome = loop {
            if desk.answered >= number {
                break desk.outcome.take().unwrap_or(Outcome::NoClock);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                // Not begun yet: forgotten. Begun: whatever comes of it comes too late.
                desk.wish = None;
                desk.incidents.count(Incident::Late);
                break Outcome::Late;
            }
            desk = self.shared.news.wait_timeout(desk, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(desk);
        if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(ActuatorError::Died);
        }
        match &outcome {
            Outcome::Failed(error) => {
                self.failures += 1;
                if self.failures >= MOST_FAILURES {
                    return Err(ActuatorError::Failing(error.clone()));
                }
            }
            Outcome::Late => {}
            Outcome::Clock(_) | Outcome::NoClock => self.failures = 0,
        }
        Ok(outcome)
    }

    /// What has happened so far.
    #[must_use]
    pub fn incidents(&self) -> Incidents {
        self.shared.desk().incidents
    }
}

impl Drop for Actuator {
    /// Tells the thread to end, and waits only for one that is not stuck in a driver: the gate keeps it
    /// from doing harm later.
    fn drop(&mut self) {
        self.shared.desk().stop = true;
        self.shared.news.notify_all();
        let until = Instant::now() + Duration::from_millis(100);
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    clock: Option<GpuClock>,
    fan: FanControl,
    thermometer: Thermometer,
}

impl Worker {
    fn work(mut self) {
        let mut look_at_fan = Instant::now();
        while let Some(wish) = self.next_wish(look_at_fan) {
            if let Some((wish, number)) = wish {
                self.fan.set_floor(wish.fan_floor);
                if wish.fan_off {
                    self.fan.hold_off(MilliCelsius(i32::MAX));
                }
                let outcome = self.pin(wish.clock_hz);
                let mut desk = self.shared.desk();
                desk.incidents.clock(&outcome);
                desk.outcome = Some(outcome);
                desk.answered = number;
                drop(desk);
                self.shared.news.notify_all();
            }
            let driven = self.fan.regulate((self.thermometer)(), Instant::now());
            self.shared.desk().incidents.fan(&driven);
            look_at_fan = Instant::now() + FAN_PERIOD;
        }
    }

    fn pin(&mut self, clock_hz: Option<u64>) -> Outcome {
        match (self.clock.as_mut(), clock_hz) {
            (Some(clock), Some(hz)) => match clock.pin(hz, Instant::now()) {
                Ok(pinned) => Outcome::Clock(pinned),
                Err(error) => Outcome::Failed(error),
            },
            _ => Outcome::NoClock,
        }
    }

    /// Waits for a wish, or until `until` (`Some(None)`); `None` when it is time to end.
    #[expect(clippy::option_option, reason = "the end, no wish, a wish: three things")]
    fn next_wish(&self, until: Instant) -> Option<Option<(Wish, u64)>> {
        let mut desk = self.shared.desk();
        loop {
            if desk.stop {
                return None;
            }
            if let Some((wish, expires)) = desk.wish.take() {
                // A wish that has waited too long is not the present one any more.
                if Instant::now() < expires {
                    return Some(Some((wish, desk.asked)));
                }
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(None);
            }
            desk = self.shared.news.wait_timeout(desk, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
