//! `energyllm sweep`.

mod real;

use super::board::place::{DEFAULT_PROFILE, board_or_profile, is_jetson};
use super::board::work::Work;
use super::interrupt;
use super::output::{Object, note, print};
use super::{Format, Outcome};
use crate::env::profile::BoardProfile;
use crate::input_file;
use crate::report::table::Table;
use crate::sweep::file::{Plan, RealPlan, SweepFile, manifest_path};
use crate::sweep::rig::World;
use crate::sweep::row::measure;
use crate::sweep::{Effort, Grid, Rig, SimulatedRig};
use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Measure every setting of a grid into a CSV.
///
/// For each setting: warm-up batches until two in a row agree in time, power and temperature, then repeats. A batch that is
/// slower and draws more than the others at the same clock was disturbed by another process: it is discarded and repeated.
/// Every row is on disk before the next one begins. Started again with the same options, after a crash or Ctrl-C, it goes
/// on where it was.
///
/// Knobs are lists of values and ranges: `0,4,8`, `0-10`, `1-32:4`. Clocks are indices into the board's table.
///
/// With `--board jetson` the batches are run by llama.cpp on this machine, with clocks and fan set for each setting (`--apply`);
/// they are given back, however the sweep ends.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  energyllm sweep --out out/sweep.csv                        all knobs of the profile
  energyllm sweep --decode 0-10 --batch 1,32 --fan 0,255     a sub-grid
  energyllm sweep --prefill 10 --repeats 5 --interference 0.05
  sudo energyllm sweep --board jetson --apply --model model.gguf --threads 8 --out jetson.csv")]
pub struct Arguments {
    /// Board: a profile to simulate (`sim` is the shipped one), or `jetson` for the real one.
    #[arg(long, value_name = "FILE|sim|jetson", default_value = DEFAULT_PROFILE, value_parser = board_or_profile)]
    board: PathBuf,
    /// Prefill clocks, indices. Default: all.
    #[arg(long, value_name = "LIST")]
    prefill: Option<String>,
    /// Decode clocks, indices. Default: all.
    #[arg(long, value_name = "LIST")]
    decode: Option<String>,
    /// Batch sizes. Default: those of the profile.
    #[arg(long, value_name = "LIST")]
    batch: Option<String>,
    /// Layers. Default: all layers of the model.
    #[arg(long, value_name = "LIST")]
    depth: Option<String>,
    /// Fan duties, 0 to 255. Default: 255.
    #[arg(long, value_name = "LIST")]
    fan: Option<String>,
    /// Batches that count for a row.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Fewest batches before them.
    #[arg(long, default_value_t = 2)]
    warm_up: usize,
    /// Most batches before them.
    #[arg(long, default_value_t = 8)]
    longest_warm_up: usize,
    /// Tokens of a prompt.
    #[arg(long, default_value_t = 17)]
    prompt_tokens: u32,
    /// Tokens of an answer.
    #[arg(long, default_value_t = 100)]
    answer_tokens: u32,
    /// Time between two batches, s.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.325)]
    gap: f64,
    /// Air around the simulated board, °C. Default: 25.
    #[arg(long, value_name = "CELSIUS", allow_negative_numbers = true)]
    ambient: Option<f64>,
    /// Probability that another process disturbs a batch of the simulated board. Default: 0.
    #[arg(long, value_name = "PROBABILITY", allow_negative_numbers = true)]
    interference: Option<f64>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The CSV; its manifest lies beside it.
    #[arg(long, value_name = "FILE", default_value = "out/sweep.csv")]
    out: PathBuf,
    /// CPU threads of llama.cpp, on a real board. They spin: never more than free cores.
    #[arg(long, default_value_t = 1)]
    threads: u32,
    #[command(flatten)]
    real: Work,
}

/// Air around the simulated board, °C.
const USUAL_AIR_C: f64 = 25.0;

/// How a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Complete,
    Interrupted,
    BoardOff,
}

impl Ending {
    fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Interrupted => "interrupted",
            Self::BoardOff => "board_off",
        }
    }
}

pub fn run(options: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    check(options)?;
    if is_jetson(&options.board) {
        return real::run(options, format);
    }
    options.real.check_simulated()?;
    let profile = BoardProfile::read(&options.board)?;
    let plan = plan(options, &Knobs::of_profile(&profile), &options.board, profile.plant.name.as_ref(), None)?;
    let world = World {
        ambient_c: options.ambient.unwrap_or(USUAL_AIR_C),
        seed: plan.seed,
        interference: options.interference.unwrap_or(0.0),
        gap_s: plan.gap_s,
    };
    interrupt::watch()?;
    sweep(options, &plan, &mut SimulatedRig::new(&profile.plant, world), format)
}

/// Measures what is missing in the file, and says what came of it.
fn sweep<R: Rig>(options: &Arguments, plan: &Plan, rig: &mut R, format: Format) -> anyhow::Result<Outcome> {
    if let Some(folder) = options.out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let mut file = SweepFile::open(&options.out, plan)?;
    let before = file.done().len();
    if before > 0 || file.was_torn() {
        let torn = if file.was_torn() { ", a torn last line was removed" } else { "" };
        note(&format!("sweep: going on behind {before} of {} rows{torn}", plan.grid.len()));
    }
    let started = Instant::now();
    let (ending, sums) = measure_all(rig, &mut file, plan)?;
    report(options, plan, &file, before, ending, &sums, started, format)
}

