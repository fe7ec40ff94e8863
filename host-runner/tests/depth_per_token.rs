//! Decoding that does not run every token through every layer: speculation, gates, and requests that come and go.
//!
//! Random weights: the text means nothing, and drafts are rarely right. What counts is what comes out of it.

mod support;

use host_runner::llm::{
    Answer, Deeper, Depth, Drafter, Engine, EngineError, EngineOptions, Gate, Model, Pass, Precision, Price, Prompt,
    Request, Rows, Sampling, Speculation, StopReason,
};
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use support::{Shape, Zoo, load};

const OPTIONS: EngineOptions = EngineOptions {
    max_batch: 4,
    sequence_tokens: 128,
    prefill_tokens: 64,
    threads: 1,
    precision: Precision::Single,
    rows: Rows::Together,
};

static GO_ON: AtomicBool = AtomicBool::new(false);

fn requests(count: i32, salt: i32) -> Vec<Request> {
    let request = |i: i32| Request {
        prompt: Prompt::Tokens((0..3 + i * 5).map(|j| 3 + (j * 37 + (i + salt) * 101) % 256).collect()),
        max_new_tokens: 9 + 7 * i.unsigned_abs(),
        sampling: Sampling::Greedy,
        stop: vec![],
        full_length: false,
    };
    (0..count).map(request).collect()
}

fn tiny() -> Model {
    load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny-llama/tiny-llama-f16.gguf")))
}

fn questions(model: &Model) -> Vec<Request> {
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/prompts/questions.jsonl"));
    let prompts = host_runner::run::prompts::read(file).unwrap();
    let ask = |text: &str| Request::greedy(host_runner::llm::prompt::render(model, text).unwrap(), 48);
    prompts[..4].iter().map(|prompt| ask(&prompt.text)).collect()
}

fn plain(engine: &mut Engine, requests: &[Request]) -> Vec<Answer> {
    engine.prefill(requests, Depth::Full).unwrap().decode(&GO_ON).unwrap().answers
}

fn texts(answers: &[Answer]) -> Vec<(Vec<i32>, StopReason)> {
    answers.iter().map(|answer| (answer.tokens.clone(), answer.stop)).collect()
}

#[test]
fn drafts_change_nothing() {
    let zoo = Zoo::new();
    let random = zoo.model(&Shape { layers: 8, ..Shape::default() }, 8);
    let tiny = tiny();
    for model in [&random, &tiny] {
        let mut engine = Engine::new(model, &OPTIONS).unwrap();
        let all = [requests(4, 0), requests(1, 5), questions(&tiny)];
        for batch in if model.n_layer() == 8 { &all[..2] } else { &all[2..] } {
            let expected = plain(&mut engine, batch);
            for (draft_layers, draft_tokens) in [(1, 1), (3, 4), (7, 9), (7, 2)] {
                let mut drafter = Drafter::new(Speculation { draft_layers, draft_tokens, always: true });
                let prefilled = engine.prefill(batch, Depth::Full).unwrap();
                let answers = prefilled.speculate(&mut drafter, &GO_ON).unwrap().answers;
                assert_eq!(texts(&answers), texts(&expected), "{draft_tokens} drafts by {draft_layers} layers");
                let statistics = drafter.statistics();
                assert!(statistics.rounds > 0 && statistics.accepted <= statistics.drafted);
                assert_eq!(statistics.repeated, 0, "the cells never move");
                if model.n_layer() == 16 && draft_layers == 7 {
                    assert!(statistics.acceptance() > 0.5, "{statistics:?}");
                }
            }
        }
    }
}

