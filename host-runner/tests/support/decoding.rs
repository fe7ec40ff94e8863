//! Requests to small models, and what comes out of plain decoding.

use super::load;
use host_runner::llm::{
    Answer, Depth, Engine, EngineOptions, Model, Precision, Prompt, Request, Rows, Sampling, StopReason,
};
use std::path::Path;
use std::sync::atomic::AtomicBool;

pub const OPTIONS: EngineOptions = EngineOptions {
    max_batch: 4,
    sequence_tokens: 128,
    prefill_tokens: 64,
    threads: 1,
    precision: Precision::Single,
    rows: Rows::Together,
};

pub static GO_ON: AtomicBool = AtomicBool::new(false);

pub fn requests(count: i32, salt: i32) -> Vec<Request> {
    let request = |i: i32| Request {
        prompt: Prompt::Tokens((0..3 + i * 5).map(|j| 3 + (j * 37 + (i + salt) * 101) % 256).collect()),
        max_new_tokens: 9 + 7 * i.unsigned_abs(),
        sampling: Sampling::Greedy,
        stop: vec![],
        full_length: false,
    };
    (0..count).map(request).collect()
}

pub fn tiny() -> Model {
    load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny-llama/tiny-llama-f16.gguf")))
}

pub fn questions(model: &Model) -> Vec<Request> {
    let file = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/prompts/questions.jsonl"));
    let prompts = host_runner::run::prompts::read(file).unwrap();
    let ask = |text: &str| Request::greedy(host_runner::llm::prompt::render(model, text).unwrap(), 48);
    prompts[..4].iter().map(|prompt| ask(&prompt.text)).collect()
}

pub fn plain(engine: &mut Engine, requests: &[Request]) -> Vec<Answer> {
    engine.prefill(requests, Depth::Full).unwrap().decode(&GO_ON).unwrap().answers
}

pub fn texts(answers: &[Answer]) -> Vec<(Vec<i32>, StopReason)> {
    answers.iter().map(|answer| (answer.tokens.clone(), answer.stop)).collect()
}
