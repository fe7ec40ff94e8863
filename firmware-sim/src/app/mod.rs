//! The controller as firmware: what a microcontroller beside the module runs.
//!
//! It holds the policy, decides when the host asks, and watches the host. It owns no clock and no
//! hardware: [`App::pass`] is called with the time and the [`Ports`] of the board, once a
//! [`PERIOD`]. Fixed memory, no allocation, no waiting.
//!
//! # Safety states
//!
//! ```text
//!   reset ──▶ Boot ──── greeting ────▶ InSession ──── silent for HOST_TIMEOUT ────▶ HostSilent
//!             outputs active           outputs quiet ◀──── new greeting ─────────── outputs active
//! ```
//!
//! The code has them as a table: [`safety::TRANSITIONS`].
//!
//! The *safety outputs* are two pins: fan at full speed, and the power cap of the module. They are
//! active from the first pass on until a host greets, and again at most [`HOST_TIMEOUT`] plus one
//! [`PERIOD`] after the host's last sign of life, if the loop keeps its time. A sign of life is a
//! new or repeated request of the open session. Only a greeting with a session number that was not
//! used lately ends the silence, so a host that has come back knows that it was away.
//!
//! # Deadline
//!
//! A pass is due one [`PERIOD`] after the one before. A later pass counts as jitter, one that is
//! late by a whole period as an overrun; both are counted and told to the host, and the loop goes
//! on from where it is: it does not catch up. Erasing a slot at the beginning of an upload may
//! cause an overrun. A loop that stands still is the watchdog's business.
//!
//! | module | role |
//! |---|---|
//! | [`buffer`] | bytes that come while the application is busy |
//! | [`ports`] | what a board brings |
//! | [`safety`] | whether the host is trusted |
//! | [`storage`] | two slots for policy images |
//! | [`log`] | what has happened |

mod answer;
pub mod buffer;
mod engine;
pub mod log;
mod outbox;
pub mod ports;
pub mod safety;
pub mod storage;
mod upload;

use controller_core::protocol::{
    Decoder, EventKind, FrameError, LoopCounters, REQUEST_LEN, Refusal, Reply, Request, Safety, Tag, VERSION,
};
use controller_core::time::{Duration, Instant};
use embedded_hal::digital::OutputPin;
use engine::Engine;
use log::Log;
use outbox::Outbox;
use ports::{Line, Ports, Watchdog};
use storage::Storage;
use upload::Transfer;

/// Time from one pass to the next.
pub const PERIOD: Duration = Duration::from_millis(1);

/// Silence of the host after which the safety outputs become active.
pub const HOST_TIMEOUT: Duration = Duration::from_secs(1);

/// Most bytes taken from the line in one pass: more than a line of 921,600 baud brings in a
/// period, so the line never fills up, and few enough that a pass stays short.
pub const BYTES_PER_PASS: usize = 128;

/// Sessions that are remembered, so that a greeting that was delayed on the line opens none.
const SESSIONS: usize = 4;

/// The application.
#[derive(Clone, Debug)]
pub struct App<S> {
    decoder: Decoder<REQUEST_LEN>,
    outbox: Outbox,
    state: State<S>,
    due: Option<Instant>,
}

/// Everything but the line.
#[derive(Clone, Debug)]
struct State<S> {
    storage: S,
    engine: Engine,
    transfer: Option<Transfer>,
    log: Log,
    timing: LoopCounters,
    safety: Safety,
    /// The last sessions, the newest at the end: a greeting with one of these numbers is an old one.
    sessions: [Option<u16>; SESSIONS],
    heard_at: Instant,
    now: Instant,
    started_at: Instant,
}

impl<S: Storage> App<S> {
    /// Starts: tests the policy images in the slots, the newest first, and takes the first that
    /// passes its own examples; without one the two-rule thermostat will decide. `now` is the
    /// microcontroller's own clock.
    pub fn boot(storage: S, now: Instant) -> Self {
        let mut state = State {
            storage,
            engine: Engine::new(),
            transfer: None,
            log: Log::default(),
            timing: LoopCounters::default(),
            safety: Safety::Boot,
            sessions: [None; SESSIONS],
            heard_at: now,
            now,
            started_at: now,
        };
        state.happened(EventKind::Boot);
        state.choose_image();
        Self { decoder: Decoder::new(), outbox: Outbox::new(), state, due: None }
    }

