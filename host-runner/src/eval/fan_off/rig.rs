//! What the test needs of a board, and what a batch and a sample are.

use controller_core::action::{Action, Setting};
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::Instant;
use controller_core::units::MilliRequestsPerSecond;
use serde::{Deserialize, Serialize};

/// Who waits while a batch runs: more than any batch takes, and a load that nobody can serve.
pub const QUEUE: u16 = 64;
/// The load that a governor sees.
pub const LOAD: MilliRequestsPerSecond = MilliRequestsPerSecond(10_000);
/// How long a hold lets the board cool, s.
pub const HOLD_S: f64 = 5.0;

/// How a board fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It works.
    Works,
    /// It has shut itself down.
    Off,
    /// Its guard has taken the fan that the test had stopped.
    FanIsBack,
}

/// A board that is warmed up.
pub trait Rig {
    /// Why it does not go on.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The board's clock.
    fn now(&self) -> Instant;

    /// Samples every sensor for a controller.
    fn telemetry(&mut self) -> Telemetry;

    /// Lowest duty of the fan from the next batch or hold on.
    fn set_fan(&mut self, pwm: u8);

    /// The fan stops for good.
    fn stop_fan(&mut self) -> Result<(), Self::Error>;

    /// How it fares.
    fn condition(&self) -> Condition;

    /// Lets the board cool; the time that took, s.
    fn hold(&mut self) -> Result<f64, Self::Error>;

    /// Runs a batch after the gap; `None` when it was not finished: the board is off, or the user has stopped it.
    fn run(
        &mut self,
        number: u32,
        action: Action,
        setting: &Setting,
        reason: String,
    ) -> Result<Option<Batch>, Self::Error>;

    /// What the last batch or hold cost, for a controller.
    fn measurement(&self) -> Measurement;
}

/// One batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// From 0.
    pub number: u32,
    /// Start and end on the board's clock, s.
    pub start_s: f64,
    /// End, s.
    pub end_s: f64,
    /// What was applied, by index.
    pub action: Action,
    /// The same as values.
    pub setting: Setting,
    /// Why, if it is not what was asked for; empty for a bare setting.
    pub reason: String,
    /// Idle time before it, holds included, s.
    pub idle_s: f64,
    /// Prompt tokens of all sequences.
    pub prompt_tokens: u32,
    /// Generated tokens of all sequences.
    pub generated_tokens: u32,
    /// What the prefill was.
    pub prefill: Phase,
    /// What the decode was.
    pub decode: Phase,
    /// Mean GPU clock while decoding, MHz; `None` where nobody knows.
    pub clock_mhz: Option<f64>,
    /// Time in which heat held the clock down, s.
    pub throttled_s: f64,
    /// The fan runs when told to.
    pub fan_working: bool,
    /// Rails, and the fan where they feed it, the idle time before included, J; `None` where nobody has measured it.
    pub energy_j: Option<f64>,
}

/// One phase of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// s.
    pub seconds: f64,
    /// Mean of all rails, W; `None` where nobody has measured it.
    pub power_w: Option<f64>,
    /// Single rails, means over the phase; zones at its end.
    pub sensors: Sensors,
}

/// What the published files say besides; a board that lacks a sensor has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sensors {
    /// Zone of the CPU, °C.
    pub cpu_c: Option<f64>,
    /// Zone of the GPU, °C.
    pub gpu_c: Option<f64>,
    /// Junction, °C.
    pub tj_c: Option<f64>,
    /// `VDD_GPU_SOC`, `VDD_CPU_CV`, `VIN_SYS_5V0` and `VDDQ_VDD2_1V8AO`, mW.
    pub rails_mw: [Option<f64>; 4],
}

impl Batch {
    /// Prefill and decode, s.
    #[must_use]
    pub fn latency_s(&self) -> f64 {
        self.prefill.seconds + self.decode.seconds
    }
}

/// One sample of the trace.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// On the board's clock, s.
    pub time_s: f64,
    /// Hottest zone, °C.
    pub temperature_c: Option<f64>,
    /// GPU clock that runs, MHz.
    pub clock_mhz: Option<f64>,
    /// All rails, W: the mean since the sample before where the board is simulated, else what the sensor says.
    pub power_w: Option<f64>,
    /// Fan duty that acts.
    pub fan_pwm: Option<u8>,
    /// The fan runs when told to.
    pub fan_working: bool,
    /// Heat holds the clock down.
    pub throttled: bool,
    /// Single sensors.
    pub sensors: Sensors,
}

/// The sums of a test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Whole {
    /// Length, s.
    pub duration_s: f64,
    /// Rails, and the fan where they feed it, J.
    pub energy_j: f64,
    /// Highest temperature, °C.
    pub max_temperature_c: f64,
    /// Time above the limit, s.
    pub above_limit_s: f64,
    /// Time in which heat held the clock down, s.
    pub throttled_s: f64,
}
