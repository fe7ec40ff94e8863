//! Power out of a counter of energy that wraps around, such as those of RAPL.

use std::time::Instant;

/// A counter of energy.
#[derive(Clone, Debug)]
pub struct EnergyCounter {
    /// The counter's highest value, µJ; the next one is 0.
    highest_uj: u64,
    last: Option<(u64, Instant)>,
}

impl EnergyCounter {
    /// A counter that counts from 0 to `highest_uj` (`max_energy_range_uj`) and starts again.
    #[must_use]
    pub const fn new(highest_uj: u64) -> Self {
        Self { highest_uj, last: None }
    }

    /// Takes the counter's value and gives the mean power since the one before, mW, rounded down.
    ///
    /// `None` for the first value, for two at one moment, and for one that the counter cannot have.
    /// A counter that went round more than once between two values cannot be told from one that did
    /// once: read it more often than it takes to go round (RAPL: some minutes at 200 W).
    pub fn update(&mut self, energy_uj: u64, at: Instant) -> Option<i64> {
        let (before_uj, before) = self.last.replace((energy_uj, at))?;
        let elapsed_us = u64::try_from(at.checked_duration_since(before)?.as_micros()).ok()?;
        let spent_uj = counted(before_uj, energy_uj, self.highest_uj)?;
        // µJ/µs is W.
        let milliwatts = u128::from(spent_uj).checked_mul(1000)?.checked_div(u128::from(elapsed_us))?;
        i64::try_from(milliwatts).ok()
    }
}

/// What a counter that goes from 0 to `highest` and starts again counted between two values. `None` for a value that it
/// cannot have.
#[must_use]
pub fn counted(before: u64, after: u64, highest: u64) -> Option<u64> {
    if before > highest || after > highest {
        return None;
    }
    if after >= before { Some(after - before) } else { (highest - before).checked_add(after)?.checked_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn the_first_value_has_no_power_and_nonsense_has_none() {
        let start = Instant::now();
        let mut counter = EnergyCounter::new(1000);
        assert_eq!(counter.update(10, start), None);
        assert_eq!(counter.update(20, start), None, "no time has passed");
        assert_eq!(counter.update(2000, start + Duration::from_micros(5)), None, "above the range");
    }

    proptest! {
        #[test]
        fn steps_add_up_over_wraps(highest in 1u64..1_000_000, steps in prop::collection::vec((any::<u64>(), 1u64..1_000_000), 1..20)) {
            let start = Instant::now();
            let mut counter = EnergyCounter::new(highest);
            let (mut value, mut time) = (0, start);
            counter.update(value, time);
            for (step, micros) in steps {
                let step = step % (highest + 1);
                value = (value + step) % (highest + 1);
                time += Duration::from_micros(micros);
                let expected = i64::try_from(u128::from(step) * 1000 / u128::from(micros)).unwrap();
                prop_assert_eq!(counter.update(value, time), Some(expected));
            }
        }
    }
}
