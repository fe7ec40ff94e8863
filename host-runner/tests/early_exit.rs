//! Early exit against its definition: an exit behind layer `k` is the model that has only its first `k` layers.
//!
//! The references are files with `k` layers, run to their end by llama.cpp with its own head. They are random, so text
//! means nothing here; what counts is that two ways to the same numbers agree, and that other depths do not.

mod support;

use host_runner::llm::{
    Depth, Engine, EngineOptions, Model, Precision, Prompt, Request, Rows, Sampling, StopReason, TokenId,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use support::{Shape, Zoo};

const OPTIONS: EngineOptions = EngineOptions {
    max_batch: 8,
    sequence_tokens: 256,
    prefill_tokens: 32,
    threads: 1,
    precision: Precision::Half,
    rows: Rows::Together,
};

/// Every choice of a batch: request, token, logits. Ordered by request, then by time.
type Choices = Vec<(usize, TokenId, Vec<f32>)>;

fn run(engine: &mut Engine, log: &Rc<RefCell<Choices>>, requests: &[Request], depth: Depth) -> Choices {
    log.borrow_mut().clear();
    engine.prefill(requests, depth).unwrap().decode(&AtomicBool::new(false)).unwrap();
    let mut choices = log.take();
    choices.sort_by_key(|(request, ..)| *request);
    choices
}

fn watched<'model>(model: &'model Model, options: &EngineOptions) -> (Engine<'model>, Rc<RefCell<Choices>>) {
    let log = Rc::new(RefCell::new(Choices::new()));
    let mut engine = Engine::new(model, options).unwrap();
    let sink = Rc::clone(&log);
    engine.watch(move |chosen| sink.borrow_mut().push((chosen.request, chosen.token, chosen.logits.to_vec())));
    (engine, log)
}

fn request(prompt_tokens: i32, max_new_tokens: u32, salt: i32) -> Request {
    let prompt = Prompt::Tokens((0..prompt_tokens).map(|i| 3 + (i * 37 + salt * 101) % 256).collect());
    Request { prompt, max_new_tokens, sampling: Sampling::Greedy, stop: vec![], full_length: false }
}

/// Eight prompts, one longer than a prefill step, three of equal length, and answers that end in no particular order.
fn batch() -> Vec<Request> {
    [(5, 9), (17, 3), (100, 7), (17, 12), (1, 1), (30, 5), (17, 12), (64, 2)]
        .into_iter()
        .zip(0..)
        .map(|((prompt_tokens, max_new_tokens), salt)| request(prompt_tokens, max_new_tokens, salt))
        .collect()
}

fn largest_difference(a: &Choices, b: &Choices) -> f32 {
    assert_eq!(a.len(), b.len());
    let rows = a.iter().zip(b);
    rows.flat_map(|((.., a), (.., b))| a.iter().zip(b)).fold(0.0, |max, (a, b)| max.max((a - b).abs()))
}

fn tokens(choices: &Choices) -> Vec<(usize, TokenId)> {
    choices.iter().map(|&(request, token, _)| (request, token)).collect()
}

fn exits_equal_shallower_models(tied: bool) {
    let zoo = Zoo::new();
    let shape = Shape { tied, ..Shape::default() };
    let whole = zoo.model(&shape, shape.layers);
    // One engine for all depths: what a shallower run leaves in the KV cache must not show in the next.
    let (mut engine, log) = watched(&whole, &OPTIONS);
    for depth in (9..=shape.layers).rev() {
        let shallow = zoo.model(&shape, depth);
        let (mut reference, reference_log) = watched(&shallow, &OPTIONS);
        for requests in [batch(), vec![request(40, 16, 3)]] {
            let exits = run(&mut engine, &log, &requests, Depth::Layers(depth));
            let expected = run(&mut reference, &reference_log, &requests, Depth::Full);
            let difference = largest_difference(&exits, &expected);
            assert!(difference <= 1e-5, "depth {depth}, {} requests: logits differ by {difference}", requests.len());
            assert_eq!(tokens(&exits), tokens(&expected), "depth {depth}");
        }
    }
}

/// The control: one layer more or less is another model, so the equality above says something.
fn neighbours_differ(tied: bool) {
    let zoo = Zoo::new();
    let shape = Shape { tied, ..Shape::default() };
    let model = zoo.model(&shape, shape.layers);
    let (mut engine, log) = watched(&model, &OPTIONS);
    let one_token: Vec<_> = batch().into_iter().map(|request| Request { max_new_tokens: 1, ..request }).collect();
    let mut at = |depth| run(&mut engine, &log, &one_token, Depth::Layers(depth));
    for depth in 9..shape.layers {
        let (exits, deeper) = (at(depth), at(depth + 1));
        let difference = largest_difference(&exits, &deeper);
        assert!(difference > 0.5, "depths {depth} and {}: logits differ by only {difference}", depth + 1);
        assert_ne!(tokens(&exits), tokens(&deeper), "depths {depth} and {}", depth + 1);
    }
}

#[test]
fn exits_equal_shallower_models_with_tied_embeddings() {
    exits_equal_shallower_models(true);
    neighbours_differ(true);
}

