//! From telemetry to the policy's input: named features, each mapped linearly to a signed integer.

use crate::action::{Action, Setting};
use crate::division::{quotient, signed_quotient};
use crate::telemetry::{Measurement, Reading, Telemetry};
use crate::time::{Duration, Instant};
use crate::units::MilliCelsius;
use crate::wire::wire;
use core::fmt;
use heapless::Vec;
use serde::{Deserialize, Serialize};

/// Most features of an observation.
pub const MAX_FEATURES: usize = 16;

/// A normalized feature lies in `-ONE..=ONE`, standing for -1 to 1 (Q13, less the top step so
/// that the range is symmetric).
pub const ONE: i16 = 8191;

/// Version of the meaning of the features; images made for another one are refused.
pub const FEATURES_VERSION: u16 = 2;

/// What the controller can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Feature {
    /// Junction temperature, milli-degrees Celsius.
    Temperature,
    /// Rate of change of the temperature over half a minute, milli-kelvin per second.
    TemperatureSlope,
    /// Fan drive as read back, 0 to 255.
    FanPwm,
    /// Arrival rate, thousandths of a request per second.
    OfferedLoad,
    /// Waiting requests.
    Queue,
    /// Mean power, milliwatts.
    Power,
    /// Decode clock of the previous turn, kHz.
    DecodeClock,
    /// Exit layer of the previous turn.
    Depth,
    /// Longest response of the previous batch, milliseconds.
    Response,
    /// Mean next-token entropy of the previous batch, thousandths of a nat.
    Entropy,
    /// Index of the prefill clock of the previous batch.
    PrefillIndex,
    /// Index of the decode clock of the previous batch.
    DecodeIndex,
    /// Most requests of the previous batch, as its action had it.
    BatchSize,
    /// Tokens per second that answer the offered load: arrival rate times the mean answer of about the last 256 requests.
    OfferedTokens,
    /// Response that the reward allows, milliseconds per token of that mean answer; 0, the strictest, where the reward
    /// knows no limit.
    TokenAllowance,
    /// Longest response of a batch, thousandths of what the reward allows, mean over about the last 256 requests.
    ResponseShare,
    /// Prefill and decode of a batch, thousandths of the response that the reward allows, mean over about the last 256
    /// requests.
    BatchShare,
    /// Tokens per second, idle time included, over about the last 256 requests, in 256ths of an octave above one a second. Who
    /// keeps up serves what is offered, so this is the load without the chance of the last half minute.
    ServedOctaves,
    /// Highest response of the recent past, thousandths of what the reward allows: longest of a batch, falling to the mean over
    /// about 256 requests. Tells bursts from a steady load while it is calm.
    PeakResponse,
    /// [`Feature::OfferedTokens`] in 256ths of an octave above one a second: a board meets loads from some tokens a second to
    /// a thousand, and what to do depends on their ratio.
    OfferedOctaves,
}

wire!(enum Feature {
    0 => Temperature,
    1 => TemperatureSlope,
    2 => FanPwm,
    3 => OfferedLoad,
    4 => Queue,
    5 => Power,
    6 => DecodeClock,
    7 => Depth,
    8 => Response,
    9 => Entropy,
    10 => PrefillIndex,
    11 => DecodeIndex,
    12 => BatchSize,
    13 => OfferedTokens,
    14 => TokenAllowance,
    15 => ResponseShare,
    16 => BatchShare,
    17 => ServedOctaves,
    18 => PeakResponse,
    19 => OfferedOctaves,
});

/// One feature and the values that map to -1 and to 1; values outside saturate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureRange {
    /// Which feature.
    pub feature: Feature,
    /// Maps to -1.
    pub low: i32,
    /// Maps to 1.
    pub high: i32,
}

wire!(struct FeatureRange { feature, low, high });

impl FeatureRange {
    /// Maps a raw value to `-ONE..=ONE`, rounding half up, saturating at the ends.
    #[must_use]
    pub fn normalize(&self, raw: i32) -> i16 {
        let span = i64::from(self.high) - i64::from(self.low);
        if span <= 0 {
            return 0; // refused by `Layout` checks; harmless all the same
        }
        let above = (i64::from(raw) - i64::from(self.low)).clamp(0, span);
        let (above, span, one) = (above.unsigned_abs(), span.unsigned_abs(), u64::from(ONE.unsigned_abs()));
        let steps = quotient(above * 2 * one + span / 2, span); // from -1 upwards
        i16::try_from(steps).map_or(ONE, |steps| steps - ONE)
    }
}

