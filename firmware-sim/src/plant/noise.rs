//! Seeded noise with a fixed sequence: the same seed gives the same numbers on every machine and in every release.

/// Generator: `SplitMix64` (Steele, Lea, Flood 2014), Gaussian by Box-Muller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generator {
    state: u64,
}

impl Generator {
    /// Every seed is a good one, 0 too.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1, 1 excluded, 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Gaussian, mean 0, standard deviation 1, at most 8.6 in size. Takes two uniforms a call and keeps none, so the
    /// state stays one word.
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(core::f64::consts::TAU * self.uniform())
    }

    /// Factor around 1 with standard deviation `sd`, kept to four deviations and above 0.01 so that a time stays a time.
    pub fn factor(&mut self, sd: f64) -> f64 {
        (1.0 + sd * self.normal().clamp(-4.0, 4.0)).max(0.01)
    }
}
