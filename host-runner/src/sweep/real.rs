//! The real board with a language model: batches run there, clocks and fan are set there, power is measured there.
//!
//! No supervisor stands around a sweep: settings are what it is for. In its place the board is looked at before every batch,
//! and waits with its lowest clock and full fan while it is hot or says no temperature. During a batch the fan's guard
//! and the board's own throttling hold; what they change is seen and flagged.

use super::grid::Key;
use super::rig::{Batch, Rig};
use crate::board::jetson::{Jetson, JetsonError};
use crate::env::answers::{Answered, Answers};
use crate::env::board::Board;
use crate::llm::{Depth, Engine, EngineError, EngineOptions, Model, Prompt, Request, Sampling};
use crate::measure::energy::Energy;
use controller_core::action::Setting;
use controller_core::rng::Pcg32;
use controller_core::supervisor::Limits;
use controller_core::telemetry::Reading;
use controller_core::time::Duration;
use controller_core::units::{MilliCelsius, MilliRequestsPerSecond};
use std::sync::atomic::{AtomicBool, Ordering};

/// Equal requests: random prompts of one length, answers of one length whatever the model says.
pub struct EqualRequests<'a> {
    engine: Engine<'a>,
    requests: Vec<Request>,
    layers: u32,
    stop: &'a AtomicBool,
}

impl<'a> EqualRequests<'a> {
    /// Requests of `prompt_tokens` and `answer_tokens` each, for batches of at most `most`.
    ///
    /// # Errors
    /// A model that takes no such batch.
    pub fn new(
        model: &'a Model,
        (prompt_tokens, answer_tokens): (u32, u32),
        most: u16,
        threads: u32,
        seed: u64,
        stop: &'a AtomicBool,
    ) -> Result<Self, EngineError> {
        let usual = EngineOptions::default();
        let options = EngineOptions {
            max_batch: u32::from(most),
            sequence_tokens: prompt_tokens.saturating_add(answer_tokens),
            prefill_tokens: usual.prefill_tokens.max(u32::from(most)),
            threads,
            ..usual
        };
        let engine = Engine::new(model, &options)?;
        let mut random = Pcg32::new(seed);
        // A vocabulary of nothing but end tokens does not exist; the bound keeps the search finite all the same.
        let mut token = || {
            let mut drawn = std::iter::repeat_with(|| random.below(model.n_vocab()).cast_signed()).take(1000);
            drawn.find(|token| !model.ends_text(*token)).unwrap_or(0)
        };
        let request = |_| Request {
            prompt: Prompt::Tokens((0..prompt_tokens).map(|_| token()).collect()),
            max_new_tokens: answer_tokens,
            sampling: Sampling::Greedy,
            stop: Vec::new(),
            full_length: true,
        };
        Ok(Self { engine, requests: (0..most).map(request).collect(), layers: model.n_layer(), stop })
    }

    /// The same where the knob's deepest value is not the model's number of layers: it means all of them all the same.
    #[must_use]
    pub fn full_from(self, depth: u16) -> Self {
        Self { layers: self.layers.min(u32::from(depth)), ..self }
    }
}

impl Answers for EqualRequests<'_> {
    type Error = EngineError;

    fn answer(
        &mut self,
        requests: &[usize],
        depth: u16,
        prefilled: &mut dyn FnMut(u32),
    ) -> Result<Answered, EngineError> {
        let depth = u32::from(depth);
        let depth = if depth >= self.layers { Depth::Full } else { Depth::Layers(depth) };
        let batch: Vec<Request> = requests.iter().filter_map(|number| self.requests.get(*number).cloned()).collect();
        let prefill = self.engine.prefill(&batch, depth)?;
        prefilled(prefill.report().prompt_tokens.iter().sum());
        let report = prefill.decode(self.stop)?;
        let generated_tokens = u32::try_from(report.generated_tokens()).unwrap_or(u32::MAX);
        Ok(Answered { active: report.active, generated_tokens, ..Answered::default() })
    }
}

/// Why a batch was not measured.
#[derive(Debug, thiserror::Error)]
pub enum RealRigError<A: std::error::Error + 'static> {
    /// Clock or fan cannot be set.
    #[error(transparent)]
    Board(#[from] JetsonError),
    /// The language model failed.
    #[error("the batch was not answered: {0}")]
    Answers(#[source] A),
    /// Power was not sampled.
    #[error("no sample of power during the batch, so its energy is unknown; `energyllm board watch` shows what hangs")]
    Blind,
    /// It stays hot.
    #[error(
        "the board has not cooled below {below_c:.0} C in {minutes} minutes at its lowest clock with its fan full; improve its \
         cooling and start the same command again"
    )]
    Hot {
        /// Below this a batch may start, C.
        below_c: f64,
        /// How long it was waited for.
        minutes: u64,
    },
    /// It says no temperature.
    #[error("the board has said no temperature for {seconds} s; `energyllm board doctor` says more")]
    NoTemperature {
        /// How long it was waited for.
        seconds: u64,
    },
}

/// A temperature this old is none.
const MAX_AGE: Duration = Duration::from_secs(3);
/// Longest wait for a temperature, s.
const BLIND_S: u64 = 15;
/// Longest wait for a board to cool, s.
const HOT_S: u64 = 1_800;
/// Between two looks at it, s.
const LOOK_S: f64 = 1.0;

