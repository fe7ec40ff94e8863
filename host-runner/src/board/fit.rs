//! Brings a profile to the board that is really there: clocks that it has, limits below its own.
//!
//! A model string can lie, so nothing here goes by the board's name: the clocks are those of its table
//! within its power mode, the temperature limit lies below its lowest passive trip point.

use super::actuator::clock::Range;
use super::discover::thermal::Thermal;
use crate::env::profile::BoardProfile;
use controller_core::action::MAX_VALUES;
use controller_core::units::MilliCelsius;
use heapless::Vec;

/// How far the limit lies above the soft limit of discovery, which is 5 K below the lowest passive trip:
/// 4 K below the trip, as in the profile of AGX Orin.
const ABOVE_SOFT_MK: i32 = 1_000;

/// The profile for a board with these clocks (Hz, ascending), of which those within `allowed` may be used.
///
/// When the board has every clock of the profile, the knobs stay as they are, and a policy that was trained
/// for them fits. Otherwise the clocks become the board's own, at most as many as a knob can have, spread
/// evenly; the static setting to compare with is then gone.
#[must_use]
pub fn fit(mut profile: BoardProfile, table_hz: &[u64], allowed: Range, thermal: Option<&Thermal>) -> BoardProfile {
    let within = table_hz.iter().filter(|hz| (allowed.min_hz..=allowed.max_hz).contains(*hz));
    let khz: std::vec::Vec<u32> = within.filter_map(|hz| u32::try_from(hz / 1000).ok()).collect();
    let actions = &mut profile.actions;
    let has_all = actions.prefill_khz.iter().chain(&actions.decode_khz).all(|clock| khz.contains(clock));
    if !has_all && !khz.is_empty() {
        let clocks = spread(&khz);
        actions.prefill_khz.clone_from(&clocks);
        actions.decode_khz = clocks;
        profile.fallback = None;
    }
    if let Some(soft) = thermal.and_then(Thermal::soft_limit) {
        let limit = MilliCelsius(soft.0.saturating_add(ABOVE_SOFT_MK));
        profile.limits.temperature = profile.limits.temperature.min(limit);
    }
    profile
}

/// At most [`MAX_VALUES`] of the values, evenly spread, both ends among them.
fn spread(values: &[u32]) -> Vec<u32, MAX_VALUES> {
    let count = values.len().min(MAX_VALUES);
    let place = |number: usize| number * (values.len() - 1) / count.saturating_sub(1).max(1);
    (0..count).filter_map(|number| values.get(place(number)).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::discover::Found;
    use crate::board::tree::CapturedTree;
    use std::path::Path;

    fn profile() -> BoardProfile {
        BoardProfile::parse(include_str!("../../../models/boards/agx-orin-hf.toml"), Path::new("p.toml")).unwrap()
    }

    fn hz(khz: &[u32]) -> std::vec::Vec<u64> {
        khz.iter().map(|khz| u64::from(*khz) * 1000).collect()
    }

    const ALL: Range = Range { min_hz: 0, max_hz: u64::MAX };

    #[test]
    fn the_board_of_the_profile_keeps_its_knobs() {
        let before = profile();
        let table = hz(&before.actions.decode_khz);
        assert_eq!(fit(before.clone(), &table, ALL, None), before);
    }

    #[test]
    fn another_board_gets_its_own_clocks() {
        let table = hz(&[306_000, 408_000, 510_000, 612_000, 624_750]);
        let fitted = fit(profile(), &table, ALL, None);
        assert_eq!(fitted.actions.decode_khz, [306_000, 408_000, 510_000, 612_000, 624_750]);
        assert_eq!((fitted.actions.prefill_khz.len(), fitted.fallback), (5, None));
        let mode = Range { min_hz: 408_000_000, max_hz: 612_000_000 };
        assert_eq!(fit(profile(), &table, mode, None).actions.prefill_khz, [408_000, 510_000, 612_000]);
    }

    #[test]
    fn a_long_table_is_thinned_out_evenly() {
        let thor: std::vec::Vec<u32> = (0..170).map(|step| 54_000 + 9_000 * step).collect();
        let clocks = fit(profile(), &hz(&thor), ALL, None).actions.decode_khz;
        assert_eq!((clocks.len(), clocks.first(), clocks.last()), (MAX_VALUES, thor.first(), thor.last()));
        assert!(clocks.windows(2).all(|pair| (45_000..=54_000).contains(&(pair[1] - pair[0]))), "{clocks:?}");
    }

    #[test]
    fn a_cooler_board_lowers_the_limit_and_a_hotter_one_does_not_raise_it() {
        for (trip, limit) in [(90_500, 86_500), (99_000, 95_000), (120_000, 95_000)] {
            let zone = "/sys/class/thermal/thermal_zone0";
            let json = format!(
                r#"{{"files": {{"{zone}/type": "tj-thermal", "{zone}/trip_point_0_type": "passive", "{zone}/trip_point_0_temp": "{trip}"}}}}"#
            );
            let thermal = Found::discover(&CapturedTree::parse(&json).unwrap()).thermal.unwrap();
            let fitted = fit(profile(), &[], ALL, Some(&thermal));
            assert_eq!(fitted.limits.temperature, MilliCelsius(limit), "{trip}");
        }
    }
}