#[test]
fn exits_equal_shallower_models_with_an_output_matrix() {
    exits_equal_shallower_models(false);
    neighbours_differ(false);
}

/// The batches above go through the same code on both sides. This one does not: alone, a row cannot be mistaken.
#[test]
fn a_batch_answers_like_its_requests_alone() {
    let zoo = Zoo::new();
    let shape = Shape::default();
    let model = zoo.model(&shape, shape.layers);
    let (mut together, together_log) = watched(&model, &OPTIONS);
    let (mut alone, alone_log) = watched(&model, &EngineOptions { max_batch: 1, ..OPTIONS });
    for depth in [Depth::Full, Depth::Layers(10), Depth::Layers(1)] {
        let batched = run(&mut together, &together_log, &batch(), depth);
        let mut single = Choices::new();
        for (index, request) in batch().into_iter().enumerate() {
            let choices = run(&mut alone, &alone_log, &[request], depth);
            single.extend(choices.into_iter().map(|(_, token, logits)| (index, token, logits)));
        }
        assert_eq!(tokens(&batched), tokens(&single), "{depth:?}");
        // Sums of another order and a KV cache of 16 bits: close, not equal.
        let difference = largest_difference(&batched, &single);
        println!("{depth:?}: logits differ by {difference}");
        assert!(difference < 0.05, "{depth:?}: logits differ by {difference}");
    }
}

#[test]
fn report_tells_what_happened() {
    let zoo = Zoo::new();
    let shape = Shape::default();
    let model = zoo.model(&shape, shape.layers);
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    let requests = [request(4, 3, 1), request(9, 1, 2), request(4, 6, 3)];
    let prefilled = engine.prefill(&requests, Depth::Layers(11)).unwrap();
    assert_eq!(prefilled.report().prompt_tokens, [4, 9, 4]);
    let report = prefilled.decode(&AtomicBool::new(false)).unwrap();
    assert_eq!(report.layers, 11);
    assert_eq!(report.active, [2, 2, 1, 1, 1]);
    assert_eq!(report.generated_tokens(), 10);
    let lengths: Vec<_> = report.answers.iter().map(|answer| (answer.tokens.len(), answer.entropies.len())).collect();
    assert_eq!(lengths, [(3, 3), (1, 1), (6, 6)]);
    assert!(report.answers.iter().all(|answer| answer.stop == StopReason::Length));
    let limit = 259_f64.ln();
    assert!(report.mean_entropy() > 0.0 && report.mean_entropy() < limit, "{}", report.mean_entropy());
}

#[test]
fn answers_end_where_the_model_ends_them() {
    let zoo = Zoo::new();
    let shape = Shape::default();
    let model = zoo.model(&shape, shape.layers);
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    let stop = AtomicBool::new(false);
    let requests = batch();
    let free = engine.prefill(&requests, Depth::Layers(12)).unwrap().decode(&stop).unwrap();

    // The same weights, but the fourth token of request 3 means the end now.
    let end = free.answers[3].tokens[3];
    let model = zoo.model(&Shape { eos: u32::try_from(end).unwrap(), ..shape }, shape.layers);
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    let ended = engine.prefill(&requests, Depth::Layers(12)).unwrap().decode(&stop).unwrap();
    assert_eq!(ended.answers[3].stop, StopReason::EndOfText);
    for (free, ended) in free.answers.iter().zip(&ended.answers) {
        let length = free.tokens.iter().position(|&token| token == end).unwrap_or(free.tokens.len());
        assert_eq!(ended.tokens, free.tokens[..length]);
        assert_eq!(ended.entropies.len(), length + usize::from(ended.stop == StopReason::EndOfText));
    }
}

#[test]
fn the_same_inputs_give_the_same_answers() {
    let zoo = Zoo::new();
    let shape = Shape { vocab: 300, ..Shape::default() };
    let model = zoo.model(&shape, 4);
    let sampled = |seed| {
        let mut requests = batch();
        for request in &mut requests {
            request.sampling = Sampling::Nucleus { temperature: 0.8, top_p: 0.95, seed };
        }
        let mut engine = Engine::new(&model, &OPTIONS).unwrap();
        let prefilled = engine.prefill(&requests, Depth::Layers(3)).unwrap();
        prefilled.decode(&AtomicBool::new(false)).unwrap().answers
    };
    assert_eq!(sampled(5), sampled(5));
    assert_ne!(sampled(5), sampled(6));
}

#[test]
fn a_stopped_run_gives_what_it_has() {
    let zoo = Zoo::new();
    let model = zoo.model(&Shape::default(), 4);
    let mut engine = Engine::new(&model, &OPTIONS).unwrap();
    let report = engine.prefill(&batch(), Depth::Full).unwrap().decode(&AtomicBool::new(true)).unwrap();
    assert!(report.active.is_empty());
    assert_eq!(report.answers[0].stop, StopReason::Cancelled);
    assert_eq!(report.answers[4].stop, StopReason::Length);
    assert!(report.answers.iter().all(|answer| answer.tokens.len() == 1));
}
