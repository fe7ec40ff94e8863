//! Logged grids as a board: every turn returns what a real board once measured at the setting.
//!
//! | what | where it comes from |
//! |---|---|
//! | time, energy, tokens of a batch | a logged row of the setting, one of several at random; of the nearest setting where a grid lacks it |
//! | temperature | moves towards the row's temperature with the time constants of the published study (273 s with the fan, 1200 s without); it is carried over and never reset |
//! | fan | rows of the fan-on grids while it works, of the fan-off grids while it does not |
//! | queue, offered load | none: every batch is full, and a response is the latency of its batch |
//!
//! Grids hold full depth only.

use super::living::{Done, LivingBoard, LivingError, Seen};
use crate::verify::plant::{Format, Log, Row};
use controller_core::action::{Action, ActionSpace, Setting};
use controller_core::observation::{FeatureRange, Observer};
use controller_core::rng::Pcg32;
use controller_core::supervisor::{Limits, Supervisor};
use controller_core::telemetry::{Measurement, Reading, Telemetry};
use controller_core::time::{Duration, Instant};
use controller_core::units::{KiloHertz, MicroJoules, MilliCelsius, MilliRequestsPerSecond, MilliWatts};
use firmware_sim::plant::Profile;
use std::collections::BTreeMap;

/// Time constant of the board with its fan, s: the middle of 236 to 310 in the published logs.
const FAN_ON_S: f64 = 273.0;
/// Without.
const FAN_OFF_S: f64 = 1200.0;
/// A hold lets the board cool for so long, s.
const HOLD_S: f64 = 5.0;
/// Idle time between batches where a log does not tell, s.
const GAP_S: f64 = 0.5;
/// New tokens of a sequence in every published grid.
const ANSWER_TOKENS: u32 = 100;

/// A setting of a grid: clocks by index, and the batch.
type Cell = (usize, usize, u32);

/// Rows by setting.
#[derive(Clone, Debug, Default)]
struct Grid {
    cells: BTreeMap<Cell, Vec<Row>>,
    coolest_c: f64,
}

