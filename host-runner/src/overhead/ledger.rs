//! Time and energy by part.

use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What time and energy are spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Prefill and decode, on the board.
    Inference,
    /// The board idles between two batches.
    Gap,
    /// Reading the sensors.
    Telemetry,
    /// Telemetry to the input of the policy.
    Observation,
    /// Policy and supervisor: input to applied action.
    Decision,
    /// Teaching a policy before it sees the board.
    Pretraining,
    /// Drawing a group of actions.
    Sampling,
    /// Advantages, gradients and the step of the optimizer.
    Update,
    /// Telling the board its clocks and its fan.
    Actuation,
    /// The rest of the loop.
    Other,
}

impl Part {
    /// All, in the order of the columns.
    pub const ALL: [Self; 10] = [
        Self::Inference,
        Self::Gap,
        Self::Telemetry,
        Self::Observation,
        Self::Decision,
        Self::Pretraining,
        Self::Sampling,
        Self::Update,
        Self::Actuation,
        Self::Other,
    ];

    /// Name in columns.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Gap => "gap",
            Self::Telemetry => "telemetry",
            Self::Observation => "observation",
            Self::Decision => "decision",
            Self::Pretraining => "pretraining",
            Self::Sampling => "sampling",
            Self::Update => "update",
            Self::Actuation => "actuation",
            Self::Other => "other",
        }
    }

    /// Costs that would not be there without control.
    #[must_use]
    pub const fn is_control(self) -> bool {
        !matches!(self, Self::Inference | Self::Gap)
    }
}

/// Sums by part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    seconds: [f64; Part::ALL.len()],
    joules: [f64; Part::ALL.len()],
    /// Power of the board while our code runs, W.
    idle_w: f64,
}

impl Ledger {
    /// An empty ledger; our code costs `idle_w` for as long as it runs.
    #[must_use]
    pub fn new(idle_w: f64) -> Self {
        Self { idle_w, ..Self::default() }
    }

    /// Time and energy of the board.
    pub fn board(&mut self, part: Part, seconds: f64, joules: f64) {
        self.seconds[part as usize] += seconds;
        self.joules[part as usize] += joules;
    }

    /// Runs our code and takes its time.
    pub fn measure<T>(&mut self, part: Part, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        self.ours(part, started.elapsed().as_secs_f64());
        result
    }

    /// Takes time of our code that was measured already.
    pub fn ours(&mut self, part: Part, seconds: f64) {
        self.board(part, seconds, seconds * self.idle_w);
    }

    /// Gives the rest of a loop to `other`: its wall time without `simulating`, what the simulator took of it, and without
    /// the parts that were measured.
    pub fn close(&mut self, loop_s: f64, simulating_s: f64) {
        let measured: f64 = Part::ALL.iter().filter(|part| part.is_control()).map(|part| self.seconds(*part)).sum();
        self.ours(Part::Other, (loop_s - simulating_s - measured).max(0.0));
    }

    /// Our code cost this much while it ran, W: what was measured beside the batches of a real board. The gaps did, too.
    pub fn charge(&mut self, power_w: f64) {
        for part in Part::ALL.into_iter().filter(|part| *part != Part::Inference) {
            self.joules[part as usize] = self.seconds[part as usize] * power_w;
        }
    }

    /// The sums of two ledgers.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for part in 0..Part::ALL.len() {
            self.seconds[part] += other.seconds[part];
            self.joules[part] += other.joules[part];
        }
        self
    }

    /// Time of a part, s.
    #[must_use]
    pub fn seconds(&self, part: Part) -> f64 {
        self.seconds[part as usize]
    }

    /// Energy of a part, J.
    #[must_use]
    pub fn joules(&self, part: Part) -> f64 {
        self.joules[part as usize]
    }

    /// All time, s.
    #[must_use]
    pub fn total_s(&self) -> f64 {
        self.seconds.iter().sum()
    }

    /// All energy, J.
    #[must_use]
    pub fn total_j(&self) -> f64 {
        self.joules.iter().sum()
    }

    /// Time of control, s.
    #[must_use]
    pub fn control_s(&self) -> f64 {
        Part::ALL.iter().filter(|part| part.is_control()).map(|part| self.seconds(*part)).sum()
    }

    /// Energy of control, J.
    #[must_use]
    pub fn control_j(&self) -> f64 {
        Part::ALL.iter().filter(|part| part.is_control()).map(|part| self.joules(*part)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_no_part_is_other() {
        let mut ledger = Ledger::new(10.0);
        ledger.board(Part::Inference, 4.0, 120.0);
        ledger.ours(Part::Decision, 0.25);
        // Two seconds of wall time, half of them in the simulator, a quarter in the decision.
        ledger.close(2.0, 1.0);
        assert!((ledger.seconds(Part::Other) - 0.75).abs() < 1e-12);
        assert!((ledger.total_s() - 5.0).abs() < 1e-12);
        assert!((ledger.total_j() - 130.0).abs() < 1e-12);
        assert!((ledger.control_s() - 1.0).abs() < 1e-12 && (ledger.control_j() - 10.0).abs() < 1e-12);
    }

    #[test]
    fn what_is_charged_is_all_but_inference() {
        let mut ledger = Ledger::new(0.0);
        ledger.board(Part::Inference, 4.0, 120.0);
        ledger.board(Part::Gap, 1.0, 0.0);
        ledger.ours(Part::Actuation, 0.5);
        ledger.charge(8.0);
        assert!((ledger.total_j() - 132.0).abs() < 1e-12 && (ledger.control_j() - 4.0).abs() < 1e-12);
        let text = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
        assert!((ledger.clone().and(&ledger).total_j() - 264.0).abs() < 1e-12);
    }

    #[test]
    fn names_are_those_of_the_parts_in_order() {
        for (place, part) in Part::ALL.into_iter().enumerate() {
            assert_eq!(part as usize, place);
        }
    }
}
