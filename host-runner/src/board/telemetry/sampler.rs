//! Samples in threads of their own, with a deadline for every read.
//!
//! ```text
//! worker    reads channel after channel, then publishes the sample; waits for the next one
//! watchman  sees a read that is older than the deadline: marks its channel as stuck, takes the worker
//!           out of office and starts a successor, which leaves stuck channels alone
//! ```
//!
//! A read that hangs in a driver cannot be ended, so its thread is left to it; when the read returns, the
//! thread takes the mark away and ends. There is never more than one thread for a channel. A stuck channel
//! keeps its last reading, which grows old: who needs it sees its age.

use super::{Average, Channel, Clock, Meter, Sample, read_channel};
use crate::measure::energy::{Energy, PowerSeries};
use controller_core::telemetry::{Absence, Reading, Telemetry};
use controller_core::time::Instant;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Samples of power that are kept: an hour at 2 a second.
const SERIES: usize = 7200;

/// How a sampler works.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Time from one sample to the next. INA sensors have a new value every 0.43 s.
    pub interval: Duration,
    /// A read that takes longer is stuck.
    pub deadline: Duration,
    /// Time between attempts to find what is absent or has gone.
    pub rebuild: Duration,
    /// Longest time between two samples of power over which energy is integrated.
    pub max_gap: Duration,
}

impl Default for Plan {
    /// Two samples a second, reads within 200 ms, gaps up to 1.5 s.
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(500),
            deadline: Duration::from_millis(200),
            rebuild: Duration::from_secs(10),
            max_gap: Duration::from_millis(1500),
        }
    }
}

/// Builds the meter; called again when something was absent or has gone. May block.
pub type Build = Box<dyn Fn() -> Arc<dyn Meter> + Send + Sync>;

/// Samples a meter until it is dropped.
pub struct Sampler {
    shared: Arc<Shared>,
}

/// The last sample and the meter that it is of.
#[derive(Clone)]
pub struct Latest {
    /// The meter, for its channels.
    pub meter: Arc<dyn Meter>,
    /// The sample.
    pub sample: Sample,
    /// How many samples were published before it.
    pub number: u64,
}

impl Latest {
    /// What the controller looks at; queue and load are the caller's.
    #[must_use]
    pub fn telemetry(&self) -> Telemetry {
        self.sample.telemetry(self.meter.channels())
    }
}

/// A read that has not returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// The channel, or `discovery`.
    pub name: String,
    /// The file that is being read.
    pub place: String,
    /// When the read began.
    pub since: Instant,
}

struct Shared {
    clock: Clock,
    plan: Plan,
    build: Build,
    state: Mutex<State>,
    /// What the worker in office is doing; apart from `state`, so that readers of samples do not slow it.
    post: Mutex<Post>,
    /// Something was published, or the end has come.
    changed: Condvar,
    /// The end has come; for those who sleep.
    bell: Condvar,
}

struct State {
    meter: Arc<dyn Meter>,
    sample: Sample,
    number: u64,
    series: PowerSeries,
    ended: bool,
}

#[derive(Default)]
struct Post {
    /// Number of the worker in office.
    worker: u64,
    /// What it reads, and since when.
    task: Option<(Task, Instant)>,
    /// Reads that hang: worker, task, since when.
    stuck: Vec<(u64, Task, Instant)>,
    /// Number of the meter in use: marks of an older one mean nothing.
    meter: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Reading a channel of the meter with this number.
    Channel(u64, usize),
    /// Building the meter.
    Build,
}

