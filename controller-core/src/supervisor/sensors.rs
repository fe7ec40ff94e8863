//! What the sensors foretell: the temperature and the power at the end of the coming turn, by
//! worst case.

use super::limits::{LONGEST_SPAN, Limits};
use crate::action::Reason;
use crate::telemetry::{Absence, Reading, Telemetry};
use crate::time::{Duration, Instant};
use crate::units::{MilliCelsius, MilliWatts};

/// A sample below this is no temperature: drivers report a powered-off sensor as -256 °C (NVIDIA's
/// R35 `tegra-bpmp-thermal`, with success as the return value).
const COLDEST: MilliCelsius = MilliCelsius::from_degrees(-40);

/// A sample above this counts as this: hot without doubt, and yet forgotten within a minute or two
/// when it was a glitch. Junctions of these modules are off at 105 °C.
const HOTTEST: MilliCelsius = MilliCelsius::from_degrees(150);

/// How far power must move, in milliwatts, before a temperature that stays the same is suspicious.
pub const STUCK_POWER_MW: u32 = 2_000;

/// How many samples in a row must say the same. Between two requests minutes may pass, and two
/// samples of a noisy sensor are equal now and then: 6 in 100 at 0.15 K of noise and 1/32 K steps.
const STUCK_SAMPLES: u8 = 20;

/// Power against its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PowerOutlook {
    /// Far below its limit, or the board has no such sensor.
    Low,
    /// Within the hysteresis.
    Near,
    /// At or above its limit.
    Over,
    /// There was a reading once, and there is none any more.
    Lost,
}

/// What is to be expected of the coming turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outlook {
    /// Worst-case temperature in milli-degrees, or why there is none.
    pub(super) temperature: Result<i32, Reason>,
    /// Worst-case power.
    pub(super) power: PowerOutlook,
}

/// What is remembered of earlier readings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sensors {
    hottest: Option<Hottest>,
    sameness: Option<Sameness>,
    power: Option<Power>,
}

/// The highest temperature that the samples so far allow at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hottest {
    mc: i32,
    at: Instant,
}

/// Since when the sensor says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sameness {
    value: MilliCelsius,
    /// Power when it began.
    power: Option<MilliWatts>,
    /// When power had moved; from then on the temperature should have.
    moved_at: Option<Instant>,
    samples: u8,
}

/// The newest power sample, and how much higher than the one before it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Power {
    sample: MilliWatts,
    rise_mw: u32,
    taken_at: Instant,
}

/// `rate_per_s · span`, rounded up by at most 1 in 100,000, for spans up to [`LONGEST_SPAN`].
fn growth(rate_per_s: u32, span: Duration) -> i32 {
    // 1e-6 is 4294.97 / 2^32; a division of 64 bits would take a microcontroller longer than all
    // the rest of the supervisor. 20 + 30 + 13 bits: no overflow.
    let rate = u64::from(rate_per_s.min(1 << 20));
    let micros = span.micros().min(LONGEST_SPAN.micros());
    i32::try_from((rate * micros * 4295) >> 32).unwrap_or(i32::MAX)
}

/// Age of a sample that still counts. A sample from the future has the age 0, unless it lies so
/// far ahead that its clock must be wrong.
fn fresh(now: Instant, taken_at: Instant, max_age: Duration) -> Option<Duration> {
    let age = now.since(taken_at);
    (age <= max_age && taken_at.since(now) <= max_age).then_some(age)
}

impl Sensors {
    /// Looks at the newest readings.
    pub(super) fn foresee(
        &mut self,
        now: Instant,
        telemetry: &Telemetry,
        slope_mk_per_s: i32,
        limits: &Limits,
    ) -> Outlook {
        Outlook {
            temperature: self.temperature(now, telemetry, slope_mk_per_s, limits),
            power: self.power(now, telemetry.power, limits),
        }
    }

