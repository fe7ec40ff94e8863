//! What a stretch of work came to: energy, answers, heat, and the service reward of it all.

use controller_core::action::{Reason, Setting};
use controller_core::reward::service::Service;
use controller_core::supervisor::Limits;
use controller_core::telemetry::Measurement;
use controller_core::time::Duration;

/// Sums over turns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    energy_uj: u64,
    tokens: u64,
    time_s: f64,
    /// Requests answered or still waiting at the end.
    requests: u64,
    late: u64,
    lateness: f64,
    heat: f64,
    quality: f64,
    /// Turns.
    pub decisions: u64,
    /// Decisions that the supervisor changed.
    pub overruled: u64,
    /// Temperature samples above the limit.
    pub samples_above_limit: u64,
    /// Highest true temperature of the die, °C.
    pub max_temperature_c: f64,
}

/// The parameters that an account is settled by.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The reward.
    pub reward: Service,
    /// A response above this is a miss, seconds.
    pub deadline_s: f64,
    /// Limit of the sampled temperature, m°C.
    pub limit_mc: i32,
}

/// A response is a miss at this many times the limit from which it costs something. With the engine of the shipped
/// profile a request that arrives during a batch waits for two batches, so the limit itself cannot be kept by anybody.
const DEADLINE: f64 = 2.0;

impl Terms {
    /// The terms of a service whose users wait `patience` times as long as the reward's response limit.
    #[must_use]
    pub fn patient(reward: &Service, patience: f64, limits: Limits) -> Self {
        let costless_s = reward.response_limit.micros() as f64 / 1e6 * patience;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some seconds")]
        let response_limit = Duration::from_micros((costless_s * 1e6) as u64);
        Self {
            reward: Service { response_limit, ..reward.clone() },
            deadline_s: DEADLINE * costless_s,
            limit_mc: limits.temperature.0,
        }
    }

    /// A response above this costs something, seconds.
    #[must_use]
    pub fn limit_s(&self) -> f64 {
        self.reward.response_limit.micros() as f64 / 1e6
    }
}

fn thousandths(value: u16) -> f64 {
    f64::from(value) / 1000.0
}

impl Account {
    /// Takes in a response, or for a request that still waits, its wait so far.
    pub fn response(&mut self, terms: &Terms, response_s: f64) {
        self.requests += 1;
        self.late += u64::from(response_s > terms.deadline_s);
        let over = (response_s / terms.limit_s() - 1.0).clamp(0.0, 4.0);
        self.lateness += thousandths(terms.reward.response_weight) * over;
    }

    /// Takes in a turn, without its responses.
    pub fn turn(
        &mut self,
        terms: &Terms,
        setting: &Setting,
        measurement: &Measurement,
        reason: Reason,
        sampled_mc: Option<i32>,
    ) {
        let reward = &terms.reward;
        let span_s =
            (measurement.idle.micros() + measurement.prefill.micros() + measurement.decode.micros()) as f64 / 1e6;
        self.energy_uj += measurement.energy.0;
        self.tokens += u64::from(measurement.generated_tokens);
        self.time_s += span_s;
        self.decisions += 1;
        self.overruled += u64::from(reason != Reason::AsRequested);
        self.samples_above_limit += u64::from(sampled_mc.is_some_and(|sampled| sampled > terms.limit_mc));
        if let Some(peak) = measurement.peak_temperature {
            let (soft, hard) = (f64::from(reward.soft_temperature.0), f64::from(reward.hard_temperature.0));
            let excess = ((f64::from(peak.0) - soft) / (hard - soft)).clamp(0.0, 2.0);
            self.heat += thousandths(reward.temperature_weight) * excess * excess * span_s;
            self.max_temperature_c = self.max_temperature_c.max(f64::from(peak.0) / 1000.0);
        }
        let floor = f64::from(reward.quality_floor);
        let kept = f64::from(reward.quality_of(setting.depth).unwrap_or(0));
        let missing = (floor - kept).max(0.0) / floor;
        self.quality += thousandths(reward.quality_weight) * missing * f64::from(measurement.requests);
    }

    /// Energy of rails and fan per generated token, J; infinite when nothing was generated.
    #[must_use]
    pub fn energy_per_token_j(&self) -> f64 {
        self.energy_uj as f64 / 1e6 / self.tokens as f64
    }

    /// Requests answered or still waiting at the end.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// Share of requests that missed the deadline.
    #[must_use]
    pub fn miss_share(&self) -> f64 {
        self.late as f64 / self.requests.max(1) as f64
    }

    /// Share of the decisions that the supervisor changed.
    #[must_use]
    pub fn overruled_share(&self) -> f64 {
        self.overruled as f64 / self.decisions.max(1) as f64
    }

    /// Generated tokens per second.
    #[must_use]
    pub fn tokens_per_s(&self) -> f64 {
        self.tokens as f64 / self.time_s.max(1e-9)
    }

    /// The service reward of the whole stretch: efficiency of all energy and tokens, lateness in the mean over
    /// requests, heat in the mean over time, quality in the mean over requests.
    #[must_use]
    pub fn reward(&self, terms: &Terms) -> f64 {
        let work = f64::from(terms.reward.reference_uj_per_token) * self.tokens as f64;
        let efficiency = if work > 0.0 { work / (work + self.energy_uj as f64) } else { 0.0 };
        let per_request = (self.lateness + self.quality) / self.requests.max(1) as f64;
        efficiency - per_request - self.heat / self.time_s.max(1e-9)
    }
}
