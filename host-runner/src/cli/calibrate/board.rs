//! `energyllm calibrate SWEEP...`: latency and power from sweeps, heat and throttling from logs.

use super::super::output::{Object, note, print};
use super::super::{Format, Outcome};
use super::Arguments;
use crate::atomic_file::AtomicFile;
use crate::calibrate::data::{self, SweepRow};
use crate::calibrate::halves::{Halves, LIMIT_PCT, predict_other_half};
use crate::calibrate::recover::{LIMIT_OF_100, Recovery, recover};
use crate::calibrate::thermal::{LIMIT_K, Source, ThermalFit, fit_thermal};
use crate::calibrate::trace::{Trace, is_trace};
use crate::calibrate::{Part, figure, fit_sweep};
use crate::env::profile::BoardProfile;
use crate::fit::Estimate;
use crate::input_file;
use crate::report::manifest::Manifest;
use crate::report::table::Table;
use crate::verify::plant::{self, ThermalLog};
use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Room of a trace, where none is given, C.
const USUAL_ROOM_C: f64 = 25.0;
const DEFAULT: &str = "models/boards/agx-orin-hf.toml";

/// What a calibration found.
struct Found {
    parts: Vec<Part>,
    halves: Option<Halves>,
    thermal: Option<ThermalFit>,
}

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let start_path = match &options.profile[..] {
        [] => PathBuf::from(DEFAULT),
        [one] => one.clone(),
        _ => anyhow::bail!("a sweep is of one board; give one --profile"),
    };
    let start = BoardProfile::read(&start_path)?;
    if let Some(seeds) = options.recover {
        anyhow::ensure!((1..=10_000).contains(&seeds), "--recover must lie between 1 and 10000, not {seeds}");
        return show_recovery(&start, seeds, options.seed, format);
    }
    anyhow::ensure!(
        !options.sweeps.is_empty() || !options.log.is_empty(),
        "give at least one sweep, one --log, --from-llama-bench or --recover"
    );
    let rows = read_sweeps(&options.sweeps, &start)?;
    let mut profile = start.clone();
    let mut found = Found { parts: Vec::new(), halves: None, thermal: None };
    if !rows.is_empty() {
        (profile.plant, found.parts) = fit_sweep(&rows, &start.plant).context("cannot fit the sweeps")?;
        found.halves = Some(predict_other_half(&rows, &start.plant, options.seed).context("cannot fit half a sweep")?);
    }
    let logs = read_logs(options, &profile)?;
    if !logs.is_empty() {
        let thermal = fit_thermal(&logs, &profile.plant).context("cannot fit the logs' temperatures")?;
        profile.plant = thermal.profile.clone();
        found.thermal = Some(thermal);
    }
    profile.plant.check().context("the fitted profile is no board; the data do not fix it, give more")?;
    write(options, &profile, &start_path, &found)?;
    let pass = found.halves.is_none_or(|halves| halves.pass()) && found.thermal.as_ref().is_none_or(ThermalFit::pass);
    match format {
        Format::Text => print(&describe(&found, options, pass))?,
        Format::Json => object(&found, options, pass).print()?,
    }
    Ok(if pass { Outcome::Passed } else { Outcome::Failed })
}

fn read_sweeps(paths: &[PathBuf], start: &BoardProfile) -> anyhow::Result<Vec<SweepRow>> {
    let mut seen = BTreeSet::new();
    for path in paths {
        let place = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        anyhow::ensure!(seen.insert(place), "{} is named twice; each row counts once", path.display());
    }
    let mut rows = Vec::new();
    for path in paths {
        let failed = || format!("cannot calibrate with {}", path.display());
        input_file::check(path, input_file::MAX_BYTES).with_context(failed)?;
        rows.extend(data::read(path, &start.plant).with_context(failed)?);
    }
    Ok(rows)
}

fn read_logs(options: &Arguments, profile: &BoardProfile) -> anyhow::Result<Vec<Source>> {
    let mut logs = Vec::new();
    for path in &options.log {
        let failed = || format!("cannot calibrate with {}", path.display());
        input_file::check(path, input_file::MAX_BYTES).with_context(failed)?;
        if is_trace(path) {
            let ambient_c = options.ambient.unwrap_or(USUAL_ROOM_C);
            logs.push(Source::Trace(Trace::read(path, &profile.plant, ambient_c).with_context(failed)?));
            continue;
        }
        let choices = plant::Options { ambient_c: options.ambient, ..plant::Options::default() };
        match ThermalLog::read(path, &profile.plant, &choices).with_context(failed)? {
            Some(log) => logs.push(Source::Log(log)),
            None => note(&format!(
                "calibrate: {} has no measured temperatures, it tells nothing about heat",
                path.display()
            )),
        }
    }
    Ok(logs)
}