    fn temperature(
        &mut self,
        now: Instant,
        telemetry: &Telemetry,
        slope_mk_per_s: i32,
        limits: &Limits,
    ) -> Result<i32, Reason> {
        let sample = match telemetry.temperature {
            Reading::Present { value, taken_at } if value >= COLDEST => {
                fresh(now, taken_at, limits.max_age).map(|age| (value, age))
            }
            _ => None,
        };
        let Some((value, age)) = sample else {
            self.sameness = None;
            return Err(Reason::StaleTelemetry);
        };
        if self.is_stuck(now, value, telemetry.power.value(), limits) {
            return Err(Reason::StuckSensor);
        }
        let sampled = value.min(HOTTEST).0.saturating_add(growth(limits.max_slew_mk_per_s.into(), age));
        let cooled = self.hottest.map_or(i32::MIN, |before| {
            before.mc.saturating_sub(growth(limits.max_fall_mk_per_s.into(), now.since(before.at)))
        });
        let hottest = sampled.max(cooled);
        self.hottest = Some(Hottest { mc: hottest, at: now });
        let rising = u32::try_from(slope_mk_per_s).unwrap_or(0);
        Ok(hottest.saturating_add(growth(rising, limits.horizon)))
    }

    fn is_stuck(&mut self, now: Instant, value: MilliCelsius, power: Option<MilliWatts>, limits: &Limits) -> bool {
        match &mut self.sameness {
            Some(sameness) if sameness.value == value => {
                sameness.samples = sameness.samples.saturating_add(1);
                if let (Some(then), Some(power)) = (sameness.power, power)
                    && power.0.abs_diff(then.0) >= STUCK_POWER_MW
                {
                    sameness.moved_at.get_or_insert(now);
                }
                limits.stuck_after != Duration::ZERO
                    && sameness.samples >= STUCK_SAMPLES
                    && sameness.moved_at.is_some_and(|moved_at| now.since(moved_at) >= limits.stuck_after)
            }
            _ => {
                self.sameness = Some(Sameness { value, power, moved_at: None, samples: 1 });
                false
            }
        }
    }