/// The features of a policy in the order of its inputs.
pub type Layout = Vec<FeatureRange, MAX_FEATURES>;

/// Normalized features, ready for the policy.
pub type Observation = Vec<i16, MAX_FEATURES>;

/// Why a layout cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// No features at all.
    Empty,
    /// A range whose high end is not above its low end.
    EmptyRange(Feature),
    /// The same feature twice.
    Repeated(Feature),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the observation has no features; name at least one"),
            Self::EmptyRange(feature) => {
                write!(f, "the range of {feature:?} is empty; its high end must lie above its low end")
            }
            Self::Repeated(feature) => write!(f, "{feature:?} occurs twice in the observation; name it once"),
        }
    }
}

impl core::error::Error for LayoutError {}

/// Checks that a layout has features, each once, each with a range that is not empty.
pub fn check_layout(layout: &[FeatureRange]) -> Result<(), LayoutError> {
    if layout.is_empty() {
        return Err(LayoutError::Empty);
    }
    for (position, range) in layout.iter().enumerate() {
        if range.high <= range.low {
            return Err(LayoutError::EmptyRange(range.feature));
        }
        if layout.iter().skip(position + 1).any(|other| other.feature == range.feature) {
            return Err(LayoutError::Repeated(range.feature));
        }
    }
    Ok(())
}

/// Time constant of the filter behind the temperature slope. Long enough that 0.15 K of sensor
/// noise reads as 5 mK/s, short against the minutes that a heat sink takes.
pub const SLOPE_TIME_CONSTANT: Duration = Duration::from_secs(30);

/// 256ths of an octave above one; 0 at one and below. Between powers of two the logarithm is taken as straight, which is at
/// most 22 too low.
fn octaves(value: u64) -> i32 {
    let value = u32::try_from(value).unwrap_or(u32::MAX).max(1);
    let whole = value.ilog2();
    let part = (value << (31 - whole) >> 23) & 0xff;
    i32::try_from((whole << 8) + part).unwrap_or(i32::MAX)
}

/// Remembers what an observation needs from the past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observer {
    trend: Option<Trend>,
    previous: Option<Previous>,
    usual: Usual,
    response_limit: Duration,
}

/// Means over all requests so far, later over about the last [`REQUESTS`], in 256ths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usual {
    /// Requests so far, at most [`REQUESTS`].
    requests: u16,
    /// Tokens of an answer.
    answer: u32,
    /// Time from one answer to the next, milliseconds.
    span: u32,
    /// Longest response of a batch, thousandths of the limit.
    response: u32,
    /// The highest of these, falling to their mean.
    peak: u32,
    /// Time of a batch, thousandths of the limit.
    batch: u32,
}

impl Default for Usual {
    /// What is expected of the first requests: responses at the limit, for which two batches are answered in turn. A board that
    /// has answered one request, which waited for nobody, knows nothing of its load yet.
    fn default() -> Self {
        Self { requests: 0, answer: 20 << 8, span: 1000 << 8, response: 1000 << 8, peak: 1000 << 8, batch: 500 << 8 }
    }
}

/// Low-pass-filtered temperature; the distance of the present value from it is the slope times
/// the time constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trend {
    /// Micro-degrees Celsius.
    filtered_ucelsius: i64,
    latest: MilliCelsius,
    updated_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Previous {
    action: Action,
    setting: Setting,
    measurement: Measurement,
}

/// Requests that the means reach back to: enough that neither the length of an answer nor a queue by chance shows, and that a
/// burst every minute does.
const REQUESTS: u16 = 256;

/// Requests that the expected response counts for.
const EXPECTED: u16 = 16;

/// A mean moved towards a value by a share, Q16.
#[inline(never)]
fn towards(mean: u32, value: u32, share: i64) -> u32 {
    let step = ((i64::from(value) - i64::from(mean)) * share) >> 16;
    u32::try_from(i64::from(mean) + step).unwrap_or(value)
}

impl Observer {
    /// Observes for a reward that allows a response so long.
    #[must_use]
    pub fn with_response_limit(limit: Duration) -> Self {
        Self { response_limit: limit, ..Self::default() }
    }

    /// Takes in what was seen. A temperature that is not newer than the last one changes nothing.
    pub fn watch(&mut self, telemetry: &Telemetry) {
        if let Reading::Present { value, taken_at } = telemetry.temperature {
            self.follow(value, taken_at);
        }
    }

