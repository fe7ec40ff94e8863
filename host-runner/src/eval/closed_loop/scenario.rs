//! What happens to the board, over 20 minutes.

use clap::ValueEnum;

/// Length of an episode on the board's clock, seconds.
pub const DURATION_S: f64 = 1200.0;
/// When the fan fails in the scenario of that name, seconds.
const FAN_FAILS_AT_S: f64 = 400.0;

/// A scenario by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// 25 °C, fan working, 4 requests/s.
    FanOn,
    /// 25 °C, fan dead from the start, 4 requests/s.
    FanOff,
    /// 35 °C, 4 requests/s, the fan fails after 400 s.
    FanFails,
    /// 25 °C, fan working, 1, 8, 3, 6 requests/s for 300 s each.
    LoadSteps,
    /// 40 °C, fan working, 4 requests/s.
    HotAmbient,
    /// 25 °C, fan working, 1 request/s and every minute 12 requests/s for 10 s.
    Bursts,
    /// 25 °C, fan working, 2 requests/s of 100 tokens each: 200 tokens/s.
    #[value(name = "load-200")]
    Load200,
    /// The same at 400 tokens/s.
    #[value(name = "load-400")]
    Load400,
    /// The same at 800 tokens/s.
    #[value(name = "load-800")]
    Load800,
}

/// The numbers behind a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Surroundings {
    /// Air around the board, °C.
    pub ambient_c: f64,
    /// When the fan fails, seconds; `None`: never.
    pub fan_fails_at_s: Option<f64>,
    /// Arrival rate: from each moment on, requests per second.
    pub load: Vec<(f64, f64)>,
    /// Tokens of an answer, shortest and longest.
    pub answer_tokens: (u32, u32),
    /// How much longer than the profile's the limit of the response is.
    pub patience: f64,
}

impl Scenario {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// It offers a fixed load of 100-token answers, as the published runs did.
    #[must_use]
    pub const fn is_fixed_load(self) -> bool {
        matches!(self, Self::Load200 | Self::Load400 | Self::Load800)
    }

    /// Its numbers.
    #[must_use]
    pub fn surroundings(self) -> Surroundings {
        let calm = Surroundings {
            ambient_c: 25.0,
            fan_fails_at_s: None,
            load: vec![(0.0, 4.0)],
            answer_tokens: (12, 28),
            patience: 1.0,
        };
        // 100 tokens take about five times as long as the 20 that the profile's limit is made for.
        let fixed_load = |per_second| Surroundings {
            load: vec![(0.0, per_second)],
            answer_tokens: (100, 100),
            patience: 5.0,
            ..calm.clone()
        };
        match self {
            Self::FanOn => calm,
            Self::FanOff => Surroundings { fan_fails_at_s: Some(0.0), ..calm },
            Self::FanFails => Surroundings { ambient_c: 35.0, fan_fails_at_s: Some(FAN_FAILS_AT_S), ..calm },
            Self::LoadSteps => {
                Surroundings { load: vec![(0.0, 1.0), (300.0, 8.0), (600.0, 3.0), (900.0, 6.0)], ..calm }
            }
            Self::HotAmbient => Surroundings { ambient_c: 40.0, ..calm },
            Self::Bursts => {
                let minute = |minute: u32| {
                    let start_s = 60.0 * f64::from(minute);
                    [(start_s, 1.0), (start_s + 50.0, 12.0)]
                };
                Surroundings { load: (0..20).flat_map(minute).collect(), ..calm }
            }
            Self::Load200 => fixed_load(2.0),
            Self::Load400 => fixed_load(4.0),
            Self::Load800 => fixed_load(8.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_begin_at_once_and_rise_in_time() {
        for scenario in Scenario::value_variants() {
            let Surroundings { load, .. } = scenario.surroundings();
            assert!(load[0].0.abs() < 1e-12 && load.is_sorted_by(|a, b| a.0 < b.0), "{}", scenario.name());
            assert!(load.iter().all(|(from_s, rate)| *from_s < DURATION_S && *rate > 0.0));
        }
    }
}
