//! Gates: each token leaves where the model is sure of it.
//!
//! Most weights are random, and so is the text. What counts is that whoever goes through all layers reads exact keys and
//! values.

mod support;

use host_runner::llm::{Deeper, Depth, Drafter, Engine, EngineError, Gate, Prompt, Request, Speculation};
use support::decoding::{GO_ON, OPTIONS, plain, questions, requests, texts, tiny};
use support::{Shape, Zoo};

const GATE: Gate = Gate { first: 4, second: None, threshold: 0.0, max_pending: 8, deeper: Deeper::Resumed };

#[test]
fn a_closed_gate_is_the_whole_model() {
    let zoo = Zoo::new();
    let model = zoo.model(&Shape { layers: 8, ..Shape::default() }, 8);
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    let batch = requests(4, 1);
    let expected = plain(&mut engine, &batch);
    for gate in [GATE, Gate { second: Some(6), ..GATE }, Gate { threshold: 9.0, max_pending: 0, ..GATE }] {
        let report = engine.prefill(&batch, Depth::Full).unwrap().decode_gated(&gate, &GO_ON).unwrap();
        assert_eq!(texts(&report.decode.answers), texts(&expected));
        assert_eq!(report.chosen[..2], [0, 0]);
    }
}

/// Whoever goes through all layers chooses like a model that has always done so: every key and value it reads is exact,
/// though most tokens before it had left early.
#[test]
fn pending_tokens_are_finished_exactly() {
    let zoo = Zoo::new();
    let model = zoo.model(&Shape { layers: 8, ..Shape::default() }, 8);
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    for gate in [
        Gate { threshold: 9.0, max_pending: 3, ..GATE },
        Gate { threshold: 4.2, max_pending: 8, ..GATE },
        Gate { first: 3, second: Some(6), threshold: 4.2, max_pending: 5, deeper: Deeper::Resumed },
    ] {
        let batch = requests(4, 3);
        let report = engine.prefill(&batch, Depth::Full).unwrap().decode_gated(&gate, &GO_ON).unwrap();
        let [first, second, all] = report.chosen;
        assert!(first > 0 && all > 0, "{gate:?}: {report:?}");
        assert_eq!(second > 0, gate.second.is_some(), "{gate:?}: {report:?}");
        assert_eq!(report.repeated, 0, "the cells never move");
        // Read the finished answers at full depth: wherever the gated run went through all layers, the entropies agree.
        let mut agreeing = 0;
        for (request, answer) in batch.iter().zip(&report.decode.answers) {
            let Prompt::Tokens(prompt) = &request.prompt else { unreachable!() };
            for (place, &entropy) in answer.entropies.iter().enumerate() {
                let tokens = prompt.iter().chain(&answer.tokens[..place]).copied().collect();
                let one = Request { prompt: Prompt::Tokens(tokens), max_new_tokens: 1, ..request.clone() };
                let exact = &plain(&mut engine, &[one])[0];
                let same = exact.tokens.first() == answer.tokens.get(place);
                agreeing += u64::from(same && (exact.entropies[0] - entropy).abs() < 1e-4);
            }
        }
        // And the first token of each answer comes from the prefill.
        assert!(agreeing >= all + 4, "{gate:?}: {agreeing} of {all} + 4 tokens are those of the whole model");
    }
}

#[test]
fn a_gate_saves_layers_and_keeps_answers() {
    let model = tiny();
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    let batch = questions(&model);
    let expected = plain(&mut engine, &batch);
    let gate = Gate { first: 8, second: Some(12), threshold: 0.05, max_pending: 16, deeper: Deeper::Resumed };
    let report = engine.prefill(&batch, Depth::Full).unwrap().decode_gated(&gate, &GO_ON).unwrap();
    assert_eq!(texts(&report.decode.answers), texts(&expected));
    assert!(report.mean_layers() < 14.0, "{report:?}");
}

#[test]
fn what_cannot_be_drafted_or_gated_is_refused() {
    let zoo = Zoo::new();
    let model = zoo.model(&Shape { layers: 8, ..Shape::default() }, 8);
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    let batch = requests(4, 0);
    let mut speculate = |draft_layers, draft_tokens, depth| {
        let mut drafter = Drafter::new(Speculation { draft_layers, draft_tokens, always: true });
        engine.prefill(&batch, depth).unwrap().speculate(&mut drafter, &GO_ON).unwrap_err()
    };
    // All the layers that read the prompt check, and they must be more.
    assert!(matches!(speculate(4, 2, Depth::Layers(4)), EngineError::PartialDepth { asked: 4, limit: 3, .. }));
    for draft_layers in [0, 8, 9] {
        assert!(matches!(speculate(draft_layers, 2, Depth::Full), EngineError::PartialDepth { .. }));
    }
    // Four sequences of 16 tokens fill a run of 64, and one of each is no draft.
    for draft_tokens in [0, 16] {
        assert!(matches!(speculate(4, draft_tokens, Depth::Full), EngineError::RunLimit { limit: 15, .. }));
    }
    let mut gated = |gate: Gate| engine.prefill(&batch, Depth::Full).unwrap().decode_gated(&gate, &GO_ON).unwrap_err();
    for first in [0, 8] {
        assert!(matches!(gated(Gate { first, ..GATE }), EngineError::PartialDepth { .. }));
    }
    for second in [0, 4, 8] {
        assert!(matches!(gated(Gate { second: Some(second), ..GATE }), EngineError::PartialDepth { .. }));
    }
    for threshold in [f32::NAN, -1.0] {
        assert!(matches!(gated(Gate { threshold, ..GATE }), EngineError::Threshold { .. }));
    }
    assert!(matches!(gated(Gate { max_pending: 64, ..GATE }), EngineError::RunLimit { limit: 63, .. }));
}

/// Approximate keys and values: nothing waits, the layers above are run for the unsure alone, and the text stays close.
#[test]
fn propagation_saves_the_layers_that_exactness_pays_for() {
    let model = tiny();
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    let batch = questions(&model);
    let expected = plain(&mut engine, &batch);
    let mut gated = |deeper| {
        let gate = Gate { first: 8, second: Some(12), threshold: 0.05, max_pending: 16, deeper };
        engine.prefill(&batch, Depth::Full).unwrap().decode_gated(&gate, &GO_ON).unwrap()
    };
    let (exact, close) = (gated(Deeper::Resumed), gated(Deeper::Propagated));
    assert_eq!((exact.propagated, close.repeated), (0, 0));
    // The last token of an answer needs no keys.
    let left = close.chosen[0] + close.chosen[1];
    assert!(close.propagated <= left && close.propagated + 4 >= left, "{close:?}");
    // Each token ran as deep as it was chosen, and no deeper.
    let [first, second, all] = close.chosen;
    assert_eq!(close.decode.layer_runs(), first * 8 + second * 12 + all * 16);
    assert!(close.mean_layers() < exact.mean_layers() - 2.0);
    assert_eq!(texts(&close.decode.answers), texts(&expected), "on these four questions it is close enough");
}
