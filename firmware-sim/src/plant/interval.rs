//! What one stretch of simulated time cost.

/// Sums and extremes over one call of the plant, or over several [joined](Self::then).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Length, s.
    pub duration_s: f64,
    /// Energy of the rails, J. The fan is not in it.
    pub energy_j: f64,
    /// Energy of the fan, J.
    pub fan_energy_j: f64,
    /// Time mean of the true die temperature, C.
    pub mean_temperature_c: f64,
    /// Highest true die temperature, C.
    pub max_temperature_c: f64,
    /// True die temperature at the end, C.
    pub end_temperature_c: f64,
    /// Time during which heat held the clock below the requested one, s.
    pub throttled_s: f64,
    /// Time with the die above [`Conditions::limit_c`](super::Conditions::limit_c), s.
    pub above_limit_s: f64,
    /// False when the board switched itself off before the work was done.
    pub completed: bool,
}

impl Interval {
    /// An interval of no length at a die temperature.
    #[must_use]
    pub fn empty(die_c: f64) -> Self {
        Self {
            duration_s: 0.0,
            energy_j: 0.0,
            fan_energy_j: 0.0,
            mean_temperature_c: die_c,
            max_temperature_c: die_c,
            end_temperature_c: die_c,
            throttled_s: 0.0,
            above_limit_s: 0.0,
            completed: true,
        }
    }

    /// Mean power of the rails, W: energy by time, 0 for an interval of no length.
    #[must_use]
    pub fn mean_power_w(&self) -> f64 {
        if self.duration_s > 0.0 { self.energy_j / self.duration_s } else { 0.0 }
    }

    /// This interval and the one that followed it, as one.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        let duration_s = self.duration_s + next.duration_s;
        let heat = self.mean_temperature_c * self.duration_s + next.mean_temperature_c * next.duration_s;
        Self {
            duration_s,
            energy_j: self.energy_j + next.energy_j,
            fan_energy_j: self.fan_energy_j + next.fan_energy_j,
            mean_temperature_c: if duration_s > 0.0 { heat / duration_s } else { next.mean_temperature_c },
            max_temperature_c: self.max_temperature_c.max(next.max_temperature_c),
            end_temperature_c: next.end_temperature_c,
            throttled_s: self.throttled_s + next.throttled_s,
            above_limit_s: self.above_limit_s + next.above_limit_s,
            completed: self.completed && next.completed,
        }
    }
}