/// Waits until a batch may start that no supervisor looks after: at the hold's threshold it waits for the thermal cap's.
///
/// # Errors
/// The board stays hot, says no temperature, or cannot be set.
pub fn wait_until_cool<E: std::error::Error>(
    board: &mut Jetson,
    limits: &Limits,
    stop: &AtomicBool,
) -> Result<(), RealRigError<E>> {
    let below = |margin_mk: u16| MilliCelsius(limits.temperature.0.saturating_sub(i32::from(margin_mk)));
    let (too_hot, cool) = (below(limits.hold_margin_mk), below(limits.soft_margin_mk));
    let (mut bar, mut hot_since, mut blind_since) = (too_hot, None, None);
    while !stop.load(Ordering::Relaxed) {
        let now = board.now();
        let seconds = |since: &mut Option<_>| now.since(*since.get_or_insert(now)).micros() / 1_000_000;
        match temperature(board) {
            Some(temperature) if temperature < bar => return Ok(()),
            Some(_) => {
                (bar, blind_since) = (cool, None);
                if seconds(&mut hot_since) >= HOT_S {
                    return Err(RealRigError::Hot { below_c: f64::from(cool.0) / 1000.0, minutes: HOT_S / 60 });
                }
            }
            None if seconds(&mut blind_since) >= BLIND_S => {
                return Err(RealRigError::NoTemperature { seconds: BLIND_S });
            }
            None => {}
        }
        // The lowest clock, as for a hold.
        board.set_fan(u8::MAX)?;
        board.idle(LOOK_S)?;
    }
    Ok(())
}

fn temperature(board: &mut Jetson) -> Option<MilliCelsius> {
    let reading: Reading<MilliCelsius> = board.telemetry(0, MilliRequestsPerSecond(0)).temperature;
    reading.fresh(board.now(), MAX_AGE)
}

/// The rig.
pub struct RealRig<'a, A> {
    board: Jetson<'a>,
    answers: A,
    clocks_khz: Vec<u32>,
    limits: Limits,
    gap_s: f64,
    stop: &'a AtomicBool,
}

impl<'a, A: Answers> RealRig<'a, A>
where
    A::Error: std::error::Error + Send + Sync + 'static,
{
    /// A board with somebody who answers. `clocks_khz` is what a grid's indices count in.
    pub const fn new(
        board: Jetson<'a>,
        answers: A,
        clocks_khz: Vec<u32>,
        limits: Limits,
        gap_s: f64,
        stop: &'a AtomicBool,
    ) -> Self {
        Self { board, answers, clocks_khz, limits, gap_s, stop }
    }

    /// The board, when the work is done.
    pub fn into_board(self) -> Jetson<'a> {
        self.board
    }

    fn temperature_c(&mut self) -> Option<f64> {
        temperature(&mut self.board).map(|temperature| f64::from(temperature.0) / 1000.0)
    }
}

impl<A: Answers> Rig for RealRig<'_, A>
where
    A::Error: std::error::Error + Send + Sync + 'static,
{
    type Error = RealRigError<A::Error>;

    /// Nothing: what the rows before have left has to settle, which the warm-up is for.
    fn begin(&mut self, _: &Key) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The lengths are those that the answers were made for. A batch whose clock was not in force in time is run once more:
    /// a machine that was busy for a moment is late once, a cap is there the second time, too.
    fn batch(&mut self, setting: &Setting, _: u32, _: u32) -> Result<Batch, Self::Error> {
        let batch = self.once(setting)?;
        if batch.as_set || self.stop.load(Ordering::Relaxed) { Ok(batch) } else { self.once(setting) }
    }

    fn clocks_khz(&self) -> &[u32] {
        &self.clocks_khz
    }

    fn is_off(&self) -> bool {
        false
    }
}

impl<A: Answers> RealRig<'_, A>
where
    A::Error: std::error::Error + Send + Sync + 'static,
{
    fn once(&mut self, setting: &Setting) -> Result<Batch, RealRigError<A::Error>> {
        wait_until_cool(&mut self.board, &self.limits, self.stop)?;
        let start = self.board.now();
        self.board.idle(self.gap_s)?;
        let requests: Vec<usize> = (0..usize::from(setting.batch)).collect();
        self.board.begin_prefill(setting)?;
        let (board, mut switched, mut before_c) = (&mut self.board, Ok(()), None);
        let mut prefilled = |tokens| {
            switched = board.begin_decode(setting, setting.batch, tokens);
            before_c = board.die_c();
        };
        let answered = self.answers.answer(&requests, setting.depth, &mut prefilled);
        let answered = answered.map_err(RealRigError::Answers)?;
        switched?;
        self.board.end_decode(setting, &answered.active)?;
        let end = self.board.now();
        let after_c = self.temperature_c();
        let phases = self.board.phases().ok_or(RealRigError::Blind)?;
        let _ = self.board.measure();
        let seconds = |span: Duration| span.micros() as f64 / 1e6;
        // A phase between two samples is on the line between them; one before the first sample has the mean of the other.
        let power_w = |energy: Energy| energy.mean_mw().map(|mean| mean / 1000.0);
        let (prefill_w, decode_w) = (power_w(phases.prefill_energy), power_w(phases.decode_energy));
        let prefill_w = prefill_w.or(decode_w).ok_or(RealRigError::Blind)?;
        let decode_w = decode_w.unwrap_or(prefill_w);
        let (prefill_s, decode_s) = (seconds(phases.prefill), seconds(phases.decode));
        let known: Vec<f64> = before_c.into_iter().chain(after_c).collect();
        Ok(Batch {
            prefill_s,
            decode_s,
            whole_s: seconds(end.since(start)),
            prefill_j: prefill_w * prefill_s,
            decode_j: decode_w * decode_s,
            fan_j: None,
            temperature_c: known.iter().sum::<f64>() / known.len() as f64,
            as_set: phases.as_set,
        })
    }
}
