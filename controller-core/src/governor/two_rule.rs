//! A thermostat of two actions, the simplest governor that reacts to heat. On the published
//! training log such a pair of rules beat the published policy (0.919 against 0.844).

use super::{Governor, Situation};
use crate::action::Action;
use crate::units::MilliCelsius;

/// One action while cool, another while hot, with a dead band between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoRule {
    cool: Action,
    hot: Action,
    hot_from: MilliCelsius,
    cool_below: MilliCelsius,
    is_hot: bool,
}

impl TwoRule {
    /// Switches to `hot` at `hot_from` and back to `cool` below `cool_below`. When `cool_below`
    /// lies above `hot_from` there is no dead band and both switch at `hot_from`.
    #[must_use]
    pub fn new(cool: Action, hot: Action, hot_from: MilliCelsius, cool_below: MilliCelsius) -> Self {
        Self { cool, hot, hot_from, cool_below: cool_below.min(hot_from), is_hot: false }
    }
}

impl Governor for TwoRule {
    fn decide(&mut self, situation: &Situation<'_>) -> Action {
        self.is_hot = match situation.telemetry.temperature.value() {
            None => true,
            Some(t) if t >= self.hot_from => true,
            Some(t) if t < self.cool_below => false,
            Some(_) => self.is_hot,
        };
        if self.is_hot { self.hot } else { self.cool }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::tests::small_space;
    use crate::observation::Observer;
    use crate::telemetry::{Reading, Telemetry};
    use crate::time::Instant;

    #[test]
    fn switches_with_a_dead_band_and_fears_the_unknown() {
        let actions = small_space();
        let (cool, hot) = (actions.fastest(), actions.safest());
        let mut governor = TwoRule::new(cool, hot, MilliCelsius::from_degrees(80), MilliCelsius::from_degrees(75));
        let observer = Observer::default();
        for (degrees, expected) in [(70, cool), (79, cool), (80, hot), (76, hot), (74, cool), (79, cool)] {
            let telemetry = Telemetry {
                temperature: Reading::at(MilliCelsius::from_degrees(degrees), Instant::ZERO),
                ..Telemetry::UNKNOWN
            };
            let situation = Situation { telemetry: &telemetry, observer: &observer, actions: &actions };
            assert_eq!(governor.decide(&situation), expected, "at {degrees} °C");
        }
        let blind = Situation { telemetry: &Telemetry::UNKNOWN, observer: &observer, actions: &actions };
        assert_eq!(governor.decide(&blind), hot);
    }
}