fn write(options: &Arguments, profile: &BoardProfile, start: &Path, found: &Found) -> anyhow::Result<()> {
    let mut text = String::from(
        "# Written by `energyllm calibrate`. Numbers with a 95 % interval were fitted, the others are those of the start.\n",
    );
    for Estimate { name, value, half_width, .. } in estimates(found) {
        let _ = match half_width {
            Some(half) => writeln!(text, "#   {name} = {value:.6} +- {half:.6}"),
            None => writeln!(text, "#   {name} = {value:.6}, not identified by these data"),
        };
    }
    let _ = write!(text, "\n{}", toml::to_string(profile).context("cannot write the profile as TOML")?);
    AtomicFile::write(&options.out.join("profile.toml"), text.as_bytes())?;
    let mut inputs: Vec<&Path> = vec![start];
    inputs.extend(options.sweeps.iter().chain(&options.log).map(PathBuf::as_path));
    Manifest::of("calibrate", options.seed, &inputs)?.write(&options.out.join("calibrate.manifest.json"))?;
    let mut panels: Vec<figure::Residuals> = found
        .parts
        .iter()
        .map(|part| figure::Residuals {
            label: format!("{}, %", part.name),
            values: part.fit.residuals.iter().map(|residual| 100.0 * residual).collect(),
            two_sd: 200.0 * part.fit.residual_sd,
        })
        .collect();
    if let Some(thermal) = &found.thermal {
        let square_sum: f64 = thermal.residuals_k.iter().map(|residual| residual * residual).sum();
        panels.push(figure::Residuals {
            label: "temperature, K".to_owned(),
            two_sd: 2.0 * (square_sum / thermal.residuals_k.len().max(1) as f64).sqrt(),
            values: thermal.residuals_k.clone(),
        });
    }
    let conditions = "plant minus measurement, row by row; lines at zero and two standard deviations";
    Ok(figure::draw(&options.out.join("residuals.png"), "Residuals of the calibration", conditions, &panels)?)
}

fn estimates(found: &Found) -> impl Iterator<Item = &Estimate> {
    let parts = found.parts.iter().flat_map(|part| &part.fit.estimates);
    parts.chain(found.thermal.iter().flat_map(|thermal| &thermal.estimates))
}

fn describe(found: &Found, options: &Arguments, pass: bool) -> String {
    let mut table = Table::new(["parameter", "value", "95 % interval", ""]);
    for Estimate { name, value, half_width, identified } in estimates(found) {
        let interval = half_width.map_or("-".to_owned(), |half| format!("± {half:.5}"));
        let remark = if *identified { "" } else { "not identified" };
        table.row([(*name).to_owned(), format!("{value:.5}"), interval, remark.to_owned()]);
    }
    let mut text = format!("{table}\n");
    for Part { name, fit, rows, outliers } in &found.parts {
        let _ = writeln!(
            text,
            "{name}: {} rows, spread of the residuals {:.2} %, {outliers} outliers set aside",
            rows.len(),
            100.0 * fit.residual_sd
        );
    }
    if let Some(Halves { rows, decode_mape_pct, prefill_mape_pct, decode_power_mape_pct, energy_mape_pct }) =
        found.halves
    {
        let _ = writeln!(
            text,
            "one half predicts the other ({rows} rows): decode {decode_mape_pct:.2} %, energy {energy_mape_pct:.2} % \
             (limit {LIMIT_PCT} %), prefill {prefill_mape_pct:.2} %, decode power {decode_power_mape_pct:.2} %, mean absolute"
        );
    }
    if let Some(thermal) = &found.thermal {
        let mut stretches = Table::new(["log, rows", "fan pwm", "K/W", "RMSE before K", "RMSE K", "limit K"]);
        for s in &thermal.stretches {
            let limit = if s.fan_pwm == 0 { format!("{LIMIT_K}") } else { "-".to_owned() };
            let log = options.log.get(s.log).and_then(|path| path.file_name()).unwrap_or_default();
            let span = format!("{}, {}..{}", log.display(), s.first, s.first + s.rows - 1);
            stretches.row([
                span,
                s.fan_pwm.to_string(),
                format!("{:.2}", s.k_per_w),
                format!("{:.2}", s.rmse_before_k),
                format!("{:.2}", s.rmse_k),
                limit,
            ]);
        }
        let _ = writeln!(text, "\n{stretches}");
        let _ = match thermal.throttle_onset_c {
            Some((onset, half)) => writeln!(text, "throttling: the die stands at {onset:.2} ± {half:.2} °C"),
            None => writeln!(text, "throttling: not identified, no log has enough throttled rows; profile kept"),
        };
    }
    let out = options.out.display();
    let _ = writeln!(text, "\n{out}/profile.toml, {out}/residuals.png");
    let _ = write!(text, "{}", if pass { "pass" } else { "FAIL" });
    text
}

