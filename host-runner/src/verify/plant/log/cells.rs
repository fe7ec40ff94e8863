//! One line of a log: cells by their name, and what a board could have measured.

use super::{Format, Row, STEPS};
use firmware_sim::plant::Profile;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Column name to place; of a repeated name the first counts.
pub(super) struct Columns(BTreeMap<String, usize>);

impl Columns {
    pub(super) fn new(header: &csv::StringRecord) -> Self {
        let mut places = BTreeMap::new();
        for (place, name) in header.iter().enumerate() {
            places.entry(name.trim_start_matches('\u{feff}').to_owned()).or_insert(place);
        }
        Self(places)
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// The ones of these that are absent.
    pub(super) fn missing(&self, needed: &[&'static str]) -> Vec<&'static str> {
        needed.iter().copied().filter(|name| !self.0.contains_key(*name)).collect()
    }
}

/// One record under its header.
pub(super) struct Cells<'a> {
    pub(super) columns: &'a Columns,
    pub(super) record: &'a csv::StringRecord,
}

const NOT_A_NUMBER: &str = "a needed value is missing or not a finite number";
const OUT_OF_RANGE: &str = "a value lies outside the board profile or below zero";
const NOT_PHYSICAL: &str = "a temperature outside -40..150 C, an energy outside 0.001..1e6 J, a power outside \
                            0.001..1e4 W or a time outside 0.0001..1e4 s: no board logs it";
const TEMPERATURE_C: RangeInclusive<f64> = -40.0..=150.0;
const ENERGY_J: RangeInclusive<f64> = 1e-3..=1e6;
const POWER_W: RangeInclusive<f64> = 1e-3..=1e4;
const SECONDS: RangeInclusive<f64> = 1e-4..=1e4;

impl Cells<'_> {
    fn optional(&self, name: &str) -> Option<f64> {
        let cell = self.record.get(*self.columns.0.get(name)?)?;
        cell.parse().ok().filter(|value: &f64| value.is_finite())
    }

    fn positive(&self, name: &str) -> Result<f64, &'static str> {
        let value = self.optional(name).ok_or(NOT_A_NUMBER)?;
        if value > 0.0 { Ok(value) } else { Err(OUT_OF_RANGE) }
    }

    /// A measurement that a board could have made.
    fn measured(&self, name: &str, range: RangeInclusive<f64>) -> Result<f64, &'static str> {
        let value = self.optional(name).ok_or(NOT_A_NUMBER)?;
        if range.contains(&value) { Ok(value) } else { Err(NOT_PHYSICAL) }
    }

    /// The same where the log may lack it: `None` without the number, an error for an absurd one.
    fn if_measured(&self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, &'static str> {
        if self.optional(name).is_none() { Ok(None) } else { self.measured(name, range).map(Some) }
    }

    fn count(&self, name: &str, range: RangeInclusive<u32>) -> Result<u32, &'static str> {
        whole(self.optional(name).ok_or(NOT_A_NUMBER)?, range)
    }

    fn clock(&self, name: &str, profile: &Profile) -> Result<usize, &'static str> {
        let top = u32::try_from(profile.gpu_clock_khz.len()).unwrap_or(u32::MAX) - 1;
        Ok(self.count(name, 0..=top)? as usize)
    }

    /// The row of a log of this format, or why it cannot be used.
    pub(super) fn row(&self, format: Format, line: u64, profile: &Profile) -> Result<Row, &'static str> {
        match format {
            Format::Training | Format::Deploy => self.training_row(line, profile),
            Format::Grid => self.grid_row(line, profile),
            Format::EarlyExit => self.early_exit_row(line, profile),
        }
    }

    fn training_row(&self, line: u64, profile: &Profile) -> Result<Row, &'static str> {
        let batch = self.count("batch", 1..=1024)?;
        let latency_s = self.measured("end_to_end_latency", SECONDS)?;
        let tokens = self.positive("throughput_raw")? * latency_s;
        Ok(Row {
            line,
            prefill_clock: self.clock("prefill_freq", profile)?,
            decode_clock: self.clock("decode_freq", profile)?,
            batch,
            depth: profile.layers,
            prompt_tokens: prompt_tokens(tokens, batch)?,
            latency_s,
            prefill_s: self.if_measured("prefill_latency", SECONDS)?,
            decode_s: self.if_measured("decode_latency", SECONDS)?,
            energy_j: Some(self.measured("energy", ENERGY_J)?),
            decode_power_w: None,
            temperature_c: Some(self.measured("temperature", TEMPERATURE_C)?),
            gap_s: None,
        })
    }

    fn grid_row(&self, line: u64, profile: &Profile) -> Result<Row, &'static str> {
        let (prefill_s, decode_s) = (self.measured("prefill_time", SECONDS)?, self.measured("decode_time", SECONDS)?);
        let latency_s = prefill_s + decode_s;
        Ok(Row {
            line,
            prefill_clock: self.clock("prefill_freq_bin", profile)?,
            decode_clock: self.clock("decode_freq_bin", profile)?,
            batch: self.count("effective_batch_size", 1..=1024)?,
            depth: profile.layers,
            prompt_tokens: self.count("num_prompt_tokens", 1..=1 << 20)?,
            latency_s,
            prefill_s: Some(prefill_s),
            decode_s: Some(decode_s),
            energy_j: Some(self.measured("energy", ENERGY_J)?),
            decode_power_w: self.if_measured("decode_power_w", POWER_W)?,
            temperature_c: self.if_measured("temperature", TEMPERATURE_C)?,
            gap_s: self.if_measured("inference_time", SECONDS)?.map(|whole| (whole - latency_s).max(0.0)),
        })
    }

    fn early_exit_row(&self, line: u64, profile: &Profile) -> Result<Row, &'static str> {
        let batch = self.count("batch_size", 1..=1024)?;
        let latency_s = self.measured("latency", SECONDS)?;
        let decode_s = self.measured("decode_latency", SECONDS)?;
        Ok(Row {
            line,
            prefill_clock: self.clock("prefill_freq", profile)?,
            decode_clock: self.clock("decode_freq", profile)?,
            batch,
            depth: self.count("num_layers", 1..=profile.layers)?,
            prompt_tokens: prompt_tokens(latency_s / self.positive("per_token_latency")?, batch)?,
            latency_s,
            prefill_s: Some(latency_s - decode_s).filter(|s| SECONDS.contains(s)),
            decode_s: Some(decode_s),
            energy_j: None,
            decode_power_w: None,
            temperature_c: self.if_measured("temperature", TEMPERATURE_C)?,
            gap_s: None,
        })
    }
}

/// Prompt tokens of a batch, from all tokens of it.
fn prompt_tokens(all: f64, batch: u32) -> Result<u32, &'static str> {
    whole(all - f64::from(batch * STEPS), 1..=1 << 20)
}

fn whole(value: f64, range: RangeInclusive<u32>) -> Result<u32, &'static str> {
    let rounded = value.round();
    if (f64::from(*range.start())..=f64::from(*range.end())).contains(&rounded) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the range of a u32")]
        let count = rounded as u32;
        Ok(count)
    } else {
        Err(OUT_OF_RANGE)
    }
}