    /// One pass of the loop: reads the line, answers, watches the host, drives the safety outputs
    /// and feeds the watchdog. Due every [`PERIOD`]; see the module for what happens when it is
    /// late.
    pub fn pass<L: Line, F: OutputPin, P: OutputPin, W: Watchdog>(
        &mut self,
        now: Instant,
        ports: &mut Ports<L, F, P, W>,
    ) {
        self.keep_time(now);
        self.listen(&mut ports.line);
        self.state.watch_host();
        ports.protect(self.is_protecting());
        self.outbox.flush(&mut ports.line);
        ports.watchdog.feed();
    }

    /// When the next pass is due; `None` before the first, which is due at once.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether the safety outputs are active.
    #[must_use]
    pub fn is_protecting(&self) -> bool {
        safety::is_protecting(self.state.safety)
    }

    /// The slots, for instance to see what survived a reset.
    #[must_use]
    pub const fn storage(&self) -> &S {
        &self.state.storage
    }

    /// The slots, to be changed behind the application's back: what it finds there it checks.
    pub const fn storage_mut(&mut self) -> &mut S {
        &mut self.state.storage
    }

    /// The event log.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.state.log
    }

    /// Turns the power off: what is left is what the slots hold.
    pub fn power_off(self) -> S {
        self.state.storage
    }

    fn keep_time(&mut self, now: Instant) {
        let state = &mut self.state;
        state.now = now;
        let late = self.due.map_or(Duration::ZERO, |due| now.since(due));
        let late_us = u32::try_from(late.micros()).unwrap_or(u32::MAX);
        let timing = &mut state.timing;
        timing.passes = timing.passes.wrapping_add(1);
        let worst_yet = late_us > timing.worst_jitter_us;
        timing.worst_jitter_us = timing.worst_jitter_us.max(late_us);
        let overrun = late >= PERIOD;
        if overrun {
            timing.overruns = timing.overruns.saturating_add(1);
            // Not every one, or a slow board would know nothing else.
            if worst_yet {
                state.happened(EventKind::Overrun { late_us });
            }
        }
        let begun = if overrun { now } else { self.due.unwrap_or(now) };
        self.due = Some(begun + PERIOD);
    }

    fn listen(&mut self, line: &mut impl Line) {
        let mut bytes = [0; BYTES_PER_PASS];
        if !line.read_ready().unwrap_or(false) {
            return;
        }
        let count = line.read(&mut bytes).unwrap_or(0);
        for byte in bytes.iter().take(count) {
            self.take(*byte);
        }
    }

    /// Takes one byte and answers what it completes.
    fn take(&mut self, byte: u8) {
        let Self { decoder, outbox, state, .. } = self;
        let (tag, answer) = match decoder.push::<Request>(byte) {
            None | Some(Err(FrameError::Corrupt | FrameError::Oversize)) => return,
            Some(Err(FrameError::Version { .. })) if state.safety == Safety::InSession => return,
            Some(Err(FrameError::Version { .. })) => {
                (Tag::greeting(0), Some(Reply::Refused(Refusal::Version { spoken: VERSION })))
            }
            Some(Err(FrameError::Malformed { tag })) => (tag, Some(Reply::Refused(Refusal::Malformed))),
            Some(Ok(received)) => (received.tag, state.answer(received)),
        };
        match answer {
            Some(mut reply) => {
                match &mut reply {
                    Reply::Hello(_) => decoder.restart(tag.session),
                    Reply::Status(status) => status.link = *decoder.counters(),
                    _ => {}
                }
                outbox.put(tag, &reply);
            }
            None => {
                outbox.repeat(tag);
            }
        }
    }
}

impl<S> State<S> {
    fn happened(&mut self, kind: EventKind) {
        self.log.add(self.uptime_ms(), kind);
    }

    fn uptime_ms(&self) -> u32 {
        u32::try_from(self.now.since(self.started_at).micros() / 1000).unwrap_or(u32::MAX)
    }

    fn watch_host(&mut self) {
        if self.safety == Safety::InSession && self.now.since(self.heard_at) >= HOST_TIMEOUT {
            self.safety = safety::next(self.safety, safety::Cause::Silence);
            self.happened(EventKind::HostSilent);
        }
    }
}
