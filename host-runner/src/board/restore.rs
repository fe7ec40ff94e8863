//! Gives a board back as it was found.
//!
//! Every knob is tried, whatever happened to the one before: also when its driver has not answered. What was read is written back byte for
//! byte. Two exceptions, both towards the safe side: a GPU range that was read while the board
//! throttled ([`snapshot`](super::snapshot)), and a fan that stood still: it is left still only when
//! the vendor's service takes care of it, or when the board is cold.

use super::actuator::clock::near;
use super::attribute::{integer, text};
use super::baseline::{Baseline, BaselineError, FanDrive, GpuRange, Knob};
use super::discover::Found;
use super::discover::thermal::{Kind, Thermal};
use super::gate::is_passing;
use super::kept_files::refuse_others;
use super::moved;
use super::power_mode::GpuLimits;
use super::services::{FAN_SERVICE, Services};
use super::tree::{FileTree, PatientTree, TreeError};
use controller_core::units::MilliCelsius;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A fan may stand still below this. The vendor's own tables let it, below 35 to 50 °C.
const COLD: MilliCelsius = MilliCelsius::from_degrees(45);

/// Longest wait for one file. Drivers answer within 0.1 s (docs/jetson.md); one that hangs must not keep the others from their
/// place.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// How often a write is tried that fails for a passing reason, and the pause between two tries.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// What came of giving a board back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Files that were written.
    pub written: Vec<PathBuf>,
    /// What could not be given back, each a sentence.
    pub failed: Vec<String>,
    /// What the user should know, each a sentence.
    pub notes: Vec<String>,
}

impl Restored {
    /// The board is as it was.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.failed.is_empty()
    }
}

/// Gives back what is kept in a state folder and forgets it; `None` when nothing is kept. The caller
/// holds the [`Lock`](super::lock::Lock). What fails stays kept, for another try.
pub fn give_back_kept(
    tree: &Arc<dyn FileTree>,
    services: &dyn Services,
    state: &Path,
) -> Result<Option<Restored>, BaselineError> {
    let Some(mut baseline) = Baseline::load(state)? else {
        // Whoever was killed while he wrote his first state has changed nothing yet, but left half a file.
        if state.exists() {
            Baseline::discard(state)?;
        }
        return Ok(None);
    };
    let mut restored = Restored::default();
    if baseline.is_of_this_boot(tree.as_ref()) {
        let refused = refuse_others(&PatientTree::new(Arc::clone(tree), PATIENCE), &mut baseline);
        restored = give_back(tree, services, &baseline);
        restored.failed.extend(refused);
    } else {
        restored.notes.push("the board has been started anew since, which has reset its clocks and fan".to_owned());
    }
    if restored.is_complete() {
        Baseline::discard(state)?;
    }
    Ok(Some(restored))
}

/// Gives back every knob of a baseline.
pub fn give_back(tree: &Arc<dyn FileTree>, services: &dyn Services, baseline: &Baseline) -> Restored {
    let tree = &PatientTree::new(Arc::clone(tree), PATIENCE);
    let mut restored = Restored::default();
    // First, because it sets clocks of its own.
    if let Some(mode) = baseline.power_mode
        && let Err(error) = services.set_power_mode(mode)
    {
        // Where it could never be changed there is nothing to give back, and a state that is kept would refuse every run.
        let stands = Found::discover(tree).mode.is_ok_and(|now| now.id == mode);
        let list = if stands { &mut restored.notes } else { &mut restored.failed };
        list.push(if stands { format!("{error}; but the power mode is what it was") } else { error.to_string() });
    }
    if let Some(gpu) = &baseline.gpu {
        match another_mode(tree, baseline, gpu) {
            None => give_back_gpu(tree, gpu, &mut restored),
            Some(range) => {
                restored.notes.push("the power mode is another than it was; the GPU gets the range of this one".into());
                give_back_gpu(tree, &range, &mut restored);
            }
        }
    }
    for fan in &baseline.fans {
        give_back_fan(tree, fan, baseline.fan_service, &mut restored);
    }
    if baseline.fan_service
        && services.is_active(FAN_SERVICE) == Some(false)
        && let Err(error) = services.start(FAN_SERVICE)
    {
        restored.failed.push(error.to_string());
    }
    restored
}

/// The range of the power mode that somebody has set meanwhile; `None` when it is the old one.
fn another_mode(tree: &dyn FileTree, baseline: &Baseline, gpu: &GpuRange) -> Option<GpuRange> {
    let mode = Found::discover(tree).mode.ok()?;
    if baseline.mode.is_none_or(|before| before == mode.id) {
        return None;
    }
    let table = text(tree, &gpu.max.path.with_file_name("available_frequencies")).ok()?;
    let clocks: Vec<u64> = table.split_whitespace().filter_map(|hz| hz.parse().ok()).collect();
    let limits = GpuLimits::of_mode(tree, mode.id);
    let knob = |knob: &Knob, hz: u64| Knob { path: knob.path.clone(), text: format!("{hz}\n") };
    let min = knob(&gpu.min, limits.min_hz.or_else(|| clocks.iter().min().copied())?);
    let max = knob(&gpu.max, limits.max_hz.or_else(|| clocks.iter().max().copied())?);
    Some(GpuRange { min, max, throttled: false })
}

