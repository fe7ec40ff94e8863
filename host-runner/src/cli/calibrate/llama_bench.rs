//! `energyllm calibrate --from-llama-bench`.

use super::super::output::{Object, print};
use super::super::verify::plant::rooflines;
use super::super::{Format, Outcome};
use super::Arguments;
use crate::atomic_file::AtomicFile;
use crate::env::profile::BoardProfile;
use crate::fit::Estimate;
use crate::input_file;
use crate::measure::percentile::median;
use crate::report::manifest::Manifest;
use crate::report::table::Table;
use crate::roofline::board::PlantModel;
use crate::roofline::engine_fit::{EngineFit, HeldOut, fit_engine};
use crate::roofline::model::parameters_of;
use crate::roofline::{Roofline, points};
use anyhow::Context as _;
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub fn run(options: &Arguments, path: &Path, format: Format) -> anyhow::Result<Outcome> {
    input_file::check(path, input_file::MAX_BYTES)
        .with_context(|| format!("cannot read the points {}", path.display()))?;
    let failed = || format!("cannot use the points {}", path.display());
    let points = points::read(path).with_context(failed)?;
    let mut profiles = rooflines(&options.profile)?;
    // What is asked for is looked at before the fit, which takes a while.
    profiles.iter().try_for_each(|(.., roofline)| choose(options, &mut roofline.clone()))?;
    let boards: Vec<Roofline> = profiles.iter().map(|(.., roofline)| roofline.clone()).collect();
    let fitted = fit_engine(&points, &boards).with_context(failed)?;
    if !options.keep_engine {
        for ((.., roofline), new) in profiles.iter_mut().zip(&fitted.boards) {
            roofline.clone_from(new);
        }
    }
    let mut written = Vec::new();
    let mut inputs: Vec<&Path> = vec![path];
    for (source, profile, roofline) in &mut profiles {
        choose(options, roofline)?;
        let new = profile_of(profile, roofline)?;
        written.push(write(&new, source, &options.out)?);
        inputs.push(source);
    }
    Manifest::of("calibrate", 0, &inputs)?.write(&options.out.join("calibrate.manifest.json"))?;
    match format {
        Format::Text => print(&describe(&fitted, &written))?,
        Format::Json => {
            let mut object = Object::new("calibrate", None, false);
            object.figure("rows", points.len());
            object.figure("residual_sd", fitted.fit.residual_sd);
            for HeldOut { board, power_mode, errors } in &fitted.held_out {
                for (name, errors) in ["tokens_per_s", "power_w", "prefill_tokens_per_s"].iter().zip(errors) {
                    if let Some(median) = median_size(errors) {
                        object.figure(&format!("held_out_{board}_{power_mode}_{name}_median_pct"), median);
                    }
                }
            }
            object.rows = fitted.fit.estimates.iter().map(|estimate| json!(estimate)).collect();
            object.wall("out", options.out.display().to_string());
            object.print()?;
        }
    }
    Ok(Outcome::Passed)
}

/// The model and mode that were asked for.
fn choose(options: &Arguments, roofline: &mut Roofline) -> anyhow::Result<()> {
    if let Some(mode) = &options.mode {
        roofline.plant_mode = roofline.mode(mode)?.name.clone();
    }
    if let Some(name) = &options.model {
        let both = options.parameters.as_ref().zip(options.quantization.as_ref());
        let (parameters, quantization) = both.context("--model needs --parameters and --quantization")?;
        let given = points::parameters(parameters).map_err(|reason| anyhow::anyhow!("--parameters: {reason}"))?;
        let parameters = parameters_of(name, given);
        let context_tokens = roofline.plant_model.context_tokens;
        roofline.plant_model =
            PlantModel { name: name.clone(), parameters, quantization: quantization.clone(), context_tokens };
    }
    Ok(roofline.check()?)
}

/// The profile with the roofline's numbers; depths to choose follow the model's layers.
fn profile_of(profile: &BoardProfile, roofline: &Roofline) -> anyhow::Result<BoardProfile> {
    let mut new = profile.clone();
    new.plant = roofline.plant(&profile.plant).context("cannot derive the simulated board")?;
    new.roofline = Some(roofline.clone());
    let layers = u16::try_from(new.plant.layers).context("more layers than a board profile can name")?;
    if new.actions.depth.last() != Some(&layers) {
        // What fewer layers do to another model nobody has measured.
        new.actions.depth.clear();
        new.actions.depth.push(layers).map_err(|_| anyhow::anyhow!("no room for a depth"))?;
        if let Some(fallback) = &mut new.fallback {
            fallback.setting.depth = layers;
        }
    }
    new.plant.check()?;
    Ok(new)
}

fn write(profile: &BoardProfile, source: &Path, out: &Path) -> anyhow::Result<PathBuf> {
    let name = source.file_name().context("a profile without a file name")?;
    let path = out.join(name);
    let text = toml::to_string(profile).context("cannot write the profile as TOML")?;
    let note = "# Written by `energyllm calibrate --from-llama-bench`; the manifest beside it names the inputs.\n\n";
    AtomicFile::write(&path, format!("{note}{text}").as_bytes())?;
    Ok(path)
}

fn median_size(errors: &[f64]) -> Option<f64> {
    median(errors.iter().map(|error| 100.0 * error.abs()).collect())
}

fn describe(fitted: &EngineFit, written: &[PathBuf]) -> String {
    let mut table = Table::new(["parameter", "value", "95 % interval", ""]);
    for Estimate { name, value, half_width, identified } in &fitted.fit.estimates {
        let interval = half_width.map_or("-".to_owned(), |half| format!("± {half:.4}"));
        let remark = if *identified { "" } else { "not identified by these points" };
        table.row([(*name).to_owned(), format!("{value:.4}"), interval, remark.to_owned()]);
    }
    let mut text = format!("{table}\n");
    let mut held = Table::new(["held out", "rows", "tokens/s median err %", "W median err %", "prefill median err %"]);
    for HeldOut { board, power_mode, errors } in &fitted.held_out {
        let cell = |errors: &Vec<f64>| median_size(errors).map_or("-".to_owned(), |pct| format!("{pct:.1}"));
        held.row([
            format!("{board}, {power_mode}"),
            errors[0].len().to_string(),
            cell(&errors[0]),
            cell(&errors[1]),
            cell(&errors[2]),
        ]);
    }
    let _ = writeln!(text, "{held}");
    for path in written {
        let _ = writeln!(text, "profile: {}", path.display());
    }
    text.trim_end().to_owned()
}
