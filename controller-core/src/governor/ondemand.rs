//! Clock by load, as Linux does it for GPUs when nobody knows better.
//!
//! The rule is that of devfreq's `simple_ondemand` with its default thresholds
//! (`drivers/devfreq/governor_simpleondemand.c`, Linux 6.6): a device busier than 90 % gets its
//! highest clock, one between 85 and 90 % keeps its clock, and below that the clock goes where the
//! device would be 88 % busy. Clocks between two of the list are rounded up.
//!
//! *Load* of a batch server: the share of the previous turn that its batch took, the rest having
//! been idle; all of it when more requests wait than the largest batch holds. A batch starts as
//! soon as one request waits, so this load stays near one long before the board is saturated,
//! only the batches grow: the known weakness of such governors for inference.

use super::{Governor, Situation};
use crate::action::{Action, Knob};
use crate::units::KiloHertz;

/// From this load on, in percent, the highest clock.
const UP_THRESHOLD: u64 = 90;
/// So far below it, in percent, the clock stays.
const DOWN_DIFFERENTIAL: u64 = 5;

/// Clocks by load, largest batch, full depth; the fan follows the board's own curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ondemand;

/// What the clock should be, for a device that ran at `clock` and was busy for `busy` of `total`.
fn target(clock: KiloHertz, busy: u64, total: u64) -> Option<KiloHertz> {
    let (percent, whole) = (u128::from(busy) * 100, u128::from(total));
    if percent > whole * u128::from(UP_THRESHOLD) || total == 0 {
        return None;
    }
    if percent > whole * u128::from(UP_THRESHOLD - DOWN_DIFFERENTIAL) {
        return Some(clock);
    }
    let wanted = (percent * u128::from(clock.0)).checked_div(whole * u128::from(UP_THRESHOLD - DOWN_DIFFERENTIAL / 2));
    wanted.and_then(|khz| u32::try_from(khz).ok()).map(KiloHertz)
}

/// The lowest clock of a list that is not below the target; the highest when there is none.
fn at_least(clocks: &[u32], target: Option<KiloHertz>, last: u8) -> u8 {
    let found = target.and_then(|target| clocks.iter().position(|&khz| khz >= target.0));
    found.and_then(|index| u8::try_from(index).ok()).unwrap_or(last)
}

impl Governor for Ondemand {
    fn decide(&mut self, situation: &Situation<'_>) -> Action {
        let Situation { telemetry, observer, actions } = *situation;
        let fastest = actions.fastest();
        let Some((setting, measurement)) = observer.previous() else { return fastest };
        if actions.batch.last().is_some_and(|&most| telemetry.queue > most) {
            return fastest;
        }
        let busy = measurement.prefill.micros().saturating_add(measurement.decode.micros());
        let target = target(setting.decode, busy, busy.saturating_add(measurement.idle.micros()));
        Action {
            prefill: at_least(&actions.prefill_khz, target, actions.last(Knob::Prefill)),
            decode: at_least(&actions.decode_khz, target, actions.last(Knob::Decode)),
            ..fastest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::tests::small_space;
    use crate::observation::Observer;
    use crate::telemetry::{Measurement, Telemetry};
    use crate::time::Duration;

    fn decode_after(index: u8, busy_percent: u32, queue: u16) -> u8 {
        let actions = small_space();
        let setting = actions.setting(Action { decode: index, ..actions.fastest() }).unwrap();
        let mut observer = Observer::default();
        observer.remember(
            setting,
            Measurement {
                requests: 1,
                prefill: Duration::from_millis(busy_percent),
                decode: Duration::from_millis(9 * busy_percent),
                idle: Duration::from_millis(10 * (100 - busy_percent)),
                ..Measurement::default()
            },
        );
        let telemetry = Telemetry { queue, ..Telemetry::UNKNOWN };
        Ondemand.decide(&Situation { telemetry: &telemetry, observer: &observer, actions: &actions }).decode
    }

    #[test]
    fn thresholds_are_those_of_the_kernel() {
        assert_eq!([decode_after(0, 91, 1), decode_after(0, 100, 1)], [3, 3], "busy: the highest clock");
        assert_eq!([decode_after(0, 90, 1), decode_after(1, 86, 1)], [0, 1], "the band: the clock that ran");
        // 1300.5 MHz · 44 % / 88 % = 650 MHz, rounded up to 816; · 20 % / 88 % = 296, up to 306.
        assert_eq!([decode_after(3, 44, 1), decode_after(3, 20, 1), decode_after(3, 0, 1)], [2, 0, 0]);
        assert_eq!([decode_after(3, 20, 32), decode_after(3, 20, 33)], [0, 3], "more than a batch waits");
    }

    #[test]
    fn without_a_past_it_is_fast() {
        let (actions, observer) = (small_space(), Observer::default());
        let situation = Situation { telemetry: &Telemetry::UNKNOWN, observer: &observer, actions: &actions };
        assert_eq!(Ondemand.decide(&situation), actions.fastest());
    }
}