impl Sampler {
    /// Builds the meter here and now, and starts to sample it.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn start(build: Build, clock: Clock, plan: Plan) -> std::io::Result<Self> {
        let meter = build();
        let state = State {
            sample: Sample::unread(meter.channels().len()),
            meter,
            number: 0,
            series: PowerSeries::new(SERIES, u64::try_from(plan.max_gap.as_micros()).unwrap_or(u64::MAX)),
            ended: false,
        };
        let shared = Arc::new(Shared {
            clock,
            plan,
            build,
            state: Mutex::new(state),
            post: Mutex::new(Post::default()),
            changed: Condvar::new(),
            bell: Condvar::new(),
        });
        let sampler = Self { shared: Arc::clone(&shared) };
        spawn_worker(&shared, 0)?;
        let watchman = std::thread::Builder::new().name("board-watch".to_owned());
        watchman.spawn(move || watch(&shared))?;
        Ok(sampler)
    }

    /// The last sample. Waits for nothing but the copy of another sample.
    #[must_use]
    pub fn latest(&self) -> Latest {
        let state = self.shared.state();
        Latest { meter: Arc::clone(&state.meter), sample: state.sample.clone(), number: state.number }
    }

    /// The same into what is there, without an allocation while the channels stay the same.
    pub fn refresh(&self, latest: &mut Latest) {
        let state = self.shared.state();
        if !Arc::ptr_eq(&latest.meter, &state.meter) {
            latest.meter = Arc::clone(&state.meter);
        }
        latest.sample.copy_from(&state.sample);
        latest.number = state.number;
    }

    /// Waits until more than `number` samples are published; false when that took longer than `limit`.
    #[must_use]
    pub fn wait_beyond(&self, number: u64, limit: Duration) -> bool {
        let state = self.shared.state();
        let waiting = |state: &mut State| state.number <= number && !state.ended;
        let result = self.shared.changed.wait_timeout_while(state, limit, waiting);
        result.unwrap_or_else(PoisonError::into_inner).0.number > number
    }

    /// Energy of the board's total between two moments of the sampler's clock.
    #[must_use]
    pub fn energy(&self, from: Instant, to: Instant) -> Energy {
        self.shared.state().series.integrate(from, to)
    }

    /// When the youngest sample of the total was valid: energy up to here is known.
    #[must_use]
    pub fn measured_until(&self) -> Option<Instant> {
        self.shared.state().series.last()
    }

    /// Reads that hang now.
    #[must_use]
    pub fn stuck(&self) -> Vec<Stuck> {
        let meter = Arc::clone(&self.shared.state().meter);
        let post = self.shared.post();
        let current = post.meter;
        let describe = |&(_, task, since): &(u64, Task, Instant)| {
            let channel = match task {
                Task::Channel(number, channel) if number == current => meter.channels().get(channel),
                Task::Channel(..) | Task::Build => None,
            };
            let (name, place) =
                channel.map_or(("discovery", ""), |channel| (channel.name.as_str(), channel.place.as_str()));
            Stuck { name: name.to_owned(), place: place.to_owned(), since }
        };
        post.stuck.iter().map(describe).collect()
    }

    /// The clock of the readings.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }
}

impl Drop for Sampler {
    /// Lets the threads end; one that hangs in a read ends when the read does, and nobody waits for it.
    fn drop(&mut self) {
        self.shared.state().ended = true;
        self.shared.changed.notify_all();
        self.shared.bell.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self) -> MutexGuard<'_, Post> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps; true when the end has come.
    fn sleep(&self, time: Duration) -> bool {
        let result = self.bell.wait_timeout_while(self.state(), time, |state| !state.ended);
        result.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// Notes the task, does it, and says whether the worker is still in office.
    fn perform<T>(&self, worker: u64, task: Task, work: impl FnOnce() -> T) -> Option<T> {
        {
            let mut post = self.post();
            if post.worker != worker {
                return None;
            }
            post.task = Some((task, self.clock.now()));
        }
        let result = work();
        let mut post = self.post();
        if post.worker == worker {
            post.task = None;
            return Some(result);
        }
        post.stuck.retain(|&(by, _, _)| by != worker);
        None
    }

    fn is_stuck(&self, task: Task) -> bool {
        self.post().stuck.iter().any(|&(_, stuck, _)| stuck == task)
    }
}

fn spawn_worker(shared: &Arc<Shared>, worker: u64) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("board-read".to_owned());
    thread.spawn(move || work(&shared, worker)).map(|_| ())
}

