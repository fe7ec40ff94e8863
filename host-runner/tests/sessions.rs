//! Requests that come and go, in batches and sessions, and do not notice each other.

mod support;

use host_runner::llm::{Answer, Deeper, Depth, Engine, EngineError, EngineOptions, Gate, Rows, Sampling, StopReason};
use std::collections::HashMap;
use support::decoding::{GO_ON, OPTIONS, plain, questions, tiny};

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
        let gate = Gate { first: 4, second: None, threshold: 0.5, max_pending: 8, deeper: Deeper::Resumed };
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