    fn follow(&mut self, temperature: MilliCelsius, taken_at: Instant) {
        let ucelsius = i64::from(temperature.0) * 1000;
        let Some(trend) = &mut self.trend else {
            self.trend = Some(Trend { filtered_ucelsius: ucelsius, latest: temperature, updated_at: taken_at });
            return;
        };
        let elapsed = taken_at.since(trend.updated_at).micros();
        if elapsed == 0 {
            return;
        }
        // Backward Euler: stable for any gap between samples. Of the lead, lead·tau / (dt + tau) is left, rounded up; the
        // product fits 64 bits below 600,000 °C.
        let (lead, tau) = (ucelsius - trend.filtered_ucelsius, SLOPE_TIME_CONSTANT.micros());
        let whole = elapsed.saturating_add(tau);
        let left = quotient(lead.unsigned_abs().saturating_mul(tau).saturating_add(whole - 1), whole);
        let left = i64::try_from(left).unwrap_or(0);
        trend.filtered_ucelsius = if lead < 0 { ucelsius + left } else { ucelsius - left };
        trend.latest = temperature;
        trend.updated_at = taken_at;
    }

    /// Remembers what the turn that just ended did and cost.
    pub fn remember(&mut self, action: Action, setting: Setting, measurement: Measurement) {
        // A hold answers nothing: the last real batch stays the best knowledge of a batch.
        if measurement.requests > 0 {
            self.previous = Some(Previous { action, setting, measurement });
            self.usual = self.usual_after(&measurement);
        }
    }

    /// The means, moved towards this batch's numbers, the further the more answers it has.
    fn usual_after(&self, measurement: &Measurement) -> Usual {
        let Measurement { requests, generated_tokens, idle, prefill, decode, response, .. } = *measurement;
        let busy = Duration::from_micros(prefill.micros().saturating_add(decode.micros()));
        let turn_ms = u32::try_from(quotient(busy.micros().saturating_add(idle.micros()), 1000)).unwrap_or(u32::MAX);
        let each = |sum: u32| sum.min(u32::MAX >> 8) * 256 / u32::from(requests.max(1));
        let usual = &self.usual;
        let so_far = usual.requests.saturating_add(requests).min(REQUESTS);
        // Share of this batch in a mean, Q16.
        let share = |among: u16| {
            let among = u32::from(among.clamp(1, REQUESTS));
            i64::from((u32::from(requests).min(among) << 16) / among)
        };
        let (alone, with_expected) = (share(so_far), share(so_far.saturating_add(EXPECTED)));
        let response = self.share_of_limit(response) << 8;
        let mean_response = towards(usual.response, response, with_expected);
        Usual {
            requests: so_far,
            answer: towards(usual.answer, each(generated_tokens), alone),
            span: towards(usual.span, each(turn_ms), alone),
            response: mean_response,
            peak: towards(usual.peak, mean_response, with_expected).max(response),
            batch: towards(usual.batch, self.share_of_limit(busy) << 8, with_expected),
        }
    }

    /// Setting and cost of the last batch; `None` before the first.
    #[must_use]
    pub fn previous(&self) -> Option<(&Setting, &Measurement)> {
        self.previous.as_ref().map(|previous| (&previous.setting, &previous.measurement))
    }

    /// Rate of change of the temperature in milli-kelvin per second; 0 before two samples.
    #[must_use]
    pub fn slope_mk_per_s(&self) -> i32 {
        self.trend.map_or(0, |trend| {
            let lead = i64::from(trend.latest.0) * 1000 - trend.filtered_ucelsius;
            let tau_ms = i64::try_from(SLOPE_TIME_CONSTANT.micros() / 1000).unwrap_or(i64::MAX);
            i32::try_from(signed_quotient(lead, tau_ms)).unwrap_or(if lead > 0 { i32::MAX } else { i32::MIN })
        })
    }