/// What the new rows add up to.
#[derive(Default)]
struct Sums {
    discarded: usize,
    unsettled: usize,
    disturbed: usize,
    throttled: usize,
    worst_latency_spread: f64,
}

fn measure_all<R: Rig>(rig: &mut R, file: &mut SweepFile, plan: &Plan) -> anyhow::Result<(Ending, Sums)> {
    use crate::sweep::row::Flag;
    let bar = ProgressBar::new(plan.grid.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} rows, {msg} (eta {eta})")?);
    bar.inc(file.done().len() as u64);
    bar.reset_eta();
    let mut sums = Sums::default();
    for key in plan.grid.keys() {
        if file.done().contains(&key) {
            continue;
        }
        if interrupt::is_wanted() {
            return Ok((Ending::Interrupted, sums));
        }
        bar.set_message(key.to_string());
        let measured = measure(rig, &key, &plan.effort, plan.simulated);
        // On a real board the batch was cut short and the clocks given back: that is no row.
        if !plan.simulated && interrupt::is_wanted() {
            bar.finish_and_clear();
            return Ok((Ending::Interrupted, sums));
        }
        let measured = measured.with_context(|| format!("the setting {key} failed"))?;
        let Some(row) = measured else {
            bar.finish_and_clear();
            note(&format!("sweep: the board switched itself off at {key}; let it cool, or sweep with its fan"));
            return Ok((Ending::BoardOff, sums));
        };
        file.append(&row)?;
        sums.discarded += row.discarded;
        sums.unsettled += usize::from(row.settled == Flag::False);
        sums.disturbed += usize::from(row.disturbed == Flag::True);
        sums.throttled += usize::from(row.as_set == Flag::False);
        sums.worst_latency_spread = sums.worst_latency_spread.max(row.latency_sd / row.latency);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok((Ending::Complete, sums))
}

fn check(options: &Arguments) -> anyhow::Result<()> {
    let within = |name: &str, value: f64, low: f64, high: f64| {
        anyhow::ensure!((low..=high).contains(&value), "{name} must lie between {low} and {high}, not {value}");
        Ok(())
    };
    within("--repeats", options.repeats as f64, 1.0, 1000.0)?;
    within("--longest-warm-up", options.longest_warm_up as f64, 0.0, 10_000.0)?;
    within("--warm-up", options.warm_up as f64, 0.0, options.longest_warm_up as f64)?;
    within("--prompt-tokens", f64::from(options.prompt_tokens), 1.0, 1e6)?;
    within("--answer-tokens", f64::from(options.answer_tokens), 1.0, 1e6)?;
    within("--gap", options.gap, 0.0, 600.0)?;
    within("--ambient", options.ambient.unwrap_or(USUAL_AIR_C), -40.0, 70.0)?;
    within("--interference", options.interference.unwrap_or(0.0), 0.0, 0.5)
}

/// What a board and its model offer, and what of it is swept when nothing else is said.
struct Knobs {
    /// Clocks in the board's table.
    clocks: usize,
    /// Clocks to sweep.
    usual_clocks: Vec<usize>,
    usual_batches: Vec<usize>,
    layers: u32,
}

impl Knobs {
    fn of_profile(profile: &BoardProfile) -> Self {
        let clocks = profile.plant.gpu_clock_khz.len();
        Self {
            clocks,
            usual_clocks: (0..clocks).collect(),
            usual_batches: batches(profile),
            layers: profile.plant.layers,
        }
    }
}

fn batches(profile: &BoardProfile) -> Vec<usize> {
    profile.actions.batch.iter().map(|&batch| usize::from(batch)).collect()
}

fn plan(
    options: &Arguments,
    knobs: &Knobs,
    profile: &Path,
    board: &str,
    real: Option<RealPlan>,
) -> anyhow::Result<Plan> {
    let full_depth = u16::try_from(knobs.layers).context("more layers than a sweep can name")?;
    let list = |name: &str, text: &Option<String>, default: Vec<usize>| match text {
        Some(text) => values(text).map_err(|reason| anyhow::anyhow!("{name}: {reason}")),
        None => Ok(default),
    };
    let narrow = |name: &str, list: Vec<usize>| -> anyhow::Result<Vec<u16>> {
        list.into_iter()
            .map(|value| u16::try_from(value).map_err(|_| anyhow::anyhow!("{name}: {value} is too large")))
            .collect()
    };
    let fan = list("--fan", &options.fan, vec![255])?;
    let grid = Grid {
        prefill: list("--prefill", &options.prefill, knobs.usual_clocks.clone())?,
        decode: list("--decode", &options.decode, knobs.usual_clocks.clone())?,
        batch: narrow("--batch", list("--batch", &options.batch, knobs.usual_batches.clone())?)?,
        depth: narrow("--depth", list("--depth", &options.depth, vec![usize::from(full_depth)])?)?,
        fan_pwm: fan
            .into_iter()
            .map(|value| u8::try_from(value).map_err(|_| anyhow::anyhow!("--fan: a duty is 0 to 255, not {value}")))
            .collect::<Result<_, _>>()?,
    };
    grid.check(knobs.clocks, knobs.layers)?;
    anyhow::ensure!(grid.len() <= 1_000_000, "the grid has {} settings; sweep fewer", grid.len());
    let simulated = real.is_none();
    Ok(Plan {
        command: "sweep".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seed: options.seed,
        simulated,
        board: board.to_owned(),
        board_sha256: format!("{:x}", Sha256::digest(input_file::read(profile)?)),
        grid,
        effort: Effort {
            repeats: options.repeats,
            warm_up: options.warm_up,
            longest_warm_up: options.longest_warm_up,
            prompt_tokens: options.prompt_tokens,
            answer_tokens: options.answer_tokens,
        },
        ambient_c: simulated.then_some(options.ambient.unwrap_or(USUAL_AIR_C)),
        interference: simulated.then_some(options.interference.unwrap_or(0.0)),
        gap_s: options.gap,
        real,
    })
}

/// `0,4,8`, `0-10`, `1-32:4`: values and ranges, both ends included, with a step.
fn values(text: &str) -> Result<Vec<usize>, String> {
    let wrong = |part: &str| format!("`{part}` is neither a number nor a range like 0-10 or 1-32:4");
    let number = |text: &str, part: &str| text.trim().parse::<usize>().map_err(|_| wrong(part));
    let mut list = Vec::new();
    for part in text.split(',') {
        let (range, step) = part.split_once(':').map_or((part, "1"), |(range, step)| (range, step));
        match range.split_once('-') {
            Some((low, high)) => {
                let (low, high, step) = (number(low, part)?, number(high, part)?, number(step, part)?);
                if step == 0 || low > high || (high - low) / step > 100_000 {
                    return Err(wrong(part));
                }
                list.extend((low..=high).step_by(step));
            }
            None if part.contains(':') => return Err(wrong(part)),
            None => list.push(number(range, part)?),
        }
    }
    Ok(list)
}

#[expect(clippy::too_many_arguments, reason = "everything that a report is made of, used once")]
fn report(
    options: &Arguments,
    plan: &Plan,
    file: &SweepFile,
    before: usize,
    ending: Ending,
    sums: &Sums,
    started: Instant,
    format: Format,
) -> anyhow::Result<Outcome> {
    let rows = file.done().len();
    match format {
        Format::Text => {
            let corner = if plan.simulated { "simulated board" } else { "this board, measured" };
            let mut table = Table::new([corner, plan.board.as_str()]);
            for (name, value) in [
                ("ended", ending.name().to_owned()),
                ("rows in the file", format!("{rows} of {}", plan.grid.len())),
                ("of them measured now", (rows - before).to_string()),
                ("batches discarded", sums.discarded.to_string()),
                ("rows that did not settle", sums.unsettled.to_string()),
                ("rows that stayed disturbed", sums.disturbed.to_string()),
                ("rows that heat slowed down", sums.throttled.to_string()),
                ("largest spread of the latency, %", format!("{:.2}", 100.0 * sums.worst_latency_spread)),
            ] {
                table.row([name.to_owned(), value]);
            }
            let (csv, manifest) = (options.out.display(), manifest_path(&options.out));
            print(&format!("{table}\n{csv}\n{}", manifest.display()))?;
        }
        Format::Json => {
            let mut object = Object::new("sweep", Some(plan.seed), plan.simulated);
            object.figure("rows", rows);
            object.figure("settings", plan.grid.len());
            object.figure("complete", ending == Ending::Complete);
            object.pass = ending != Ending::BoardOff;
            object.wall("ending", ending.name());
            object.wall("rows_before", before);
            object.wall("discarded", sums.discarded);
            object.wall("unsettled", sums.unsettled);
            object.wall("disturbed", sums.disturbed);
            object.wall("throttled", sums.throttled);
            object.wall("largest_latency_spread_pct", 100.0 * sums.worst_latency_spread);
            object.wall("seconds", started.elapsed().as_secs_f64());
            object.wall("out", options.out.display().to_string());
            object.print()?;
        }
    }
    if ending == Ending::Interrupted {
        note("sweep: interrupted; the same command goes on from here");
    }
    Ok(Outcome::of(ending != Ending::BoardOff, ending == Ending::Interrupted))
}

#[cfg(test)]
mod tests {
    use super::values;

    #[test]
    fn lists_and_ranges() {
        assert_eq!(values("0,4,8").unwrap(), [0, 4, 8]);
        assert_eq!(values("0-3").unwrap(), [0, 1, 2, 3]);
        assert_eq!(values("1-32:8,32").unwrap(), [1, 9, 17, 25, 32]);
        for wrong in ["", "a", "3-1", "0-9:0", "4:2", "-1", "1-2-3", "0-9999999999"] {
            assert!(values(wrong).is_err(), "{wrong}");
        }
    }
}
