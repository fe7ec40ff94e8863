//! Depth pays on a model that was trained for it, and not on the same model trained as usual.

mod support;

use host_runner::llm::depths::{DepthQuality, Question};
use host_runner::llm::{Engine, EngineOptions, Request, prompt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use support::load;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

fn measure(model: &str, phrases: bool) -> Vec<DepthQuality> {
    let model = load(&models().join(model));
    let prompts = host_runner::run::prompts::read(&models().join("prompts/questions.jsonl")).unwrap();
    let question = |prompt: &host_runner::run::prompts::Prompt| Question {
        request: Request::greedy(prompt::render(&model, &prompt.text).unwrap(), 48),
        phrase: prompt.answer.clone().filter(|_| phrases),
    };
    let questions: Vec<_> = prompts.iter().take(24).map(question).collect();
    let mut engine = Engine::new(&model, &EngineOptions { sequence_tokens: 128, ..EngineOptions::default() }).unwrap();
    let mut heard = 0;
    let qualities = engine.depth_quality(&questions, &AtomicBool::new(false), |_| heard += 1).unwrap().unwrap();
    assert_eq!((heard, qualities.len()), (16, 16));
    qualities
}

#[test]
fn a_model_trained_for_depth_keeps_its_answers() {
    let qualities = measure("tiny-llama/tiny-llama-f16.gguf", true);
    let (full, at_12, at_4) = (qualities[15], qualities[11], qualities[3]);
    assert!(full.accuracy() > 0.9, "{full:?}");
    assert!(at_12.accuracy() >= full.accuracy() - 0.05, "{at_12:?}");
    assert!(at_4.accuracy() < at_12.accuracy() - 0.1, "{at_4:?}");
    assert!(at_4.entropy > at_12.entropy && at_4.perplexity > at_12.perplexity, "{at_4:?}");
    // Full depth is its own measure.
    assert!((full.agreement, full.same_answers) == (1.0, 1.0), "{full:?}");
    assert!(full.perplexity < 1.02, "{full:?}");
}

#[test]
fn a_model_trained_as_usual_does_not() {
    let qualities = measure("tiny-llama-contrast/tiny-llama-contrast-q8_0.gguf", true);
    let (full, at_12) = (qualities[15], qualities[11]);
    assert!(full.accuracy() > 0.85, "{full:?}");
    assert!(at_12.accuracy() < full.accuracy() - 0.15, "{at_12:?}");
}

#[test]
fn without_phrases_full_depth_is_right() {
    let qualities = measure("tiny-llama/tiny-llama-q8_0.gguf", false);
    assert!(qualities.iter().all(|quality| quality.right_answers.is_none()));
    assert!((qualities[15].accuracy() - 1.0).abs() < 1e-12);
    assert!(qualities[0].accuracy() < 0.5, "{:?}", qualities[0]);
}