    /// The raw value of one feature. An absent reading counts as its dangerous end: hot, no fan.
    #[must_use]
    #[inline(never)]
    pub fn raw(&self, range: &FeatureRange, telemetry: &Telemetry) -> i32 {
        let unsigned = |value: u64| i32::try_from(value).unwrap_or(i32::MAX);
        let before_first_batch = range.low;
        match range.feature {
            Feature::Temperature => telemetry.temperature.value().map_or(range.high, |t| t.0),
            Feature::TemperatureSlope => self.slope_mk_per_s(),
            Feature::FanPwm => telemetry.fan_pwm.value().map_or(range.low, i32::from),
            Feature::OfferedLoad => unsigned(u64::from(telemetry.offered_load.0)),
            Feature::Queue => i32::from(telemetry.queue),
            Feature::Power => telemetry.power.value().map_or(range.high, |p| unsigned(u64::from(p.0))),
            Feature::DecodeClock => {
                self.previous.map_or(before_first_batch, |p| unsigned(u64::from(p.setting.decode.0)))
            }
            Feature::Depth => self.previous.map_or(before_first_batch, |p| i32::from(p.setting.depth)),
            Feature::Response => {
                self.previous.map_or(before_first_batch, |p| unsigned(quotient(p.measurement.response.micros(), 1000)))
            }
            Feature::Entropy => self
                .previous
                .and_then(|p| p.measurement.entropy)
                .map_or(before_first_batch, |entropy| unsigned(u64::from(entropy.0))),
            Feature::PrefillIndex => self.previous.map_or(before_first_batch, |p| i32::from(p.action.prefill)),
            Feature::DecodeIndex => self.previous.map_or(before_first_batch, |p| i32::from(p.action.decode)),
            Feature::BatchSize => self.previous.map_or(before_first_batch, |p| i32::from(p.setting.batch)),
            Feature::OfferedTokens => unsigned(self.offered_tokens(telemetry)),
            Feature::OfferedOctaves => octaves(self.offered_tokens(telemetry)),
            Feature::TokenAllowance => {
                let per_answer_q8 = quotient(self.response_limit.micros().saturating_mul(256), 1000);
                unsigned(quotient(per_answer_q8, self.answer_q8()))
            }
            Feature::ResponseShare => unsigned(u64::from(self.usual.response >> 8)),
            Feature::BatchShare => unsigned(u64::from(self.usual.batch >> 8)),
            Feature::PeakResponse => unsigned(u64::from(self.usual.peak >> 8)),
            Feature::ServedOctaves => octaves(quotient(self.answer_q8() * 1000, u64::from(self.usual.span.max(1)))),
        }
    }

    /// A usual answer, 256ths of a token.
    fn answer_q8(&self) -> u64 {
        u64::from(self.usual.answer.max(1))
    }

    /// Tokens per second that answer the offered load.
    fn offered_tokens(&self, telemetry: &Telemetry) -> u64 {
        quotient(u64::from(telemetry.offered_load.0) * self.answer_q8(), 256_000)
    }

    /// Thousandths of the response limit, less than 2^24: a 256th of them fits 32 bits.
    #[inline(never)]
    fn share_of_limit(&self, time: Duration) -> u32 {
        let share = quotient(time.micros().saturating_mul(1000), self.response_limit.micros().max(1));
        u32::try_from(share).unwrap_or(u32::MAX).min(u32::MAX >> 8)
    }

