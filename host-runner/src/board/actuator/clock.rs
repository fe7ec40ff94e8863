//! The GPU's clock, pinned by both bounds of its devfreq node.
//!
//! | kernel | order of the writes | what reads back |
//! |---|---|---|
//! | 4.9 (`JetPack` 4) | EINVAL when the bounds would cross | what was written |
//! | 5.10 and later | any, crossing bounds are clipped without a word | the range in force, after every other cap |
//!
//! So the bound that widens the range is written first, the one that narrows it second, and both are
//! read back. Then the clock itself is read (`cur_freq`), which follows within some tens of milliseconds, unless the
//! firmware holds it somewhere else; a GPU without power says 0 and follows when it wakes up. (Linux for Tegra, `drivers/devfreq/devfreq.c` of 4.9 and 5.10.)

use super::super::attribute::integer;
use super::super::gate::{Gate, GateError, Passed, is_passing};
use super::super::tree::FileError;
use super::backoff::Backoff;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The clock tree returns neighbours of what was asked for: 1300 MHz for 1300.5 (tegrastats logs).
const TOLERANCE_PER_MILLE: u64 = 15;

/// How often writes are tried that fail for a passing reason, or do not read back.
const TRIES: u32 = 3;

/// Between two tries. The first write after the node appeared fails with EAGAIN (lower bound) or EINVAL
/// (upper bound) until the kernel has registered its request.
const PAUSE: Duration = Duration::from_millis(10);

/// How often the clock itself is looked at, a pause apart, until it counts as not following: 80 ms, where 13 to 57 ms
/// were measured (by others, on a Thor).
const LOOKS: u32 = 8;

/// Both bounds of the clock, hertz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Lowest clock.
    pub min_hz: u64,
    /// Highest clock.
    pub max_hz: u64,
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{} MHz", self.min_hz / 1_000_000, self.max_hz / 1_000_000)
    }
}

impl Range {
    const fn point(hz: u64) -> Self {
        Self { min_hz: hz, max_hz: hz }
    }

    /// The same within what the clock tree returns for a request.
    fn is_near(self, other: Self) -> bool {
        near(self.min_hz, other.min_hz) && near(self.max_hz, other.max_hz)
    }
}

/// Whether two clocks are the same within the tolerance of read-back.
#[must_use]
pub fn near(one_hz: u64, other_hz: u64) -> bool {
    one_hz.abs_diff(other_hz).saturating_mul(1000) <= one_hz.max(other_hz).saturating_mul(TOLERANCE_PER_MILLE)
}

/// What came of pinning the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// Both bounds read back as wanted, and nothing had to be written.
    Already,
    /// Both bounds were written and read back as wanted.
    Written,
    /// The board keeps another range in force than was written: a cap of the power mode, the thermal
    /// core or the firmware.
    Clipped(Range),
    /// The thermal core caps the clock.
    Throttled(Range),
    /// Both bounds read back as wanted, and the clock itself runs elsewhere: the firmware (BPMP, over-current) holds it.
    Strayed {
        /// Where it should be.
        wanted_hz: u64,
        /// Where it is.
        hz: u64,
    },
    /// Somebody else has changed the range since it was written; it is left to him for a while.
    Foreign(Range),
    /// After one of the three above: left alone until the pause is over.
    Waiting(Range),
    /// A dry run: nothing was written.
    DryRun(Range),
}

/// Why the clock could not be pinned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClockError {
    /// No table of clocks.
    #[error("the board lists no GPU clocks within {0}, so none is set; see `energyllm board doctor`")]
    NoTable(Range),
    /// A file said no.
    #[error("{0}")]
    File(#[from] FileError),
    /// The board has been given back.
    #[error("the board has been given back; nothing is written any more")]
    Closed,
}