/// Another model drafts: the texts are those of the one that checks, whatever the other one thinks.
#[test]
fn drafts_of_another_model_change_nothing() {
    let zoo = Zoo::new();
    let shape = Shape { layers: 8, ..Shape::default() };
    // Half of the same model, and a stranger.
    let (random, half, stranger) =
        (zoo.model(&shape, 8), zoo.model(&shape, 4), zoo.model(&Shape { seed: 99, ..shape }, 2));
    let (tiny, quantized) =
        (tiny(), load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny-llama/tiny-llama-q8_0.gguf"))));
    let mut sampled = questions(&tiny);
    for request in &mut sampled {
        request.sampling = Sampling::Nucleus { temperature: 2.0, top_p: 0.95, seed: 7 };
    }
    let cases = [
        (&random, &half, requests(4, 0)),
        (&random, &stranger, requests(4, 0)),
        (&tiny, &quantized, questions(&tiny)),
        (&tiny, &quantized, sampled),
    ];
    for (number, (model, small, batch)) in cases.into_iter().enumerate() {
        let (mut engine, mut small) = (Engine::new(model, &OPTIONS).unwrap(), Engine::new(small, &OPTIONS).unwrap());
        let expected = plain(&mut engine, &batch);
        let draft_layers = small.model().n_layer();
        for draft_tokens in [1, 4, 9] {
            let mut drafter = Drafter::new(Speculation { draft_layers, draft_tokens, always: true });
            let prefilled = engine.prefill(&batch, Depth::Full).unwrap();
            let answers = prefilled.speculate_with(&mut small, &mut drafter, &GO_ON).unwrap().answers;
            assert_eq!(texts(&answers), texts(&expected), "case {number}, {draft_tokens} drafts");
            let acceptance = drafter.statistics().acceptance();
            assert!(
                number != 2 || draft_tokens > 1 || acceptance > 0.8,
                "a copy in 8 bits is nearly always right: {acceptance}"
            );
        }
    }
    // At less than full depth too, and with what does not fit.
    let (mut engine, mut small) = (Engine::new(&random, &OPTIONS).unwrap(), Engine::new(&half, &OPTIONS).unwrap());
    let batch = requests(2, 3);
    let expected = engine.prefill(&batch, Depth::Layers(6)).unwrap().decode(&GO_ON).unwrap().answers;
    let mut drafter = Drafter::new(Speculation { draft_layers: 2, draft_tokens: 3, always: true });
    let answers = engine.prefill(&batch, Depth::Layers(6)).unwrap().speculate_with(&mut small, &mut drafter, &GO_ON);
    assert_eq!(texts(&answers.unwrap().answers), texts(&expected));

    let mut refused = |small: &Model, options: EngineOptions| {
        let mut small = Engine::new(small, &options).unwrap();
        let prefilled = engine.prefill(&batch, Depth::Full).unwrap();
        prefilled.speculate_with(&mut small, &mut drafter, &GO_ON).unwrap_err()
    };
    let other = refused(&tiny, OPTIONS);
    assert!(matches!(other, EngineError::VocabularySize { ours: 259, .. }), "{other}");
    let smaller = refused(&half, EngineOptions { max_batch: 1, ..OPTIONS });
    assert!(matches!(smaller, EngineError::DraftEngine { sequences: 4, tokens: 128 }), "{smaller}");
    let tokens = zoo.path("other-tokens.gguf");
    let mut file = support::gguf(&Shape { vocab: 300, ..shape }, 2);
    let at = file.windows(7).position(|window| window == b"word270").unwrap();
    file[at..at + 7].copy_from_slice(b"other00");
    std::fs::write(&tokens, file).unwrap();
    let words = zoo.model(&Shape { vocab: 300, seed: 3, ..shape }, 2);
    let mut engine = Engine::new(&words, &OPTIONS).unwrap();
    let mut small = Engine::new(Box::leak(Box::new(load(&tokens))), &OPTIONS).unwrap();
    let prefilled = engine.prefill(&batch, Depth::Full).unwrap();
    let renamed = prefilled.speculate_with(&mut small, &mut drafter, &GO_ON).unwrap_err();
    assert!(matches!(renamed, EngineError::OtherVocabulary { token: 270, .. }), "{renamed}");
}

/// The sampler draws once for each token, from the same numbers.
#[test]
fn drafts_change_no_draw() {
    let model = tiny();
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    let mut batch = questions(&model);
    for request in &mut batch {
        request.sampling = Sampling::Nucleus { temperature: 3.0, top_p: 0.95, seed: 7 };
    }
    let expected = plain(&mut engine, &batch);
    let mut drafter = Drafter::new(Speculation { draft_layers: 8, draft_tokens: 4, always: true });
    let answers = engine.prefill(&batch, Depth::Full).unwrap().speculate(&mut drafter, &GO_ON).unwrap().answers;
    assert_eq!(texts(&answers), texts(&expected));
}

#[test]
fn drafting_stops_where_it_does_not_pay() {
    let zoo = Zoo::new();
    let model = zoo.model(&Shape { layers: 8, ..Shape::default() }, 8);
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    // One layer of a random model guesses next to nothing, and nine guesses cost more than a token.
    let mut drafter = Drafter::new(Speculation { draft_layers: 1, draft_tokens: 9, always: false });
    let mut batch = requests(1, 2);
    batch[0].max_new_tokens = 100;
    for _ in 0..3 {
        engine.prefill(&batch, Depth::Full).unwrap().speculate(&mut drafter, &GO_ON).unwrap();
    }
    let statistics = drafter.statistics();
    assert!(drafter.stopped_after().is_some(), "{statistics:?}, gain {:?}", drafter.gain());
    assert!(statistics.plain_steps > 2 * statistics.rounds, "{statistics:?}");
}

/// By a price, both ways are compared round by round, whatever the clock of this machine says.
#[test]
fn a_price_decides_whether_drafting_goes_on() {
    let model = tiny();
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    let batch = questions(&model);
    let expected = plain(&mut engine, &batch);
    let mut stopped = |price: fn(Pass) -> Duration| {
        let speculation = Speculation { draft_layers: 8, draft_tokens: 4, always: false };
        let mut drafter = Drafter::priced(speculation, Price::new(price));
        for _ in 0..8 {
            let prefilled = engine.prefill(&batch, Depth::Full).unwrap();
            assert_eq!(texts(&prefilled.speculate(&mut drafter, &GO_ON).unwrap().answers), texts(&expected));
        }
        assert!(drafter.statistics().rounds >= 12, "{:?}", drafter.statistics());
        drafter.stopped_after()
    };
    // A board where launches count, whatever they carry; and one where each token costs, so that a wrong draft is lost.
    assert_eq!(stopped(|pass| Duration::from_micros(10 * u64::from(pass.layers))), None);
    assert_eq!(stopped(|pass| Duration::from_micros(u64::from((2 + pass.layers) * pass.tokens))), Some(12));
}

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

/// What the model did is counted pass by pass.
#[test]
fn passes_are_what_was_run() {
    let zoo = Zoo::new();
    let model = zoo.model(&Shape { layers: 8, ..Shape::default() }, 8);
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    let batch = requests(1, 0);
    for depth in [5, 8] {
        let report = engine.prefill(&batch, Depth::Layers(depth)).unwrap().decode(&GO_ON).unwrap();
        assert_eq!(report.passes, vec![Pass { tokens: 1, layers: depth }; report.active.len()]);
        let mut drafter = Drafter::new(Speculation { draft_layers: 3, draft_tokens: 2, always: true });
        let checked = engine.prefill(&batch, Depth::Layers(depth)).unwrap().speculate(&mut drafter, &GO_ON).unwrap();
        assert_eq!(texts(&checked.answers), texts(&report.answers), "drafts change nothing at depth {depth}");
        let round = [(1, 3), (1, 3), (1, 3), (3, depth - 3)].map(|(tokens, layers)| Pass { tokens, layers });
        assert_eq!(checked.passes[..4], round);
        let rounds = drafter.statistics().rounds;
        assert_eq!(checked.passes.iter().filter(|pass| pass.layers == depth - 3).count() as u64, rounds);
    }
}

/// Sequences that run alone answer as if nobody else were there, whatever the weights and the sampling, in batches and in
/// sessions, at every depth. (`F16` weights: together, their sums differ in the last bits.)
#[test]
fn sequences_that_run_alone_do_not_notice_others() {
    let model = tiny();
    let mut engine = Engine::new(&model, &EngineOptions { rows: Rows::Alone, ..OPTIONS }).unwrap();
    let mut batch = questions(&model);
    for (request, seed) in batch.iter_mut().zip(0..) {
        request.sampling = Sampling::Nucleus { temperature: 3.0, top_p: 0.99, seed };
    }
    for depth in [9, 16] {
        let together = engine.prefill(&batch, Depth::Layers(depth)).unwrap().decode(&GO_ON).unwrap();
        assert!(together.passes.iter().all(|pass| pass.tokens == 1));
        for (request, answer) in batch.iter().zip(&together.answers) {
            let one = engine.prefill(std::slice::from_ref(request), Depth::Layers(depth)).unwrap();
            // Entropies to the bit.
            assert_eq!(&one.decode(&GO_ON).unwrap().answers[0], answer);
        }
        let mut session = engine.session();
        let tickets: Vec<_> = batch.iter().map(|r| session.submit(r, Depth::Layers(depth)).unwrap()).collect();
        let mut ended = HashMap::new();
        while ended.len() < batch.len() {
            ended.extend(session.step().unwrap());
        }
        for (ticket, answer) in tickets.iter().zip(&together.answers) {
            assert_eq!(&ended[ticket], answer);
        }
        // Drafts and gates too.
        let gate = Gate { first: 4, threshold: 0.5, ..GATE };
        let gated = engine.prefill(&batch, Depth::Layers(depth)).unwrap().decode_gated(&gate, &GO_ON).unwrap();
        for (request, answer) in batch.iter().zip(&gated.decode.answers) {
            let one = engine.prefill(std::slice::from_ref(request), Depth::Layers(depth)).unwrap();
            assert_eq!(&one.decode_gated(&gate, &GO_ON).unwrap().decode.answers[0], answer);
        }
    }
}

#[test]
fn requests_come_and_go() {
    let model = tiny();
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    let mut all = Vec::new();
    for (number, mut request) in (0_u32..40).zip(questions(&model).into_iter().cycle()) {
        if number % 3 == 0 {
            request.sampling = Sampling::Nucleus { temperature: 2.0, top_p: 0.9, seed: number };
        }
        request.max_new_tokens = 4 + number % 37;
        all.push((request, Depth::Layers(8 + number % 9)));
    }
    let alone: Vec<Answer> = all
        .iter()
        .map(|(request, depth)| {
            let prefilled = engine.prefill(std::slice::from_ref(request), *depth).unwrap();
            prefilled.decode(&GO_ON).unwrap().answers.remove(0)
        })
        .collect();

    let mut session = engine.session();
    let (mut waiting, mut tickets, mut ended) = (all.iter().enumerate(), HashMap::new(), HashMap::new());
    let mut steps = 0;
    while ended.len() < all.len() {
        while session.free() > 0
            && let Some((number, (request, depth))) = waiting.next()
        {
            tickets.insert(session.submit(request, *depth).unwrap(), number);
        }
        if session.free() == 0 {
            assert!(matches!(session.submit(&all[0].0, Depth::Full), Err(EngineError::Busy { limit: 4 })));
        }
        // Every tenth request is cancelled on its way.
        for (&ticket, _) in tickets.iter().filter(|(_, number)| **number % 10 == 9) {
            session.cancel(ticket);
        }
        for (ticket, answer) in session.step().unwrap() {
            ended.insert(tickets.remove(&ticket).unwrap(), answer);
        }
        steps += 1;
        assert!(steps < 2000, "{} of {} requests ended", ended.len(), all.len());
    }
    assert_eq!(session.free(), 4);
    for (number, alone) in alone.iter().enumerate() {
        let answer = &ended[&number];
        if number % 10 == 9 {
            assert!(alone.tokens.starts_with(&answer.tokens), "request {number}");
        } else {
            assert_eq!((&answer.text, answer.stop), (&alone.text, alone.stop), "request {number}");
        }
    }
}

#[test]
fn answers_end_at_stop_texts() {
    let model = tiny();
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    let mut batch = questions(&model);
    let free = plain(&mut engine, &batch);
    let words: Vec<&str> = free[0].text.split(' ').collect();
    batch[0].stop = vec!["not there".into(), words[2].into()];
    let stopped = plain(&mut engine, &batch);
    assert_eq!(stopped[0].stop, StopReason::StopText);
    assert_eq!(stopped[0].text, free[0].text[..free[0].text.find(words[2]).unwrap()]);
    assert_eq!(stopped[1], free[1]);
}
