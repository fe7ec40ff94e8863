//! What the board and the engine report: readings before a turn, a measurement after it.

use crate::time::{Duration, Instant};
use crate::units::{KiloHertz, MicroJoules, MilliCelsius, MilliNats, MilliRequestsPerSecond, MilliWatts};
use crate::wire::{Decode, Encode, Reader, Writer, wire};
use serde::{Deserialize, Serialize};

/// One sensor value with the moment it was taken, or the reason why there is none.
///
/// A missing sensor is never a number: 0, -256 and NaN have all been taken for "cold" before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reading<T> {
    /// The sensor answered.
    Present {
        /// What it said.
        value: T,
        /// When it was sampled.
        #[serde(rename = "taken_at_us")]
        taken_at: Instant,
    },
    /// There is no value.
    Absent(Absence),
}

impl<T: Encode> Encode for Reading<T> {
    fn write(&self, to: &mut Writer<'_>) {
        match self {
            Self::Present { value, taken_at } => {
                to.push(0);
                value.write(to);
                taken_at.write(to);
            }
            Self::Absent(absence) => {
                to.push(1);
                absence.write(to);
            }
        }
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Reading<T> {
    #[inline(never)]
    fn read(from: &mut Reader<'a>) -> Self {
        match from.variant() {
            0 => Self::Present { value: T::read(from), taken_at: Instant::read(from) },
            1 => Self::Absent(Absence::read(from)),
            _ => {
                from.fail();
                Self::Absent(Absence::ReadFailed)
            }
        }
    }
}

/// Why a reading has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Absence {
    /// The board has no such sensor.
    NoSensor,
    /// Nothing has been sampled yet.
    NotYetRead,
    /// The part is powered down, which is normal (a rail-gated GPU, an offline thermal zone).
    PoweredDown,
    /// The sensor exists but the read failed.
    ReadFailed,
}

wire!(enum Absence { 0 => NoSensor, 1 => NotYetRead, 2 => PoweredDown, 3 => ReadFailed });

impl<T: Copy> Reading<T> {
    /// A value sampled at `taken_at`.
    pub const fn at(value: T, taken_at: Instant) -> Self {
        Self::Present { value, taken_at }
    }

    /// The value, whatever its age.
    pub const fn value(&self) -> Option<T> {
        match *self {
            Self::Present { value, .. } => Some(value),
            Self::Absent(_) => None,
        }
    }

    /// The value, when it is no older than `max_age` at `now`.
    pub fn fresh(&self, now: Instant, max_age: Duration) -> Option<T> {
        match *self {
            Self::Present { value, taken_at } if now.since(taken_at) <= max_age => Some(value),
            _ => None,
        }
    }
}

/// Everything the controller may look at before a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telemetry {
    /// Junction temperature, the hottest sensor of the module (Jetson zone `tj`).
    #[serde(rename = "temperature_mc")]
    pub temperature: Reading<MilliCelsius>,
    /// Total power of the module's rails, averaged over the last interval.
    #[serde(rename = "power_mw")]
    pub power: Reading<MilliWatts>,
    /// GPU clock as read back from the board.
    #[serde(rename = "gpu_clock_khz")]
    pub gpu_clock: Reading<KiloHertz>,
    /// Fan drive as read back, 0 (stopped or failed) to 255 (full).
    pub fan_pwm: Reading<u8>,
    /// Requests waiting for an answer.
    pub queue: u16,
    /// Recent arrival rate of requests.
    #[serde(rename = "offered_load_mreq_per_s")]
    pub offered_load: MilliRequestsPerSecond,
}

wire!(struct Telemetry { temperature, power, gpu_clock, fan_pwm, queue, offered_load });

impl Telemetry {
    /// Telemetry before anything has been sampled.
    pub const UNKNOWN: Self = Self {
        temperature: Reading::Absent(Absence::NotYetRead),
        power: Reading::Absent(Absence::NotYetRead),
        gpu_clock: Reading::Absent(Absence::NotYetRead),
        fan_pwm: Reading::Absent(Absence::NotYetRead),
        queue: 0,
        offered_load: MilliRequestsPerSecond(0),
    };
}

/// What one turn cost: from the decision to the last token of its batch, or to the end of a hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// Requests answered; 0 for a hold.
    pub requests: u16,
    /// Prompt tokens of the batch.
    pub prompt_tokens: u32,
    /// Tokens generated, all requests together.
    pub generated_tokens: u32,
    /// Time of the prefill phase.
    #[serde(rename = "prefill_us")]
    pub prefill: Duration,
    /// Time of the decode phase.
    #[serde(rename = "decode_us")]
    pub decode: Duration,
    /// Time the board waited, without a batch, since the previous turn ended.
    #[serde(rename = "idle_us")]
    pub idle: Duration,
    /// Longest time from the arrival of a request of this batch to its answer.
    #[serde(rename = "response_us")]
    pub response: Duration,
    /// Energy of the module's rails and the fan over `idle + prefill + decode`.
    #[serde(rename = "energy_uj")]
    pub energy: MicroJoules,
    /// The part of `energy` that was spent in prefill and decode.
    #[serde(rename = "active_energy_uj")]
    pub active_energy: MicroJoules,
    /// Highest temperature of the turn: the highest sample, or the true peak where a simulated
    /// board knows it.
    #[serde(rename = "peak_temperature_mc")]
    pub peak_temperature: Option<MilliCelsius>,
    /// Mean entropy of the next-token distributions of the batch.
    #[serde(rename = "entropy_mnat")]
    pub entropy: Option<MilliNats>,
}

wire!(struct Measurement {
    requests,
    prompt_tokens,
    generated_tokens,
    prefill,
    decode,
    idle,
    response,
    energy,
    active_energy,
    peak_temperature,
    entropy,
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_is_inclusive_and_absence_is_never_fresh() {
        let reading = Reading::at(5u8, Instant::from_micros(100));
        let age = Duration::from_micros(50);
        assert_eq!(reading.fresh(Instant::from_micros(150), age), Some(5));
        assert_eq!(reading.fresh(Instant::from_micros(151), age), None);
        assert_eq!(reading.value(), Some(5));
        let absent = Reading::<u8>::Absent(Absence::PoweredDown);
        assert_eq!(absent.fresh(Instant::ZERO, age), None);
    }
}
