//! From telemetry to the policy's input: named features, each mapped linearly to a signed integer.

mod feature;
mod trend;
mod usual;

pub use feature::{
    FEATURES_VERSION, Feature, FeatureRange, Layout, LayoutError, MAX_FEATURES, ONE, Observation, check_layout,
};
pub use trend::SLOPE_TIME_CONSTANT;

use crate::action::{Action, Setting};
use crate::division::quotient;
use crate::telemetry::{Measurement, Reading, Telemetry};
use crate::time::Duration;
use feature::octaves;
use trend::Trend;
use usual::Usual;

/// Remembers what an observation needs from the past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observer {
    trend: Option<Trend>,
    previous: Option<Previous>,
    usual: Usual,
    response_limit: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Previous {
    action: Action,
    setting: Setting,
    measurement: Measurement,
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
            match &mut self.trend {
                Some(trend) => trend.follow(value, taken_at),
                None => self.trend = Some(Trend::new(value, taken_at)),
            }
        }
    }

    /// Remembers what the turn that just ended did and cost.
    pub fn remember(&mut self, action: Action, setting: Setting, measurement: Measurement) {
        // A hold answers nothing: the last real batch stays the best knowledge of a batch.
        if measurement.requests > 0 {
            self.previous = Some(Previous { action, setting, measurement });
            self.usual = self.usual.after(&measurement, self.response_limit);
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
        self.trend.map_or(0, |trend| trend.slope_mk_per_s())
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

    /// The observation of a layout.
    #[must_use]
    pub fn observe(&self, layout: &[FeatureRange], telemetry: &Telemetry) -> Observation {
        layout.iter().take(MAX_FEATURES).map(|range| range.normalize(self.raw(range, telemetry))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Instant;
    use crate::units::MilliCelsius;
    use heapless::Vec;

    const TEMPERATURE: FeatureRange = FeatureRange { feature: Feature::Temperature, low: 20_000, high: 100_000 };

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
}
