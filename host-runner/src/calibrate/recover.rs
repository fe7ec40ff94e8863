//! Are hidden parameters found again? A plant with random numbers is swept with noise and calibrated; its true numbers should
//! lie in the intervals as often as these say.

use super::data::SweepRow;
use super::{Part, fit_sweep, latency};
use crate::fit::FitError;
use crate::measure::percentile::median;
use crate::sweep::rig::World;
use crate::sweep::row::measure;
use crate::sweep::{Effort, Grid, Row, SimulatedRig};
use firmware_sim::plant::Profile;
use firmware_sim::plant::noise::Generator;

/// How far each hidden number is from the profile's, as a share, either way.
const HIDDEN: f64 = 0.3;
/// Fewest seeds of a hundred in which an interval must hold the truth.
pub const LIMIT_OF_100: usize = 90;

/// How often the truth of one parameter was in its interval.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Coverage {
    /// The parameter.
    pub name: &'static str,
    /// Seeds in which the data identified it.
    pub identified: usize,
    /// Seeds in which the interval held the truth.
    pub covered: usize,
    /// Median half-width of the interval, percent of the truth.
    pub half_width_pct: f64,
}

/// Over all seeds.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Recovery {
    /// Plants calibrated.
    pub seeds: usize,
    /// By parameter of decode time and decode power.
    pub parameters: Vec<Coverage>,
    /// Seeds in which the true decode time lay in the joint region of all its parameters.
    pub decode_time_region: usize,
}

impl Recovery {
    /// Every identified parameter in its interval often enough.
    #[must_use]
    pub fn pass(&self) -> bool {
        let often = |coverage: &Coverage| coverage.covered * 100 >= LIMIT_OF_100 * coverage.identified;
        self.parameters.iter().all(often) && self.decode_time_region * 100 >= LIMIT_OF_100 * self.seeds
    }
}

/// A profile with every number of latency and power off by up to `share`, drawn evenly.
#[must_use]
pub fn spoiled(profile: &Profile, generator: &mut Generator, share: f64) -> Profile {
    let mut profile = profile.clone();
    let mut off = |value: &mut f64| *value *= 1.0 + share * (2.0 * generator.uniform() - 1.0);
    let decode = &mut profile.decode;
    off(&mut decode.floor_s);
    off(&mut decode.floor_per_sequence_s);
    off(&mut decode.gpu_s_ghz);
    off(&mut decode.gpu_per_sequence_s_ghz);
    off(&mut decode.memory_s);
    off(&mut decode.sharpness);
    let prefill = &mut profile.prefill;
    off(&mut prefill.floor_s);
    off(&mut prefill.memory_s);
    off(&mut prefill.sharpness);
    for tile in &mut prefill.tiles {
        off(&mut tile.base_s_ghz);
        off(&mut tile.per_token_s_ghz);
    }
    let power = &mut profile.power.decode;
    off(&mut power.base_w);
    off(&mut power.clock_w_per_ghz);
    off(&mut power.clock_squared_w_per_ghz2);
    off(&mut power.launch_j);
    off(&mut power.token_j);
    off(&mut power.token_clock_j_per_ghz);
    let power = &mut profile.power.prefill;
    off(&mut power.base_w);
    off(&mut power.clock_w_per_ghz);
    off(&mut power.clock_squared_w_per_ghz2);
    profile
}