/// The clock of one GPU.
#[derive(Debug)]
pub struct GpuClock {
    gate: Arc<Gate>,
    min: PathBuf,
    max: PathBuf,
    current: PathBuf,
    /// State of the cooling device that caps this clock, where there is one.
    cooling: Option<PathBuf>,
    /// What may be chosen: entries of the board's own table within its power mode, ascending.
    choices_hz: Vec<u64>,
    /// Nothing above it is written, since somebody has set this upper bound: another power mode.
    ceiling_hz: u64,
    /// What was written last.
    written: Option<Range>,
    /// What read back last, as long as it is no news.
    held: Option<Range>,
    backoff: Backoff,
    /// The clock did not follow: until the pause is over nothing is written for it again.
    strays: Backoff,
    /// Between two tries or looks.
    pause: Duration,
}

impl GpuClock {
    /// The clock of the devfreq node in this folder. `table_hz` is its list of clocks; only those
    /// within `allowed` are ever written. `cooling` is the `cur_state` of its cooling device.
    pub fn new(
        gate: Arc<Gate>,
        devfreq: &Path,
        table_hz: &[u64],
        allowed: Range,
        cooling: Option<PathBuf>,
    ) -> Result<Self, ClockError> {
        let within = |hz: &u64| (allowed.min_hz..=allowed.max_hz).contains(hz);
        let mut choices_hz: Vec<u64> = table_hz.iter().copied().filter(within).collect();
        choices_hz.sort_unstable();
        if choices_hz.is_empty() {
            return Err(ClockError::NoTable(allowed));
        }
        let [min, max, current] = ["min_freq", "max_freq", "cur_freq"].map(|name| devfreq.join(name));
        Ok(Self {
            gate,
            min,
            max,
            current,
            cooling,
            choices_hz,
            ceiling_hz: u64::MAX,
            written: None,
            held: None,
            backoff: Backoff::default(),
            strays: Backoff::default(),
            pause: PAUSE,
        })
    }

    /// The same with another pause between two tries or looks, for boards that are no hardware.
    #[must_use]
    pub fn with_pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// The entry that stands for a clock: the nearest at or below it, or the lowest.
    #[must_use]
    pub fn entry(&self, wanted_hz: u64) -> u64 {
        let wanted_hz = wanted_hz.min(self.ceiling_hz);
        let above = self.choices_hz.partition_point(|hz| *hz <= wanted_hz);
        self.choices_hz.get(above.saturating_sub(1)).copied().unwrap_or(wanted_hz)
    }

    /// The range in force.
    pub fn range(&self) -> Result<Range, FileError> {
        let read = |path: &Path| match integer(self.gate.tree(), path) {
            Ok(hz) => Ok(hz.unsigned_abs()),
            Err(cause) => Err(FileError { path: path.to_owned(), cause }),
        };
        Ok(Range { min_hz: read(&self.min)?, max_hz: read(&self.max)? })
    }

    /// Pins the clock to the entry for `wanted_hz` and reads it back. Bounded in time: some reads, at most
    /// four pairs of writes, and 0.2 s of waiting. Without allocation, unless something is wrong.
    pub fn pin(&mut self, wanted_hz: u64, now: Instant) -> Result<Pinned, ClockError> {
        let wanted = Range::point(self.entry(wanted_hz));
        let seen = self.range()?;
        if seen.is_near(wanted) {
            self.held = Some(seen);
            return self.follow(wanted, seen, Pinned::Already, now);
        }
        if let (Some(held), Some(written)) = (self.held, self.written)
            && !seen.is_near(held)
        {
            // From here on this is how things stand, not news.
            self.held = Some(seen);
            // What was written is back in force when a cap has gone.
            if !seen.is_near(written) {
                self.backoff.conflict(now);
                let capped = seen.max_hz < written.max_hz && self.is_throttled();
                if capped {
                    return Ok(Pinned::Throttled(seen));
                }
                // A range is what a power mode sets; a point, what jetson_clocks does.
                if !near(seen.min_hz, seen.max_hz) {
                    self.ceiling_hz = self.ceiling_hz.min(seen.max_hz);
                }
                return Ok(Pinned::Foreign(seen));
            }
        }
        let towards_safety = wanted.max_hz < seen.max_hz;
        let waits = if towards_safety { self.backoff.is_waiting_for_safety(now) } else { self.backoff.is_waiting(now) };
        if waits {
            return Ok(Pinned::Waiting(seen));
        }
        self.write_and_read_back(wanted, seen, now)
    }

