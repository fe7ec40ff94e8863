//! Temperatures, clock and power of a real board, logged in a thread of their own while batches run.
//!
//! Every sample is a line of the file at once: a test that is killed leaves what was logged until then.

use super::files::{TEMPERATURE_COLUMNS, temperature};
use super::rig::{Sample, Sensors};
use crate::board::telemetry::{Latest, Quantity, Sampler};
use crate::report::csv_log::{CsvLog, CsvLogError};
use controller_core::telemetry::Reading;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The thread wakes up so often to see whether it shall end.
const NAP: Duration = Duration::from_millis(20);

/// A log under way.
pub struct Trace {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    samples: Mutex<Vec<Sample>>,
    failure: Mutex<Option<CsvLogError>>,
    /// The fan was told to stand still.
    fan_off: AtomicBool,
    stop: AtomicBool,
}

impl Shared {
    fn samples(&self) -> MutexGuard<'_, Vec<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trace {
    /// Logs a sample every `period_s` into `path`, under the name of a player.
    ///
    /// # Errors
    /// The file cannot be made, or there is no thread.
    pub fn start(sampler: Arc<Sampler>, player: String, path: &Path, period_s: f64) -> Result<Self, CsvLogError> {
        let mut log = CsvLog::create(path, &TEMPERATURE_COLUMNS)?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let period = Duration::from_secs_f64(period_s);
        let work = move || {
            let mut latest = sampler.latest();
            let mut next = Instant::now();
            while !theirs.stop.load(Ordering::Relaxed) {
                let now = Instant::now();
                if now < next {
                    std::thread::sleep((next - now).min(NAP));
                    continue;
                }
                // A sample that came late moves the beat; it is not made up for.
                next = (next + period).max(now);
                sampler.refresh(&mut latest);
                let time_s = sampler.clock().now().micros() as f64 / 1e6;
                let sample = sample(&latest, time_s, theirs.fan_off.load(Ordering::Relaxed));
                let written = log.row(&temperature(&player, &sample));
                theirs.samples().push(sample);
                if let Err(error) = written {
                    *theirs.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("trace".to_owned()).spawn(work);
        let thread = thread.map_err(|source| CsvLogError::Write { path: path.into(), source })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// From now on the fan is one that was told to stand still.
    pub fn fan_is_off(&self) {
        self.shared.fan_off.store(true, Ordering::Relaxed);
    }

    /// The fan was told to stand still, did, and runs again: the board was too hot for it.
    #[must_use]
    pub fn fan_is_back(&self) -> bool {
        let samples = self.shared.samples();
        let off = samples.iter().skip_while(|sample| sample.fan_working);
        off.skip_while(|sample| sample.fan_pwm != Some(0)).any(|sample| sample.fan_pwm.is_some_and(|pwm| pwm > 0))
    }

    /// Looks at the samples of a stretch of the board's clock, s.
    pub fn between<T>(&self, (from_s, to_s): (f64, f64), look: impl FnOnce(&[Sample]) -> T) -> T {
        let samples = self.shared.samples();
        let from = samples.partition_point(|sample| sample.time_s < from_s);
        let to = samples.partition_point(|sample| sample.time_s <= to_s);
        look(samples.get(from..to).unwrap_or_default())
    }

    /// Ends the log and returns its samples.
    ///
    /// # Errors
    /// The file could not be written to its end.
    pub fn finish(mut self) -> Result<Vec<Sample>, CsvLogError> {
        self.join();
        let failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or_else(|| Ok(std::mem::take(&mut *self.shared.samples())), Err)
    }

    fn join(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.join();
    }
}

/// What the board says, as a line of the published log has it.
fn sample(latest: &Latest, time_s: f64, fan_off: bool) -> Sample {
    let (channels, sample) = (latest.meter.channels(), &latest.sample);
    let degrees = |milli: f64| milli / 1000.0;
    let number = |reading: Reading<i64>| reading.value().map(|value| value as f64);
    let find = |quantity: Quantity, is: &dyn Fn(&str) -> bool| {
        let mut all = channels.iter().zip(&sample.readings);
        all.find(|(channel, _)| channel.quantity == quantity && is(&channel.name)).and_then(|(_, &read)| number(read))
    };
    let zone =
        |begin: &str| find(Quantity::Temperature, &|name| name.to_ascii_lowercase().starts_with(begin)).map(degrees);
    let rail = |wanted: &str| find(Quantity::Power, &|name| name == wanted);
    let hottest = sample.temperature(channels).value().map(|value| degrees(f64::from(value.0)));
    Sample {
        time_s,
        temperature_c: hottest,
        clock_mhz: sample.gpu_clock(channels).value().map(|clock| f64::from(clock.0) / 1000.0),
        power_w: sample.total_power(channels).value().map(|power| f64::from(power.0) / 1000.0),
        fan_pwm: sample.fan_drive(channels).value(),
        fan_working: !fan_off,
        throttled: sample.throttles(channels),
        sensors: Sensors {
            cpu_c: zone("cpu"),
            gpu_c: zone("gpu"),
            // The hottest of all is what this zone is.
            tj_c: zone("tj").or(hottest),
            rails_mw: ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"].map(rail),
        },
    }
}