/// Sweeps and calibrates so many hidden plants; `each` is called after every one.
///
/// # Errors
/// A fit failed.
pub fn recover(profile: &Profile, seeds: u64, first_seed: u64, each: impl Fn()) -> Result<Recovery, FitError> {
    let mut tallies: Vec<(&'static str, usize, usize, Vec<f64>)> = Vec::new();
    let mut region = 0;
    for seed in first_seed..first_seed + seeds {
        let hidden = spoiled(profile, &mut Generator::new(seed ^ 0xB0A2D), HIDDEN);
        let rows = sweep_hidden(&hidden, seed);
        let (_, parts) = fit_sweep(&rows, profile)?;
        for part in parts.iter().filter(|part| part.name.starts_with("decode")) {
            for (estimate, (name, truth)) in part.fit.estimates.iter().zip(truths(&hidden, part.name)) {
                let place = tallies.iter().position(|tally| tally.0 == name).unwrap_or_else(|| {
                    tallies.push((name, 0, 0, Vec::new()));
                    tallies.len() - 1
                });
                let tally = &mut tallies[place];
                tally.1 += usize::from(estimate.identified);
                tally.2 += usize::from(estimate.covers(truth));
                tally.3.extend(estimate.half_width.map(|half| 100.0 * (half / truth).abs()));
            }
        }
        region += usize::from(decode_region_covers(&parts[0], &rows, &hidden));
        each();
    }
    let parameters = tallies
        .into_iter()
        .map(|(name, identified, covered, widths)| {
            let half_width_pct = median(widths).unwrap_or(0.0);
            Coverage { name, identified, covered, half_width_pct }
        })
        .collect();
    Ok(Recovery { seeds: usize::try_from(seeds).unwrap_or(0), parameters, decode_time_region: region })
}

fn decode_region_covers(part: &Part, rows: &[SweepRow], hidden: &Profile) -> bool {
    let at_truth: Vec<f64> =
        part.rows.iter().map(|&place| (latency::decode_s(hidden, &rows[place]) / rows[place].decode_s).ln()).collect();
    part.fit.region_covers(&at_truth)
}

fn truths(hidden: &Profile, part: &str) -> [(&'static str, f64); 6] {
    let (time, power) = (&hidden.decode, &hidden.power.decode);
    if part == "decode time" {
        [
            ("decode.floor_s", time.floor_s),
            ("decode.floor_per_sequence_s", time.floor_per_sequence_s),
            ("decode.gpu_s_ghz", time.gpu_s_ghz),
            ("decode.gpu_per_sequence_s_ghz", time.gpu_per_sequence_s_ghz),
            ("decode.memory_s", time.memory_s),
            ("decode.sharpness", time.sharpness),
        ]
    } else {
        [
            ("power.decode.base_w", power.base_w),
            ("power.decode.clock_w_per_ghz", power.clock_w_per_ghz),
            ("power.decode.clock_squared_w_per_ghz2", power.clock_squared_w_per_ghz2),
            ("power.decode.launch_j", power.launch_j),
            ("power.decode.token_j", power.token_j),
            ("power.decode.token_clock_j_per_ghz", power.token_clock_j_per_ghz),
        ]
    }
}

/// A sweep of all decode clocks and seven batches, prefill clock and decode clock alike.
fn sweep_hidden(hidden: &Profile, seed: u64) -> Vec<SweepRow> {
    let clocks = hidden.gpu_clock_khz.len();
    let world = World { ambient_c: 25.0, seed, interference: 0.0, gap_s: 0.325 };
    let mut rig = SimulatedRig::new(hidden, world);
    let effort = Effort { repeats: 1, warm_up: 1, longest_warm_up: 3, prompt_tokens: 17, answer_tokens: 100 };
    let depth = u16::try_from(hidden.layers).unwrap_or(u16::MAX);
    let grid = Grid {
        prefill: (0..clocks).collect(),
        decode: (0..clocks).collect(),
        batch: vec![1, 4, 8, 12, 16, 24, 32],
        depth: vec![depth],
        fan_pwm: vec![255],
    };
    let measured = grid.keys().filter_map(|key| match measure(&mut rig, &key, &effort, true) {
        Ok(row) => row,
        Err(never) => match never {},
    });
    measured.map(|row| from_row(&row)).collect()
}

fn from_row(row: &Row) -> SweepRow {
    let batch = u32::from(row.effective_batch_size);
    SweepRow {
        prefill_clock: row.prefill_freq_bin,
        decode_clock: row.decode_freq_bin,
        batch,
        depth: u32::from(row.depth),
        prompt_tokens: row.num_prompt_tokens,
        steps: row.num_decode_tokens / batch,
        prefill_s: row.prefill_time,
        decode_s: row.decode_time,
        decode_w: row.decode_power_w,
        prefill_w: Some(row.prefill_power_w),
        energy_j: row.energy,
        temperature_c: Some(row.temperature),
    }
}