/// Upper bound if that widens, lower bound, upper bound: right on every kernel, whatever stands there now.
fn give_back_gpu(tree: &dyn FileTree, gpu: &GpuRange, restored: &mut Restored) {
    let now = integer(tree, &gpu.max.path).map(i64::unsigned_abs);
    let widens = gpu.max.number().is_none_or(|saved| now.is_ok_and(|now| saved > now) || now.is_err());
    let order = [widens.then_some(&gpu.max), Some(&gpu.min), (!widens).then_some(&gpu.max)];
    let mut failed = false;
    for knob in order.into_iter().flatten() {
        failed |= !put(tree, &knob.path, &knob.text, restored);
    }
    let reads_back = |knob: &Knob| {
        let now = integer(tree, &knob.path).map(i64::unsigned_abs);
        now.is_ok_and(|now| knob.number().is_some_and(|saved| near(saved, now)))
    };
    let in_force = reads_back(&gpu.min) && reads_back(&gpu.max);
    if !failed && !in_force {
        restored.notes.push(format!(
            "the GPU's range {}..{} is given back, but the board caps it now (heat, power mode)",
            gpu.min.text.trim(),
            gpu.max.text.trim()
        ));
    }
    if gpu.throttled {
        restored
            .notes
            .push("the board throttled when it was taken over, so its GPU range is given back in full".into());
    }
}

/// Duty first, control second: where control 0 cuts the output, nothing is ever cut on the way.
fn give_back_fan(tree: &dyn FileTree, fan: &FanDrive, service: bool, restored: &mut Restored) {
    let stands_still = fan.pwm.number() == Some(0) || is_output_switch(fan) && control(fan) == Some(0);
    // On JetPack 4 the kernel's table drives the fan when its control is given back.
    let vendor = service || !is_output_switch(fan) && control(fan) == Some(1);
    if stands_still && !vendor && hottest(tree).is_none_or(|hottest| hottest >= COLD) {
        put(tree, &fan.pwm.path, "255", restored);
        restored.notes.push(format!(
            "{} was off, and is left at full speed: the board is warm or says no temperature. `energyllm fan auto` \
             when it is cold, or start the vendor's fan service",
            fan.pwm.path.display()
        ));
        return;
    }
    for knob in std::iter::once(&fan.pwm).chain(&fan.control) {
        put(tree, &knob.path, &knob.text, restored);
    }
}

/// The control is `pwm1_enable`, whose 0 cuts the output; `temp_control` of `JetPack` 4 has another meaning.
fn is_output_switch(fan: &FanDrive) -> bool {
    fan.control.as_ref().is_some_and(|knob| knob.path.to_string_lossy().ends_with("_enable"))
}

fn control(fan: &FanDrive) -> Option<u64> {
    fan.control.as_ref().and_then(Knob::number)
}

/// The hottest zone of the board; `None` when none can be read, and when one hangs in its driver (of a [`PatientTree`]): it may
/// be the hottest.
#[must_use]
pub fn hottest(tree: &dyn FileTree) -> Option<MilliCelsius> {
    let zones = Thermal::discover(tree).ok()?.zones;
    let mut hottest = None;
    for zone in zones.iter().filter(|zone| zone.kind == Kind::Board) {
        match integer(tree, &zone.temperature) {
            Err(TreeError::Hangs) => return None,
            // -256 °C is a sensor without power.
            Ok(value) if value > -40_000 => hottest = hottest.max(i32::try_from(value).ok()),
            Ok(_) | Err(_) => {}
        }
    }
    hottest.map(MilliCelsius)
}

/// Writes one file; a chip may have another number than it had (`hwmon4` for `hwmon2`).
fn put(tree: &dyn FileTree, path: &Path, text: &str, restored: &mut Restored) -> bool {
    let mut place = path.to_owned();
    let mut outcome = tree.write(&place, text);
    for _ in 1..TRIES {
        match outcome {
            Err(TreeError::NotFound) => match moved::find(tree, path) {
                Some(other) if other != place => place = other,
                _ => break,
            },
            Err(error) if is_passing(error) => std::thread::sleep(PAUSE),
            _ => break,
        }
        outcome = tree.write(&place, text);
    }
    match outcome {
        Ok(()) => restored.written.push(place),
        Err(error) => restored.failed.push(format!("cannot write {} to {}: {error}", text.trim(), place.display())),
    }
    outcome.is_ok()
}
