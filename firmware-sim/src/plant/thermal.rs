//! Two thermal nodes: the die with its spreader, and the heat sink.
//!
//! ```text
//!   power --> [die C1] --R12--> [sink C2] --1/G--> ambient
//! ```
//!
//! On AGX Orin the die follows the sink within 3 s; the sink needs 300 s with the fan at full speed and 1,200 s without.

use super::profile::Thermal;

/// Temperatures of the two nodes, C.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nodes {
    /// Die: what the junction sensor sees.
    pub die_c: f64,
    /// Heat sink.
    pub sink_c: f64,
}

impl Nodes {
    /// Where the nodes come to rest under constant power: `ambient + power / conductance`, and the die above the sink.
    /// `sink_w_per_k` is the conductance from sink to ambient.
    #[must_use]
    pub fn at_rest(thermal: &Thermal, power_w: f64, sink_w_per_k: f64, ambient_c: f64) -> Self {
        let sink_c = ambient_c + power_w / sink_w_per_k;
        Self { die_c: sink_c + power_w * thermal.die_to_sink_k_per_w, sink_c }
    }

    /// The nodes `dt_s` later, power and cooling constant meanwhile. Two steps equal one of their sum up to rounding.
    #[must_use]
    pub fn after(self, thermal: &Thermal, power_w: f64, sink_w_per_k: f64, ambient_c: f64, dt_s: f64) -> Self {
        let flow = Modes::new(thermal, sink_w_per_k).flow(dt_s);
        self.through(&flow, Self::at_rest(thermal, power_w, sink_w_per_k, ambient_c))
    }

    /// The nodes after a time in which they flow towards where they `rest`.
    #[must_use]
    pub fn through(self, flow: &Flow, rest: Self) -> Self {
        let Flow { on_identity, on_matrix, matrix: [a, c, d] } = *flow;
        let (die_k, sink_k) = (self.die_c - rest.die_c, self.sink_c - rest.sink_c);
        Self {
            die_c: rest.die_c + on_identity * die_k + on_matrix * (a * die_k - a * sink_k),
            sink_c: rest.sink_c + on_identity * sink_k + on_matrix * (c * die_k + d * sink_k),
        }
    }
}

/// The two rates at which the nodes come to rest, whatever the power.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Modes {
    /// `a`, `c`, `d` of `d/dt (die, sink) = [[a, -a], [c, d]] (die, sink)`, temperatures as differences to rest, 1/s.
    matrix: [f64; 3],
    slow_per_s: f64,
    fast_per_s: f64,
    /// Half of their difference.
    spread_per_s: f64,
}

/// What a time does to the distances of the nodes from rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    on_identity: f64,
    on_matrix: f64,
    matrix: [f64; 3],
}

impl Modes {
    /// At a conductance from sink to ambient.
    #[must_use]
    pub fn new(thermal: &Thermal, sink_w_per_k: f64) -> Self {
        let between_w_per_k = 1.0 / thermal.die_to_sink_k_per_w;
        let a = -between_w_per_k / thermal.die_j_per_k;
        let c = between_w_per_k / thermal.sink_j_per_k;
        let d = -(between_w_per_k + sink_w_per_k) / thermal.sink_j_per_k;
        // Both eigenvalues are real and negative: the off-diagonal product -a c is positive.
        let (mean, half) = (f64::midpoint(a, d), (a - d) / 2.0);
        let spread = libm::sqrt(half * half - a * c);
        Self { matrix: [a, c, d], slow_per_s: mean + spread, fast_per_s: mean - spread, spread_per_s: spread }
    }

    /// A time of 0 or more: the exponential of the matrix, exact.
    #[must_use]
    pub fn flow(&self, dt_s: f64) -> Flow {
        let Self { matrix, slow_per_s: slow, fast_per_s: fast, spread_per_s: spread } = *self;
        let (slow_left, fast_left) = (libm::exp(slow * dt_s), libm::exp(fast * dt_s));
        // Sylvester's formula: exp(M t) = (e_slow (M - fast I) - e_fast (M - slow I)) / (slow - fast).
        let on_matrix = (slow_left - fast_left) / (2.0 * spread);
        let on_identity = (slow * fast_left - fast * slow_left) / (2.0 * spread);
        Flow { on_identity, on_matrix, matrix }
    }
}