/// Why logs cannot be a board.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LoggedError {
    /// Another kind of log.
    #[error("this is a {0} log; a replay needs a grid, with one row per setting")]
    NotAGrid(String),
    /// No log for one state of the fan.
    #[error("there is no grid for {0}; give one, or a fan schedule that does not need it")]
    NoGrid(&'static str),
    /// More batches than a knob can have values.
    #[error("the grids hold {0} batch sizes, more than the 32 that a knob can have; leave some rows out")]
    Batches(usize),
    /// The policy wants what the grids do not hold.
    #[error("the policy chooses among {0}, of which the grids say nothing; train one from scratch on these grids")]
    Knob(&'static str),
}

/// Logged grids as a board.
#[derive(Clone, Debug)]
pub struct Logged {
    fan_on: Grid,
    fan_off: Grid,
    fan_working: bool,
    actions: ActionSpace,
    layout: Vec<FeatureRange>,
    idle_w: f64,
    observer: Observer,
    supervisor: Supervisor,
    rng: Pcg32,
    now_s: f64,
    die_c: f64,
    power_w: Option<f64>,
}

impl Grid {
    fn of(logs: &[Log]) -> Result<Self, LoggedError> {
        let mut cells: BTreeMap<Cell, Vec<Row>> = BTreeMap::new();
        for log in logs {
            if log.format != Format::Grid {
                return Err(LoggedError::NotAGrid(log.format.to_string()));
            }
            for row in log.rows.iter().filter(|row| row.energy_j.is_some() && row.temperature_c.is_some()) {
                cells.entry((row.prefill_clock, row.decode_clock, row.batch)).or_default().push(row.clone());
            }
        }
        let temperatures = cells.values().flatten().filter_map(|row| row.temperature_c);
        Ok(Self { coolest_c: temperatures.fold(f64::INFINITY, f64::min), cells })
    }

    /// The rows of a setting, or of the nearest: the decode clock counts twice the prefill clock, four requests of a
    /// batch as much as that.
    fn nearest(&self, (prefill, decode, batch): Cell) -> Option<&[Row]> {
        let distance =
            |cell: &Cell| 8 * decode.abs_diff(cell.1) + 4 * prefill.abs_diff(cell.0) + batch.abs_diff(cell.2) as usize;
        self.cells.iter().min_by_key(|(cell, _)| distance(cell)).map(|(_, rows)| rows.as_slice())
    }
}

/// The knobs that grids know: the clocks of the profile, the batches of all grids, full depth, the fan as it is.
pub fn actions(profile: &Profile, fan_on: &[Log], fan_off: &[Log]) -> Result<ActionSpace, LoggedError> {
    let rows = fan_on.iter().chain(fan_off).flat_map(|log| &log.rows);
    let batches: std::collections::BTreeSet<u16> = rows.filter_map(|row| u16::try_from(row.batch).ok()).collect();
    let list: Vec<u16> = batches.into_iter().collect();
    Ok(ActionSpace {
        prefill_khz: profile.gpu_clock_khz.iter().copied().collect(),
        decode_khz: profile.gpu_clock_khz.iter().copied().collect(),
        batch: heapless::Vec::from_slice(&list).map_err(|_| LoggedError::Batches(list.len()))?,
        depth: u16::try_from(profile.layers).into_iter().collect(),
        fan_pwm: [0].into_iter().collect(),
    })
}

impl Logged {
    /// A board of grids. `actions` are those of the policy: clocks of the profile, any batches, full depth, no choice of
    /// the fan.
    ///
    /// # Panics
    /// When the limits are unusable; the profile has been checked before.
    pub fn new(
        profile: &Profile,
        limits: Limits,
        (fan_on, fan_off): (&[Log], &[Log]),
        actions: ActionSpace,
        layout: Vec<FeatureRange>,
        seed: u64,
    ) -> Result<Self, LoggedError> {
        let clocks = &profile.gpu_clock_khz;
        if actions.prefill_khz[..] != clocks[..] || actions.decode_khz[..] != clocks[..] {
            return Err(LoggedError::Knob("clocks that are not those of the board profile"));
        }
        if actions.depth[..] != [u16::try_from(profile.layers).unwrap_or(u16::MAX)] {
            return Err(LoggedError::Knob("several depths"));
        }
        if actions.fan_pwm.len() != 1 {
            return Err(LoggedError::Knob("several fan duties"));
        }
        let (fan_on, fan_off) = (Grid::of(fan_on)?, Grid::of(fan_off)?);
        let start = if fan_on.cells.is_empty() { fan_off.coolest_c } else { fan_on.coolest_c };
        if !start.is_finite() {
            return Err(LoggedError::NoGrid("either state of the fan"));
        }
        Ok(Self {
            fan_working: !fan_on.cells.is_empty(),
            fan_on,
            fan_off,
            actions,
            layout,
            idle_w: profile.power.idle_w,
            observer: Observer::default(),
            supervisor: Supervisor::new(limits).expect("the limits were checked with the profile"),
            rng: Pcg32::new(seed),
            now_s: 0.0,
            die_c: start,
            power_w: None,
        })
    }

    fn grid(&self) -> &Grid {
        if self.fan_working { &self.fan_on } else { &self.fan_off }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(micros(self.now_s))
    }

    /// Lets time pass while the board tends towards a temperature.
    fn pass(&mut self, seconds: f64, towards_c: f64) {
        let constant_s = if self.fan_working { FAN_ON_S } else { FAN_OFF_S };
        self.die_c += (towards_c - self.die_c) * (1.0 - libm::exp(-seconds / constant_s));
        self.now_s += seconds;
    }

    fn hold(&mut self) -> Measurement {
        let coolest = self.grid().coolest_c;
        self.pass(HOLD_S, coolest);
        self.power_w = Some(self.idle_w);
        Measurement {
            idle: Duration::from_micros(micros(HOLD_S)),
            energy: MicroJoules(micros(self.idle_w * HOLD_S)),
            peak_temperature: Some(MilliCelsius(milli(self.die_c))),
            ..Measurement::default()
        }
    }

    fn batch(&mut self, action: Action, setting: &Setting) -> Measurement {
        let cell = (usize::from(action.prefill), usize::from(action.decode), u32::from(setting.batch));
        let pick = self.rng.next_u32() as usize;
        let rows = self.grid().nearest(cell).unwrap_or(&[]);
        let Some(row) = rows.get(pick % rows.len().max(1)).cloned() else { return Measurement::default() };
        let (energy_j, row_c) = (row.energy_j.unwrap_or(0.0), row.temperature_c.unwrap_or(self.die_c));
        let gap_s = row.gap_s.unwrap_or(GAP_S);
        let before_c = self.die_c;
        self.pass(gap_s + row.latency_s, row_c);
        self.power_w = Some((energy_j + self.idle_w * gap_s) / (row.latency_s + gap_s));
        // Tokens of the batch that was asked for, where the row is that of a neighbour.
        let share = f64::from(setting.batch) / f64::from(row.batch.max(1));
        let prefill_s = row.prefill_s.unwrap_or(0.0);
        Measurement {
            requests: setting.batch,
            prompt_tokens: whole(f64::from(row.prompt_tokens) * share),
            generated_tokens: ANSWER_TOKENS * u32::from(setting.batch),
            prefill: Duration::from_micros(micros(prefill_s)),
            decode: Duration::from_micros(micros(row.latency_s - prefill_s)),
            idle: Duration::from_micros(micros(gap_s)),
            response: Duration::from_micros(micros(row.latency_s)),
            energy: MicroJoules(micros(energy_j + self.idle_w * gap_s)),
            active_energy: MicroJoules(micros(energy_j)),
            peak_temperature: Some(MilliCelsius(milli(self.die_c.max(before_c)))),
            entropy: None,
        }
    }
}

impl LivingBoard for Logged {
    fn look(&mut self) -> Result<Seen, LivingError> {
        let now = self.now();
        let telemetry = Telemetry {
            temperature: Reading::at(MilliCelsius(milli(self.die_c)), now),
            power: self.power_w.map_or(Telemetry::UNKNOWN.power, |w| Reading::at(MilliWatts(whole(w * 1e3)), now)),
            gpu_clock: Reading::at(KiloHertz(self.observer.previous().map_or(0, |(s, _)| s.decode.0)), now),
            fan_pwm: Reading::at(if self.fan_working { u8::MAX } else { 0 }, now),
            queue: 0,
            offered_load: MilliRequestsPerSecond(0),
        };
        self.observer.watch(&telemetry);
        let observation = self.observer.observe(&self.layout, &telemetry).to_vec();
        Ok(Seen { telemetry, observation })
    }

    fn act(&mut self, seen: &Seen, action: Action) -> Result<Done, LivingError> {
        let slope = self.observer.slope_mk_per_s();
        let decision = self.supervisor.supervise(self.now(), &seen.telemetry, slope, action, &self.actions);
        let setting = self.actions.setting(decision.applied).expect("the supervisor applies actions of the space only");
        let measurement = if decision.hold { self.hold() } else { self.batch(decision.applied, &setting) };
        self.observer.remember(decision.applied, setting, measurement);
        Ok(Done { decision, setting, measurement })
    }

    fn set_fan_working(&mut self, working: bool) -> Result<(), LivingError> {
        let (grid, name) = if working {
            (&self.fan_on, "a working fan (--grid)")
        } else {
            (&self.fan_off, "a stopped fan (--grid-fan-off)")
        };
        if grid.cells.is_empty() {
            return Err(LivingError::Board(Box::new(LoggedError::NoGrid(name))));
        }
        self.fan_working = working;
        Ok(())
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating, never negative here")]
fn micros(value: f64) -> u64 {
    (value * 1e6).round() as u64
}

#[expect(clippy::cast_possible_truncation, reason = "saturating; a temperature")]
fn milli(value: f64) -> i32 {
    (value * 1e3).round() as i32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating, never negative here")]
fn whole(value: f64) -> u32 {
    value.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpo::layout;
    use controller_core::action::Knob;

    /// A grid of two clocks and three batches, each row telling its setting by its energy.
    fn log(temperature_c: f64) -> Log {
        let mut text = String::from(
            "prefill_freq_bin,decode_freq_bin,effective_batch_size,num_prompt_tokens,prefill_time,decode_time,energy,\
             temperature,inference_time\n",
        );
        for prefill in [0, 10] {
            for decode in [0, 5, 10] {
                for batch in [1, 8, 16, 32] {
                    let energy = 100 + prefill + decode * 2 + batch;
                    let line =
                        format!("{prefill},{decode},{batch},{},0.1,4.5,{energy},{temperature_c},5.0\n", batch * 16);
                    text.push_str(&line);
                }
            }
        }
        Log::read(text.as_bytes(), &Profile::agx_orin_hf()).unwrap()
    }

    fn board() -> Logged {
        let (on, off) = ([log(62.25)], [log(97.25)]);
        let profile = Profile::agx_orin_hf();
        let actions = actions(&profile, &on, &off).unwrap();
        Logged::new(&profile, Limits::agx_orin(), (&on, &off), actions, layout::standard(), 1).unwrap()
    }

    #[test]
    fn a_turn_is_what_was_logged() {
        let mut board = board();
        let action = Action { prefill: 10, decode: 5, batch: 2, depth: 0, fan: 0 };
        let mut done = None;
        for _ in 0..20 {
            let seen = board.look().unwrap();
            done = Some(board.act(&seen, action).unwrap());
        }
        let done = done.unwrap();
        assert_eq!(done.decision.applied.get(Knob::Decode), 5);
        let m = done.measurement;
        assert_eq!((m.active_energy, m.requests, m.generated_tokens), (MicroJoules(136_000_000), 16, 1600));
        assert_eq!((m.prefill.micros(), m.decode.micros(), m.idle.micros()), (100_000, 4_500_000, 400_000));
        // Between two logged clocks the nearer one answers.
        assert_eq!(board.grid().nearest((4, 4, 14)).unwrap()[0].energy_j, Some(126.0));
    }

    #[test]
    fn heat_is_carried_over_and_follows_the_fan() {
        let mut board = board();
        let action = Action { prefill: 10, decode: 10, batch: 3, depth: 0, fan: 0 };
        let turn = |board: &mut Logged| {
            let seen = board.look().unwrap();
            board.act(&seen, action).unwrap();
            board.die_c
        };
        let cool = (0..100).map(|_| turn(&mut board)).last().unwrap();
        assert!((cool - 62.25).abs() < 0.1, "{cool}");
        board.set_fan_working(false).unwrap();
        let warmer = turn(&mut board);
        // 5 s of 1200 towards 97.25 °C.
        assert!((warmer - cool - 35.0 * 5.0 / 1200.0).abs() < 0.01, "{cool} {warmer}");
        let hot = (0..1500).map(|_| turn(&mut board)).last().unwrap();
        assert!(hot > 85.0 && hot < 97.3, "{hot}");
    }

    #[test]
    fn what_grids_do_not_know_is_refused() {
        let (on, profile) = ([log(62.25)], Profile::agx_orin_hf());
        let known = actions(&profile, &on, &[]).unwrap();
        let build = |actions: ActionSpace| {
            Logged::new(&profile, Limits::agx_orin(), (&on, &[]), actions, layout::standard(), 1)
        };
        let mut only_on = build(known.clone()).unwrap();
        assert!(only_on.set_fan_working(false).unwrap_err().to_string().contains("--grid-fan-off"));
        let deep = ActionSpace { depth: [9, 16].into_iter().collect(), ..known.clone() };
        assert_eq!(build(deep).unwrap_err(), LoggedError::Knob("several depths"));
        let fans = ActionSpace { fan_pwm: [0, 255].into_iter().collect(), ..known };
        assert_eq!(build(fans).unwrap_err(), LoggedError::Knob("several fan duties"));
    }
}