    /// The observation of a layout.
    #[must_use]
    pub fn observe(&self, layout: &[FeatureRange], telemetry: &Telemetry) -> Observation {
        layout.iter().take(MAX_FEATURES).map(|range| range.normalize(self.raw(range, telemetry))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Reading;
    use proptest::prelude::*;

    const TEMPERATURE: FeatureRange = FeatureRange { feature: Feature::Temperature, low: 20_000, high: 100_000 };

    #[test]
    fn normalization_hits_its_ends_and_middle() {
        for (raw, expected) in [(20_000, -ONE), (60_000, 0), (100_000, ONE), (0, -ONE), (i32::MAX, ONE)] {
            assert_eq!(TEMPERATURE.normalize(raw), expected, "raw {raw}");
        }
    }

    proptest! {
        #[test]
        fn normalization_is_monotone_and_bounded(low in any::<i32>(), high in any::<i32>(), a in any::<i32>(), b in any::<i32>()) {
            prop_assume!(low < high);
            let range = FeatureRange { feature: Feature::Queue, low, high };
            let (x, y) = (range.normalize(a.min(b)), range.normalize(a.max(b)));
            prop_assert!(x <= y);
            prop_assert!((-ONE..=ONE).contains(&x) && (-ONE..=ONE).contains(&y));
        }
    }

    proptest! {
        /// `filtered + lead·dt / (dt + tau)`, the quotient towards zero.
        #[test]
        fn the_filter_steps_as_in_wider_numbers(first in -300_000i32..600_000, second in -300_000i32..600_000, micros in 1u64.., less in 0u32..64) {
            let elapsed = (micros >> less).max(1);
            let mut observer = Observer::default();
            observer.follow(MilliCelsius(first), Instant::ZERO);
            observer.follow(MilliCelsius(second), Instant::from_micros(elapsed));
            let (dt, lead) = (i128::from(elapsed), 1000 * i128::from(second - first));
            let step = lead * dt / (dt + i128::from(SLOPE_TIME_CONSTANT.micros()));
            let filtered = observer.trend.unwrap().filtered_ucelsius;
            prop_assert_eq!(i128::from(filtered), 1000 * i128::from(first) + step);
        }
    }

    #[test]
    fn a_ramp_reads_as_its_slope() {
        let mut observer = Observer::default();
        for second in 0..300u32 {
            let at = Instant::ZERO + Duration::from_secs(second);
            observer.follow(MilliCelsius(40_000 + 50 * i32::try_from(second).unwrap()), at);
        }
        assert!((48..=52).contains(&observer.slope_mk_per_s()), "{}", observer.slope_mk_per_s());
    }

    #[test]
    fn absent_readings_count_as_dangerous() {
        let observer = Observer::default();
        let fan = FeatureRange { feature: Feature::FanPwm, low: 0, high: 255 };
        let seen = observer.observe(&[TEMPERATURE, fan], &Telemetry::UNKNOWN);
        assert_eq!(seen.as_slice(), &[ONE, -ONE]);
        let cool = Telemetry {
            temperature: Reading::at(MilliCelsius(60_000), Instant::ZERO),
            fan_pwm: Reading::at(255, Instant::ZERO),
            ..Telemetry::UNKNOWN
        };
        assert_eq!(observer.observe(&[TEMPERATURE, fan], &cool).as_slice(), &[0, ONE]);
    }

    #[test]
    fn the_last_action_is_remembered_through_holds() {
        use crate::reward::service::tests::SETTING;
        let range = |feature, low, high| FeatureRange { feature, low, high };
        let layout = [
            range(Feature::PrefillIndex, 0, 10),
            range(Feature::DecodeIndex, 0, 10),
            range(Feature::BatchSize, 1, 33),
            range(Feature::Depth, 0, 32),
        ];
        let mut observer = Observer::default();
        let seen = |observer: &Observer| observer.observe(&layout, &Telemetry::UNKNOWN);
        assert_eq!(seen(&observer), [-ONE; 4], "the low ends before the first batch");
        let action = Action { prefill: 5, decode: 10, ..Action::default() };
        let answered = Measurement { requests: 1, ..Measurement::default() };
        observer.remember(action, Setting { batch: 17, ..SETTING }, answered);
        observer.remember(Action::default(), SETTING, Measurement::default());
        assert_eq!(seen(&observer), [0, ONE, 0, 0]);
    }

    #[test]
    fn single_answers_do_not_show_in_their_mean() {
        use crate::reward::service::tests::SETTING;
        use crate::units::MilliRequestsPerSecond;
        let range = FeatureRange { feature: Feature::OfferedTokens, low: 0, high: 1000 };
        let one_per_second = Telemetry { offered_load: MilliRequestsPerSecond(1000), ..Telemetry::UNKNOWN };
        let mut observer = Observer::default();
        assert_eq!(observer.raw(&range, &one_per_second), 20, "the answer that is expected before the first");
        let mut answered = |generated_tokens, requests| {
            let measurement = Measurement { requests, generated_tokens, ..Measurement::default() };
            observer.remember(Action::default(), SETTING, measurement);
            observer.raw(&range, &one_per_second)
        };
        assert_eq!(answered(400, 10), 40, "the first batch is all there is");
        assert_eq!(answered(1000, 10), 70, "all count the same until there are enough");
        assert_eq!(answered(18_960, 236), 79);
        assert_eq!(answered(336, 1), 80, "one long answer counts a 256th");
        assert_eq!(answered(25_600, 256), 100, "as many answers replace the past");
        assert_eq!(answered(u32::MAX, 1), 100 + ((1 << 24) - 1 - 100) / 256, "no overflow");
    }

    #[test]
    fn what_is_served_is_the_load_without_its_chance() {
        use crate::reward::service::tests::SETTING;
        let range = FeatureRange { feature: Feature::ServedOctaves, low: 0, high: 2560 };
        let mut observer = Observer::default();
        let mut served = |requests, idle_s, decode_s| {
            let (idle, decode) = (Duration::from_secs(idle_s), Duration::from_secs(decode_s));
            let generated_tokens = 20 * u32::from(requests);
            let measurement = Measurement { requests, generated_tokens, decode, idle, ..Measurement::default() };
            observer.remember(Action::default(), SETTING, measurement);
            observer.raw(&range, &Telemetry::UNKNOWN)
        };
        // 10 a second: three octaves and a quarter.
        assert_eq!(served(1, 1, 1), 3 * 256 + 64);
        // 13 requests of 20 tokens in 8 s: 32 a second.
        assert_eq!(served(12, 1, 5), 5 * 256);
    }

    proptest! {
        #[test]
        fn octaves_are_a_logarithm(low in 1u64..=1 << 31, high in 1u64..=1 << 31) {
            let (low, high) = (low.min(high), low.max(high));
            prop_assert!(octaves(low) <= octaves(high));
            prop_assert_eq!(octaves(2 * low.min(1 << 30)), octaves(low.min(1 << 30)) + 256);
            prop_assert_eq!(octaves(1 << low.ilog2()), 256 * i32::try_from(low.ilog2()).unwrap());
        }
    }

    #[test]
    fn a_burst_is_remembered_while_it_is_calm() {
        use crate::reward::service::tests::SETTING;
        let range = FeatureRange { feature: Feature::PeakResponse, low: 0, high: 4000 };
        let mut observer = Observer::with_response_limit(Duration::from_secs(1));
        let mut after = |requests, seconds| {
            let response = Duration::from_secs(seconds);
            observer.remember(Action::default(), SETTING, Measurement { requests, response, ..Measurement::default() });
            observer.raw(&range, &Telemetry::UNKNOWN)
        };
        (0..256).for_each(|_| assert_eq!(after(1, 1), 1000));
        assert_eq!(after(8, 4), 4000);
        let calm: Vec<i32, 1024> = (0..1024).map(|_| after(1, 1)).collect();
        assert!(calm.is_sorted_by(|earlier, later| later <= earlier), "it only falls");
        assert!((3200..4000).contains(&calm[50]) && calm[1023] < 1100, "{} {}", calm[50], calm[1023]);
    }

    #[test]
    fn the_response_limit_shows_in_proportion() {
        use crate::reward::service::tests::SETTING;
        let allowance = FeatureRange { feature: Feature::TokenAllowance, low: 0, high: 200 };
        let share = |feature| FeatureRange { feature, low: 0, high: 4000 };
        let ranges = [allowance, share(Feature::ResponseShare), share(Feature::BatchShare)];
        let raw = |observer: &Observer| ranges.map(|range| observer.raw(&range, &Telemetry::UNKNOWN));
        assert_eq!(raw(&Observer::default()), [0, 1000, 500], "a reward without a limit allows nothing per token");
        let mut observer = Observer::with_response_limit(Duration::from_micros(1_500_000));
        assert_eq!(raw(&observer), [75, 1000, 500], "what is expected");
        let response = Duration::from_micros(3_000_000);
        let (prefill, decode) = (Duration::from_micros(200_000), Duration::from_secs(1));
        let answered =
            Measurement { requests: 2, generated_tokens: 60, prefill, decode, response, ..Measurement::default() };
        observer.remember(Action::default(), SETTING, answered);
        // 2 of 18 requests; the others are as expected.
        assert_eq!(raw(&observer), [50, 1000 + 1000 / 9, 500 + 300 / 9]);
        let late = Measurement { requests: 32, generated_tokens: 960, response: Duration::from_secs(6), ..answered };
        observer.remember(Action::default(), SETTING, late);
        assert_eq!(raw(&observer), [50, 1111 + 2889 * 32 / 50, 533 + 267 * 32 / 50], "32 of 50 requests");
        let forever = Duration::from_micros(u64::MAX);
        observer.remember(Action::default(), SETTING, Measurement { response: forever, decode: forever, ..late });
        // 32 of 82 requests, at the most that is counted.
        let after = |before: i64| before + ((1 << 24) - 1 - before) * 32 / 82;
        let near = |found: i32, before| (i64::from(found) - after(before)).abs() <= 256;
        let [_, response, batch] = raw(&observer);
        assert!(near(response, 2959) && near(batch, 703), "no overflow: {response} {batch}");
    }

    #[test]
    fn layouts_are_checked() {
        assert_eq!(check_layout(&[]), Err(LayoutError::Empty));
        assert_eq!(check_layout(&[TEMPERATURE, TEMPERATURE]), Err(LayoutError::Repeated(Feature::Temperature)));
        let flat = FeatureRange { high: 20_000, ..TEMPERATURE };
        assert_eq!(check_layout(&[flat]), Err(LayoutError::EmptyRange(Feature::Temperature)));
    }
}
