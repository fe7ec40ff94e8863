//! Gates against what they promise: whenever no token of a sequence waits, its keys and values in every layer are those of
//! a context that has always run all layers.

use super::*;
use crate::llm::engine::{EngineOptions, Rows};
use crate::llm::ffi::{ContextShape, Precision, TappedContext};
use crate::llm::model::{Model, ModelOptions};
use crate::llm::random::Shape;
use crate::llm::request::{Depth, Prompt, Request};
use proptest::prelude::*;

const LAYERS: u32 = 6;
const SEQUENCES: u32 = 3;
const TOKENS: u32 = 64;
/// Several tokens at once are summed in another order than one by one. Old or approximate keys are apart by 0.01 and more.
const TOLERANCE: f32 = 1e-4;

fn model() -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let shape = Shape { layers: LAYERS, ..Shape::default() };
    shape.write(LAYERS, &mut std::fs::File::create(&path).unwrap()).unwrap();
    Model::load(&path, &ModelOptions::default()).unwrap()
}

fn engine(model: &Model, rows: Rows) -> Engine<'_> {
    let (max_batch, sequence_tokens, precision) = (SEQUENCES, TOKENS, Precision::Single);
    let options = EngineOptions { max_batch, sequence_tokens, precision, rows, ..EngineOptions::default() };
    Engine::new(model, &options).unwrap()
}

/// A context of the same shape that only ever runs all layers, one token after the other.
fn plain(model: &Model) -> TappedContext<'_> {
    let (sequences, sequence_tokens, precision) = (SEQUENCES, TOKENS, Precision::Single);
    let shape = ContextShape { sequences, sequence_tokens, batch_tokens: 64, threads: 1, precision };
    TappedContext::new(model, shape).unwrap()
}

fn requests(count: i32, salt: i32) -> Vec<Request> {
    let request = |nth: i32| Request {
        prompt: Prompt::Tokens((0..2 + nth * 3).map(|at| 3 + (at * 37 + (nth + salt) * 101) % 256).collect()),
        full_length: true,
        ..Request::greedy("", 20 - 7 * nth.unsigned_abs())
    };
    (0..count).map(request).collect()
}

/// How far the cache of the sequence at `place` is from what the whole model writes, token by token.
fn apart(engine: &mut Engine, fresh: &mut TappedContext, sequence: &Sequence, place: u32) -> f32 {
    fresh.clear();
    for position in 0..engine.context().positions(place) {
        engine.batch.clear();
        engine.batch.push(sequence.token_at(position), position, place, true);
        fresh.decode(&mut engine.batch).unwrap();
    }
    engine.context().cache_of(place).difference(&fresh.cache_of(place))
}

/// Runs a gate and compares after every step. Returns the comparisons by whether tokens were waiting, and what was done.
fn run(
    engine: &mut Engine,
    fresh: &mut TappedContext,
    gate: &Gate,
    requests: &[Request],
) -> Result<([Vec<f32>; 2], Counts), EngineError> {
    let prefilled = engine.prefill(requests, Depth::Full)?;
    let (Prefilled { engine, sequences: mut running, .. }, mut ended) = (prefilled, Vec::new());
    let (mut differences, mut counts) = ([Vec::new(), Vec::new()], Counts::default());
    while !running.is_empty() {
        let together = if engine.options.rows == Rows::Together { running.len() } else { 1 };
        for (running, first) in running.chunks_mut(together).zip(0..) {
            engine.step_gated(&mut Group { running, first, layers: LAYERS }, gate, &mut counts)?;
        }
        for (sequence, place) in running.iter().zip(0..) {
            let waiting = sequence.pending.iter().any(|pending| !pending.tokens.is_empty());
            differences[usize::from(waiting)].push(apart(engine, fresh, sequence, place));
        }
        // Those that have ended leave, and others move to their place with what waits. llama.cpp moves the keys and values
        // in its next run, so they are compared behind that.
        engine.retire(&mut running, &mut ended);
    }
    Ok((differences, counts))
}

/// The comparison sees what it is there to see: tokens that wait have no keys and values above.
#[test]
fn what_waits_is_not_exact() {
    let model = model();
    let gate = Gate { first: 3, second: None, threshold: 9.0, max_pending: 4, deeper: Deeper::Resumed };
    let ([finished, waiting], counts) =
        run(&mut engine(&model, Rows::Together), &mut plain(&model), &gate, &requests(1, 0)).unwrap();
    assert!(finished.len() > 2 && finished.iter().all(|apart| *apart < TOLERANCE), "{finished:?}");
    assert!(waiting.len() > 8 && waiting.iter().all(|apart| *apart > 100.0 * TOLERANCE), "{waiting:?}");
    assert!(counts.chosen[0] > 0 && counts.chosen[2] > 0);
    // Propagated, nothing waits but the last token, which nobody reads, and that is close to exact at no time behind the first
    // token that left.
    let propagated = Gate { deeper: Deeper::Propagated, ..gate };
    let ([finished, waiting], counts) =
        run(&mut engine(&model, Rows::Together), &mut plain(&model), &propagated, &requests(1, 0)).unwrap();
    assert!(waiting.len() <= 1 && finished.iter().all(|apart| *apart > 10.0 * TOLERANCE), "{finished:?}");
    assert!(counts.propagated > 0);
}

fn gates() -> impl Strategy<Value = Gate> {
    (1..LAYERS, 0..LAYERS, 3.0_f32..5.6, 0_u32..7).prop_map(|(first, more, threshold, max_pending)| {
        let second = Some(first + more).filter(|second| (first + 1..LAYERS).contains(second));
        Gate { first, second, threshold, max_pending, deeper: Deeper::Resumed }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    /// Wherever tokens leave, however long they wait and whoever else is there.
    #[test]
    fn what_is_finished_is_exact(gate in gates(), count in 1..=3, salt in 0..1000, alone in any::<bool>()) {
        thread_local! {
            static MODEL: &'static Model = Box::leak(Box::new(model()));
        }
        let model = MODEL.with(|model| *model);
        let rows = if alone { Rows::Alone } else { Rows::Together };
        let (mut engine, mut fresh) = (engine(model, rows), plain(model));
        let ([finished, _], counts) = run(&mut engine, &mut fresh, &gate, &requests(count, salt)).unwrap();
        prop_assert!(counts.chosen.iter().sum::<u64>() > 0);
        for apart in finished {
            prop_assert!(apart < TOLERANCE, "keys or values are apart by {apart}: {gate:?}");
        }
    }
}