fn object(found: &Found, options: &Arguments, pass: bool) -> Object {
    let mut object = Object::new("calibrate", Some(options.seed), false);
    for part in &found.parts {
        let name = part.name.replace(' ', "_");
        object.figure(&format!("{name}_rows"), part.rows.len());
        object.figure(&format!("{name}_residual_sd_pct"), 100.0 * part.fit.residual_sd);
        object.figure(&format!("{name}_outliers"), part.outliers);
    }
    if let Some(halves) = found.halves {
        object.figure("other_half_rows", halves.rows);
        object.figure("other_half_decode_mape_pct", halves.decode_mape_pct);
        object.figure("other_half_prefill_mape_pct", halves.prefill_mape_pct);
        object.figure("other_half_decode_power_mape_pct", halves.decode_power_mape_pct);
        object.figure("other_half_energy_mape_pct", halves.energy_mape_pct);
    }
    if let Some(thermal) = &found.thermal {
        for (number, stretch) in (1..).zip(&thermal.stretches) {
            object.figure(&format!("stretch_{number}_fan_pwm"), stretch.fan_pwm);
            object.figure(&format!("stretch_{number}_rows"), stretch.rows);
            object.figure(&format!("stretch_{number}_k_per_w"), stretch.k_per_w);
            object.figure(&format!("stretch_{number}_rmse_k"), stretch.rmse_k);
        }
        if let Some((onset, half)) = thermal.throttle_onset_c {
            object.figure("throttle_onset_c", onset);
            object.figure("throttle_onset_half_width_k", half);
        }
    }
    object.rows = estimates(found).map(|estimate| json!(estimate)).collect();
    object.pass = pass;
    object.wall("out", options.out.display().to_string());
    object
}

fn show_recovery(start: &BoardProfile, seeds: u64, seed: u64, format: Format) -> anyhow::Result<Outcome> {
    let bar = ProgressBar::new(seeds);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} plants (eta {eta})")?);
    let recovery = recover(&start.plant, seeds, seed, || bar.inc(1)).context("cannot calibrate a hidden plant")?;
    bar.finish_and_clear();
    let pass = recovery.pass();
    match format {
        Format::Text => {
            let Recovery { seeds, parameters, decode_time_region } = &recovery;
            let mut table = Table::new(["hidden parameter", "identified", "in its interval", "interval, ± %"]);
            for coverage in parameters {
                table.row([
                    coverage.name.to_owned(),
                    format!("{} of {seeds}", coverage.identified),
                    format!("{} of {}", coverage.covered, coverage.identified),
                    format!("{:.2}", coverage.half_width_pct),
                ]);
            }
            let verdict = if pass { "pass" } else { "FAIL" };
            print(&format!(
                "{table}\nall six of the decode time in their joint 95 % region: {decode_time_region} of {seeds}\n\
                 limit {LIMIT_OF_100} of 100\n{verdict}"
            ))?;
        }
        Format::Json => {
            let mut object = Object::new("calibrate", Some(seed), true);
            object.figure("seeds", recovery.seeds);
            object.figure("decode_time_region", recovery.decode_time_region);
            object.rows = recovery.parameters.iter().map(serde_json::to_value).collect::<Result<Vec<Value>, _>>()?;
            object.pass = pass;
            object.print()?;
        }
    }
    Ok(if pass { Outcome::Passed } else { Outcome::Failed })
}