    fn power(&mut self, now: Instant, reading: Reading<MilliWatts>, limits: &Limits) -> PowerOutlook {
        let (sample, taken_at) = match reading {
            Reading::Present { value, taken_at } => (value, taken_at),
            // Nothing draws power there, or nobody ever measured it.
            Reading::Absent(Absence::NoSensor | Absence::PoweredDown) => {
                self.power = None;
                return PowerOutlook::Low;
            }
            Reading::Absent(_) if self.power.is_none() => return PowerOutlook::Low,
            Reading::Absent(_) => return PowerOutlook::Lost,
        };
        let rise_mw = match self.power {
            Some(before) if before.taken_at == taken_at => before.rise_mw,
            Some(before) => sample.0.saturating_sub(before.sample.0),
            None => 0,
        };
        self.power = Some(Power { sample, rise_mw, taken_at });
        let Some(age) = fresh(now, taken_at, limits.max_age) else { return PowerOutlook::Lost };
        let since = growth(limits.max_power_slew_mw_per_s, age).unsigned_abs();
        let predicted = sample.0.saturating_add(rise_mw).saturating_add(since);
        if predicted >= limits.power.0 {
            PowerOutlook::Over
        } else if predicted >= limits.power.0.saturating_sub(limits.power_hysteresis.0) {
            PowerOutlook::Near
        } else {
            PowerOutlook::Low
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn second(number: u32) -> Instant {
        Instant::ZERO + Duration::from_secs(number)
    }

    fn telemetry(degrees: i16, watts: u32, at: Instant) -> Telemetry {
        Telemetry {
            temperature: Reading::at(MilliCelsius::from_degrees(degrees), at),
            power: Reading::at(MilliWatts(watts * 1000), at),
            ..Telemetry::UNKNOWN
        }
    }

    proptest! {
        #[test]
        fn growth_is_never_too_small(rate in 0u32..=1 << 20, micros in 0u64..=600_000_000) {
            let exact = u128::from(rate) * u128::from(micros) / 1_000_000;
            let grown = u128::from(growth(rate, Duration::from_micros(micros)).unsigned_abs());
            prop_assert!(grown >= exact && grown <= exact + exact / 100_000 + 1, "{grown} for {exact}");
        }
    }

    #[test]
    fn a_sample_that_falls_faster_than_the_board_can_cool_is_not_believed() {
        let (mut sensors, limits) = (Sensors::default(), Limits::agx_orin());
        let mut look =
            |at, degrees| sensors.foresee(second(at), &telemetry(degrees, 20, second(at)), 0, &limits).temperature;
        assert_eq!(look(0, 92), Ok(92_000));
        let after = look(2, 30).unwrap();
        assert!((89_990..=90_000).contains(&after), "1 K/s for two seconds, not {after}");
        assert_eq!(look(3, 91), Ok(91_000));
        assert_eq!(look(100, 30), Ok(30_000));
        assert_eq!(look(101, -256), Err(Reason::StaleTelemetry));
        assert_eq!(look(102, i16::MAX), Ok(150_000));
        assert!(look(182, 30) < Ok(70_001), "one absurd sample does not stop the board for days");
    }

    #[test]
    fn a_clock_that_runs_ahead_does_not_keep_a_sample_fresh_for_ever() {
        let (mut sensors, limits) = (Sensors::default(), Limits::agx_orin());
        let mut look =
            |taken_at| sensors.foresee(second(100), &telemetry(50, 20, second(taken_at)), 0, &limits).temperature;
        assert_eq!(look(102), Ok(50_000));
        assert_eq!(look(104), Err(Reason::StaleTelemetry));
    }

    #[test]
    fn a_sensor_is_stuck_only_when_power_has_moved_meanwhile() {
        let limits = Limits::agx_orin();
        let run = |limits: &Limits, watts: &dyn Fn(u32) -> u32, degrees: &dyn Fn(u32) -> i16| {
            let mut sensors = Sensors::default();
            let mut look = |at| sensors.foresee(second(at), &telemetry(degrees(at), watts(at), second(at)), 0, limits);
            (0..600).find(|&at| look(at).temperature.is_err())
        };
        let (steady, stepped) = (|_| 20, |at| if at < 300 { 20 } else { 23 });
        assert_eq!(run(&limits, &steady, &|_| 50), None, "a board in balance");
        assert_eq!(run(&limits, &stepped, &|_| 50), Some(360));
        assert_eq!(run(&limits, &stepped, &|at| if at < 350 { 50 } else { 51 }), None, "a slow answer");
        assert_eq!(run(&Limits { stuck_after: Duration::ZERO, ..limits }, &stepped, &|_| 50), None, "turned off");
    }

    #[test]
    fn power_is_extrapolated_and_missed_when_it_was_there() {
        use PowerOutlook::{Lost, Low, Near, Over};
        let limits = Limits::agx_orin();
        let mut sensors = Sensors::default();
        let mut look = |now, reading| sensors.power(second(now), reading, &limits);
        let watts = |watts: u32, at| Reading::at(MilliWatts(watts * 1000), second(at));
        assert_eq!(look(0, Reading::Absent(Absence::ReadFailed)), Low, "never there");
        assert_eq!(look(1, watts(40, 1)), Low);
        assert_eq!(look(2, watts(50, 2)), Over, "ten more would be sixty");
        assert_eq!(look(3, watts(50, 2)), Over, "the same sample again");
        assert_eq!(look(4, watts(50, 4)), Low);
        assert_eq!(look(5, watts(50, 4)), Over, "ten watts per second may have come since");
        assert_eq!(look(6, watts(59, 6)), Over);
        assert_eq!(look(7, watts(59, 7)), Near);
        assert_eq!(look(11, watts(59, 7)), Lost, "too old");
        assert_eq!(look(12, Reading::Absent(Absence::ReadFailed)), Lost);
        assert_eq!(look(13, Reading::Absent(Absence::NoSensor)), Low);
        assert_eq!(look(14, Reading::Absent(Absence::ReadFailed)), Low);
    }
}