    fn write_and_read_back(&mut self, wanted: Range, mut seen: Range, now: Instant) -> Result<Pinned, ClockError> {
        let mut tries = 1;
        loop {
            match self.write(wanted, seen) {
                Ok(Passed::DryRun) => return Ok(Pinned::DryRun(seen)),
                Ok(Passed::Written) => self.written = Some(wanted),
                Err(ClockError::File(error)) if is_passing(error.cause) && tries < TRIES => {}
                Err(error) => return Err(error),
            }
            seen = self.range()?;
            if seen.is_near(wanted) {
                self.held = Some(seen);
                return self.follow(wanted, seen, Pinned::Written, now);
            }
            if tries == TRIES {
                self.held = Some(seen);
                self.backoff.conflict(now);
                return Ok(Pinned::Clipped(seen));
            }
            tries += 1;
            std::thread::sleep(self.pause);
        }
    }

    /// Waits until the clock itself has followed its bounds; when it does not, writes them once more and waits again. While a
    /// pause after a stray lasts, one look has to do at bounds that stand already, and nothing is written again; a clock that
    /// has just been told to change gets its time all the same.
    fn follow(&mut self, wanted: Range, seen: Range, pinned: Pinned, now: Instant) -> Result<Pinned, ClockError> {
        if !self.gate.is_open() {
            return Ok(pinned);
        }
        let waits = self.strays.is_waiting(now);
        let looks = if waits && pinned == Pinned::Already { 1 } else { LOOKS };
        let mut last = None;
        for again in [false, true] {
            if again {
                if waits {
                    break;
                }
                self.write(wanted, seen)?;
            }
            for look in 1..=looks {
                // Without power, or without an answer, there is nothing to compare.
                let Some(hz) = self.running_hz() else { return Ok(pinned) };
                if near(hz, wanted.max_hz) {
                    return Ok(pinned);
                }
                last = Some(hz);
                if look < looks {
                    std::thread::sleep(self.pause);
                }
            }
        }
        let Some(hz) = last else { return Ok(pinned) };
        if !waits {
            self.strays.conflict(now);
        }
        if hz < wanted.max_hz && self.is_throttled() {
            return Ok(Pinned::Throttled(Range::point(hz)));
        }
        Ok(Pinned::Strayed { wanted_hz: wanted.max_hz, hz })
    }

    /// What the clock is now; `None` where the GPU has no power, or the file says nothing.
    fn running_hz(&self) -> Option<u64> {
        let hz = integer(self.gate.tree(), &self.current).ok()?;
        u64::try_from(hz).ok().filter(|hz| *hz > 0)
    }

    /// Writes both bounds, the one that widens the range first.
    fn write(&self, wanted: Range, seen: Range) -> Result<Passed, ClockError> {
        let raised = wanted.max_hz > seen.max_hz;
        let bounds = [(&self.min, wanted.min_hz), (&self.max, wanted.max_hz)];
        let order = if raised { [1, 0] } else { [0, 1] };
        let mut passed = Passed::Written;
        for (path, hz) in order.map(|place: usize| bounds[place]) {
            passed = write_number(&self.gate, path, hz).map_err(|error| match error {
                GateError::Closed => ClockError::Closed,
                GateError::Tree(cause) => ClockError::File(FileError { path: path.clone(), cause }),
            })?;
        }
        Ok(passed)
    }

    fn is_throttled(&self) -> bool {
        let state = self.cooling.as_ref().map(|path| integer(self.gate.tree(), path));
        state.is_some_and(|state| state.is_ok_and(|state| state > 0))
    }
}

/// Writes a number without allocation.
pub(super) fn write_number(gate: &Gate, path: &Path, number: u64) -> Result<Passed, GateError> {
    let mut text = heapless::String::<20>::new();
    write!(text, "{number}").expect("20 digits hold every u64");
    gate.write(path, &text)
}
