//! The main job: answer prompts in batches under a governor, on a board, and keep a record.
//!
//! | module | role |
//! |---|---|
//! | [`prompts`] | the prompt file |
//! | [`choice`] | the governors by name |
//! | [`control`] | where the decisions are made |
//! | [`decoding`] | drafts and gates, where they are asked for |
//! | [`figure`] | its figure |
//! | [`firmware`] | the firmware as the one who decides |
//! | [`living`] | the real board as training meets it |
//! | [`llama`] | llama.cpp as the one who answers |
//! | [`summary`] | the figures of a run |
//! | [`record`] | what a run leaves behind, line by line |

pub mod choice;
pub mod control;
pub mod decoding;
pub mod figure;
pub mod firmware;
pub mod living;
pub mod llama;
pub mod prompts;
pub mod record;
pub mod summary;

use crate::env::answers::{Answers, DecodeWork};
use crate::env::board::Board;
use crate::env::service::Service;
use crate::link::events::LinkEvent;
use control::Control;
use controller_core::action::Setting;
use controller_core::record::StepRecord;
use prompts::Prompt;
use serde::Serialize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// One answered request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnswerRecord {
    /// Number of the request, from 0.
    pub request: usize,
    /// What was asked.
    pub prompt: String,
    /// What was answered.
    pub text: String,
    /// Whether the expected phrase occurs in the answer; `None` when the prompt has none.
    pub right: Option<bool>,
    /// From arrival to answer, seconds on the board's clock.
    pub response_s: f64,
}

/// One turn as it goes into the record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TurnRecord {
    /// The controller's own record.
    #[serde(flatten)]
    pub step: StepRecord,
    /// Die temperature at the end of the turn, °C: the true one where the board is simulated, else
    /// the last one sensed.
    pub die_c: Option<f64>,
    /// Whether the fan works.
    pub fan_working: bool,
    /// Nobody has measured the power of this turn: energies and reward are made of a stand-in, and count in no figure. Only
    /// where it is so.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub energy_unknown: bool,
    /// What drafts or a gate did; only in a run with one of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_work: Option<DecodeWork>,
    /// The answers of the batch.
    pub answers: Vec<AnswerRecord>,
    /// What happened to the link to the controller in this turn or since the last one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub link: Vec<LinkEvent>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Every request was answered.
    Complete,
    /// The user stopped it.
    Interrupted,
    /// The board shut itself down from heat.
    BoardOff,
    /// The board did not cool down during a long hold: it cannot carry any load.
    CannotCool,
}

/// A hold of this length is given up, seconds on the board's clock.
const LONGEST_HOLD_S: f64 = 1800.0;

/// What a run needs besides its parts.
#[derive(Clone, Copy, Debug)]
pub struct Course<'a> {
    /// The prompts; request n asks prompt n modulo their number.
    pub prompts: &'a [Prompt],
    /// The fan fails when this request arrives.
    pub fan_off_at: Option<usize>,
    /// Set by the user's Ctrl-C.
    pub stop: &'a AtomicBool,
}

/// What a run came to.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub ending: Ending,
    /// Wall-clock nanoseconds of every decision.
    pub decision_ns: Vec<u64>,
    /// True seconds above the limit.
    pub above_limit_s: f64,
    /// Highest true temperature, °C.
    pub peak_c: f64,
    /// How often the governor was measured to be worse than the static setting and replaced by it.
    pub fallbacks: u32,
}

/// Runs until all requests are answered, the user stops, or the board gives up. Every turn goes
/// to `each` as soon as it is settled.
pub fn serve<A: Answers, B: Board>(
    service: &mut Service<A, B>,
    controller: &mut dyn Control,
    course: &Course<'_>,
    mut each: impl FnMut(&TurnRecord) -> std::io::Result<()>,
) -> anyhow::Result<Finished>
where
    A::Error: std::error::Error + Send + Sync + 'static,
{
    let mut decision_ns = Vec::new();
    let mut fan_working = true;
    let mut hold_since = None;
    let ending = loop {
        if course.stop.load(Ordering::Relaxed) {
            break Ending::Interrupted;
        }
        if !service.wait_for_work()? {
            break Ending::Complete;
        }
        if fan_working && course.fan_off_at.is_some_and(|request| service.queue().arrived() > request) {
            fan_working = false;
            service.board_mut().fail_fan()?;
        }
        let telemetry = service.telemetry();
        let (now, before) = (service.now(), Instant::now());
        let decision = controller.step(now, &telemetry)?;
        decision_ns.push(u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX));
        let setting: Setting =
            controller.actions().setting(decision.applied).expect("the supervisor applies actions of the space only");
        let turn = service.execute(&decision, &setting)?;
        if course.stop.load(Ordering::Relaxed) && !decision.hold {
            // The batch was cut off in the middle: it is no measurement.
            break Ending::Interrupted;
        }
        let step = controller.settle(turn.measurement)?;
        let texts = turn.texts.into_iter().map(Some).chain(std::iter::repeat(None));
        let answers = turn.answered.iter().zip(texts).map(|((waiting, response_s), text)| {
            let prompt = &course.prompts[waiting.number % course.prompts.len()];
            let text = text.unwrap_or_default();
            let right = prompt.answer.as_ref().map(|phrase| text.contains(phrase.as_str()));
            AnswerRecord { request: waiting.number, prompt: prompt.text.clone(), text, right, response_s: *response_s }
        });
        let answers = answers.collect();
        let (die_c, decode_work, link) = (service.board().die_c(), turn.work, controller.events());
        let energy_unknown = turn.energy_unknown;
        each(&TurnRecord { step, die_c, fan_working, energy_unknown, decode_work, answers, link })?;
        if service.board().is_off() {
            break Ending::BoardOff;
        }
        hold_since = if decision.hold { hold_since.or(Some(service.now_s())) } else { None };
        if hold_since.is_some_and(|since| service.now_s() - since > LONGEST_HOLD_S) {
            break Ending::CannotCool;
        }
    };
    let board = service.board();
    let fallbacks = controller.replacements()?;
    Ok(Finished { ending, decision_ns, above_limit_s: board.above_limit_s(), peak_c: board.peak_c(), fallbacks })
}
