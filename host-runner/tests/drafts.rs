//! Drafts, of a model's own first layers or of another model: what comes out is what comes out without them.
//!
//! Random weights: the text means nothing, and drafts are rarely right.

mod support;

use host_runner::llm::{Depth, Drafter, Engine, EngineError, EngineOptions, Model, Pass, Price, Sampling, Speculation};
use std::path::Path;
use std::time::Duration;
use support::decoding::{GO_ON, OPTIONS, plain, questions, requests, texts, tiny};
use support::{Shape, Zoo, load};

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