/// Samples until the end comes or the worker is out of office.
fn work(shared: &Shared, worker: u64) {
    let Latest { mut meter, mut sample, .. } = {
        let state = shared.state();
        Latest { meter: Arc::clone(&state.meter), sample: state.sample.clone(), number: 0 }
    };
    let mut meter_number = shared.post().meter;
    let mut next = shared.clock.now().micros();
    let mut rebuild_at = next.saturating_add(micros(shared.plan.rebuild));
    loop {
        let mut gone = false;
        let before: Option<Instant> = latest_power(&meter, &sample);
        for channel in 0..sample.readings.len() {
            let task = Task::Channel(meter_number, channel);
            if shared.is_stuck(task) {
                continue;
            }
            let Some(reading) = shared.perform(worker, task, || read_channel(&*meter, channel, &shared.clock)) else {
                return;
            };
            gone |= matches!(reading, Reading::Absent(Absence::NoSensor));
            sample.readings[channel] = reading;
        }
        if !publish(shared, worker, &meter, &sample, before) {
            return;
        }
        let now = shared.clock.now().micros();
        if (gone || !meter.is_complete()) && now >= rebuild_at && !shared.is_stuck(Task::Build) {
            let Some(built) = shared.perform(worker, Task::Build, || (shared.build)()) else { return };
            rebuild_at = shared.clock.now().micros().saturating_add(micros(shared.plan.rebuild));
            if built.channels() != meter.channels() {
                sample = Sample::unread(built.channels().len());
                meter = built;
                meter_number += 1;
                let mut post = shared.post();
                post.meter = meter_number;
            }
        }
        // A sample that took too long moves the beat; it is not made up for.
        next = next.saturating_add(micros(shared.plan.interval)).max(now);
        let pause = next.saturating_sub(shared.clock.now().micros());
        if shared.sleep(Duration::from_micros(pause)) {
            return;
        }
    }
}

/// Hands the sample over; false for a worker out of office.
fn publish(shared: &Shared, worker: u64, meter: &Arc<dyn Meter>, sample: &Sample, before: Option<Instant>) -> bool {
    let mut state = shared.state();
    if shared.post().worker != worker {
        return false;
    }
    if !Arc::ptr_eq(&state.meter, meter) {
        state.meter = Arc::clone(meter);
    }
    state.sample.copy_from(sample);
    state.number += 1;
    if let Reading::Present { value, taken_at } = sample.total_power(meter.channels()) {
        let at = valid_at(meter.channels(), taken_at, before);
        state.series.push(at, i64::from(value.0));
    }
    shared.changed.notify_all();
    true
}

/// When the last reading of the total was taken.
fn latest_power(meter: &Arc<dyn Meter>, sample: &Sample) -> Option<Instant> {
    match sample.total_power(meter.channels()) {
        Reading::Present { taken_at, .. } => Some(taken_at),
        Reading::Absent(_) => None,
    }
}

/// The moment that a mean over the time before `taken_at` stands for: the middle of that time.
fn valid_at(channels: &[Channel], taken_at: Instant, before: Option<Instant>) -> Instant {
    let of_total = channels.iter().filter(|channel| channel.role == super::Role::Total);
    let covered = of_total.map(|channel| match channel.average {
        Average::Moment => 0,
        Average::Window(window_us) => window_us,
        Average::SinceLast => before.map_or(0, |before| taken_at.since(before).micros()),
    });
    Instant::from_micros(taken_at.micros().saturating_sub(covered.max().unwrap_or(0) / 2))
}

/// Replaces workers whose read is older than the deadline.
fn watch(shared: &Arc<Shared>) {
    let pause = (shared.plan.deadline / 4).max(Duration::from_millis(1));
    while !shared.sleep(pause) {
        let successor = {
            let mut post = shared.post();
            let now = shared.clock.now();
            match post.task {
                Some((task, since)) if now.since(since).micros() > micros(shared.plan.deadline) => {
                    let worker = post.worker;
                    post.stuck.push((worker, task, since));
                    post.task = None;
                    post.worker += 1;
                    Some(post.worker)
                }
                _ => None,
            }
        };
        if let Some(worker) = successor
            && let Err(error) = spawn_worker(shared, worker)
        {
            tracing::error!("no thread to read the board in: {error}; its readings grow old");
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
