//! The ledger of the cache on a real context.

use super::*;
use crate::llm::ffi::Precision;
use crate::llm::model::ModelOptions;
use crate::llm::random::Shape;
use llama_cpp_2::context::session::LlamaStateSeqFlags;
use proptest::prelude::*;
use std::cell::RefCell;

const SHAPE: Shape = Shape {
    layers: 6,
    embd: 32,
    ff: 64,
    heads: 4,
    kv_heads: 2,
    vocab: 259,
    context: 256,
    tied: true,
    eos: 2,
    seed: 11,
    chat_template: None,
    kind: crate::llm::gguf::writer::Kind::F32,
    architecture: crate::llm::random::Architecture::Llama,
};

fn model() -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    SHAPE.write(SHAPE.layers, &mut std::fs::File::create(&path).unwrap()).unwrap();
    Model::load(&path, &ModelOptions::default()).unwrap()
}

fn context(model: &Model) -> TappedContext<'_> {
    let shape = ContextShape {
        sequences: 2,
        sequence_tokens: 64,
        batch_tokens: 64,
        threads: 1,
        // Single precision: what remains of a difference is the order of sums.
        precision: Precision::Single,
    };
    let mut context = TappedContext::new(model, shape).unwrap();
    let mut batch = Batch::new(4);
    batch.push(1, 0, 0, true);
    context.survey(&mut batch).unwrap();
    context.clear();
    context
}

fn batch_of(tokens: &[i32], start: u32) -> Batch {
    let mut batch = Batch::new(64);
    for (&token, position) in tokens.iter().zip(start..) {
        batch.push(token, position, 0, true);
    }
    batch
}

/// Logits of the last token of the last run to `depth`.
fn last(context: &TappedContext, batch: &Batch, depth: u32) -> Vec<f32> {
    let nth = batch.rows().len() - 1;
    if depth == SHAPE.layers { context.native_logits(batch.rows()[nth]) } else { context.tapped_logits(nth) }.to_vec()
}

fn apart(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Keys and values of one sequence in all layers, with the positions they belong to, as llama.cpp saves them: 32-bit words.
pub(in crate::llm) struct SavedCache(Vec<u32>);

impl TappedContext<'_> {
    /// The cache of one sequence, of a context in single precision.
    pub(in crate::llm) fn cache_of(&self, sequence: u32) -> SavedCache {
        let (sequence, flags) = (sequence.cast_signed(), LlamaStateSeqFlags::empty());
        let mut bytes = vec![0_u8; self.context.state_seq_get_size_ext(sequence, flags)];
        // SAFETY: the buffer is as long as llama.cpp says it has to be.
        let written = unsafe { self.context.state_seq_get_data_ext(bytes.as_mut_ptr(), sequence, flags) };
        assert_eq!(written, bytes.len());
        SavedCache(bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap())).collect())
    }
}

impl SavedCache {
    /// Greatest difference of two numbers; infinite where the caches differ in anything else.
    pub(in crate::llm) fn difference(&self, other: &Self) -> f32 {
        let apart = |(a, b): (&u32, &u32)| {
            let (x, y) = (f32::from_bits(*a), f32::from_bits(*b));
            // Positions and sizes are small integers, which are no normal floats.
            let numbers = [x, y].iter().all(|number| number.is_normal() || *number == 0.0);
            if a == b || (numbers && (x - y).is_finite()) { (x - y).abs() } else { f32::INFINITY }
        };
        let largest = self.0.iter().zip(&other.0).map(apart).filter(|apart| !apart.is_nan()).fold(0.0, f32::max);
        if self.0.len() == other.0.len() { largest } else { f32::INFINITY }
    }
}

#[test]
fn nobody_attends_to_old_cells() {
    let model = model();
    let mut context = context(&model);
    context.decode(&mut batch_of(&[5, 6, 7], 0)).unwrap();
    context.decode_to(&mut batch_of(&[8], 3), 3).unwrap();
    let stale = context.decode(&mut batch_of(&[9], 4)).unwrap_err();
    assert!(matches!(stale, RunError::Cache(CacheError::Stale { sequence: 0, layers: 3, depth: 6 })), "{stale:?}");
    let gap = context.decode_to(&mut batch_of(&[9], 5), 3).unwrap_err();
    assert!(matches!(gap, RunError::Cache(CacheError::Position { held: 4, position: 5, .. })), "{gap:?}");
    // Nothing was taken in by the refused runs.
    context.decode_to(&mut batch_of(&[9], 4), 3).unwrap();
    assert_eq!(context.positions(0), 5);
}

/// The first layer behind an exit gets its keys and values from its true input, so there propagation is exact. Further up
/// it is an approximation, which nobody reads unawares.
#[test]
fn propagation_is_exact_in_one_layer_and_marked_above() {
    let model = model();
    let (mut ours, mut fresh) = (context(&model), context(&model));
    let (prompt, left, next) = ([1, 40, 77, 200], [9, 150, 33], 61);
    let all = [&prompt[..], &left, &[next]].concat();
    fresh.decode(&mut batch_of(&all, 0)).unwrap();
    let expected = last(&fresh, &batch_of(&all, 0), SHAPE.layers);
    for exit in 1..SHAPE.layers {
        ours.clear();
        ours.decode(&mut batch_of(&prompt, 0)).unwrap();
        let mut kept = Hidden::default();
        for (token, position) in left.into_iter().zip(4..) {
            let hidden = ours.decode_and_keep(&mut batch_of(&[token], position), exit, Reads::Exact).unwrap();
            kept.push(hidden, 0);
        }
        ours.truncate(0, 4);
        ours.propagate(&mut batch_of(&left, 4), &kept, SHAPE.layers).unwrap();
        assert_eq!(ours.positions(0), 7);
        let mut batch = batch_of(&[next], 7);
        let stale = ours.decode(&mut batch).unwrap_err();
        assert!(matches!(stale, RunError::Cache(CacheError::Stale { layers, .. }) if layers == exit), "{stale:?}");
        ours.decode_and_keep(&mut batch, exit, Reads::Approximate).unwrap();
        let from = ours.kept().clone();
        ours.truncate(0, 7);
        ours.resume(&mut batch, &from, SHAPE.layers, Reads::Approximate).unwrap();
        let difference = apart(&last(&ours, &batch, SHAPE.layers), &expected);
        assert_eq!(difference < 1e-4, exit + 1 == SHAPE.layers, "exit {exit}: logits differ by {difference}");
        assert!(difference < 10.0, "exit {exit}: logits differ by {difference}");
        assert_eq!(ours.moved(), 0);
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Some tokens up to a depth.
    Run(u8, u32),
    /// One token up to a depth, kept.
    Keep(u32),
    /// Everything kept, through the end.
    Resume,
    /// Everything kept, with approximate keys and values to the end.
    Propagate,
    /// Back to a share of the positions.
    Truncate(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let depth = 1..=SHAPE.layers;
    let step = prop_oneof![
        3 => (1_u8..4, depth).prop_map(|(count, depth)| Step::Run(count, depth)),
        4 => Just(Step::Keep(3)),
        2 => Just(Step::Resume),
        1 => Just(Step::Propagate),
        1 => any::<u8>().prop_map(Step::Truncate),
    ];
    prop::collection::vec(step, 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() })]

    /// Whatever is done in whatever order: what runs gives what a fresh context gives, and what would not is refused.
    #[test]
    fn what_runs_is_exact(steps in steps()) {
        thread_local! {
            static MODEL: &'static Model = Box::leak(Box::new(model()));
            static CONTEXTS: RefCell<[TappedContext<'static>; 2]> =
                RefCell::new([context(MODEL.with(|model| *model)), context(MODEL.with(|model| *model))]);
        }
        CONTEXTS.with_borrow_mut(|[ours, fresh]| {
            ours.clear();
            let (mut tokens, mut kept, mut kept_at) = (Vec::<i32>::new(), Hidden::default(), 0_u32);
            let mut refused = 0;
            for (number, step) in (0..).zip(steps) {
                let start = ours.positions(0);
                let (result, mut batch, depth) = match step {
                    Step::Run(count, depth) => {
                        let new: Vec<i32> = (0..i32::from(count)).map(|i| 3 + (number * 7 + i * 5) % 250).collect();
                        let mut batch = batch_of(&new, start);
                        let result = if depth == SHAPE.layers {
                            ours.decode(&mut batch)
                        } else {
                            ours.decode_to(&mut batch, depth)
                        };
                        if result.is_ok() {
                            tokens.extend(new);
                            kept.clear();
                        }
                        (result, batch, depth)
                    }
                    Step::Keep(depth) => {
                        let mut batch = batch_of(&[3 + number * 11 % 250], start);
                        let result = ours.decode_and_keep(&mut batch, depth, Reads::Exact).cloned();
                        let result = result.map(|hidden| {
                            if kept.cells.is_empty() {
                                kept_at = start;
                            }
                            kept.push(&hidden, 0);
                            tokens.push(3 + number * 11 % 250);
                        });
                        (result, batch, depth)
                    }
                    Step::Resume | Step::Propagate if kept.cells.is_empty() => continue,
                    Step::Resume => {
                        ours.truncate(0, kept_at);
                        let mut batch = batch_of(&tokens[kept_at as usize..], kept_at);
                        let result = ours.resume(&mut batch, &kept, SHAPE.layers, Reads::Exact);
                        if result.is_err() {
                            tokens.truncate(kept_at as usize);
                        }
                        kept.clear();
                        (result, batch, SHAPE.layers)
                    }
                    Step::Propagate => {
                        ours.truncate(0, kept_at);
                        let mut batch = batch_of(&tokens[kept_at as usize..], kept_at);
                        // No token goes on from there exactly; what it reads of the lower layers stays as it is.
                        if let Err(error) = ours.propagate(&mut batch, &kept, SHAPE.layers) {
                            prop_assert!(matches!(error, RunError::Cache(_)), "{}", error.reason());
                            tokens.truncate(kept_at as usize);
                        }
                        kept.clear();
                        continue;
                    }
                    Step::Truncate(share) => {
                        let left = start * u32::from(share) / 256;
                        ours.truncate(0, left);
                        tokens.truncate(left as usize);
                        kept.clear();
                        continue;
                    }
                };
                match result {
                    Err(RunError::Cache(CacheError::Stale { .. })) => refused += 1,
                    Err(error) => return Err(TestCaseError::fail(error.reason())),
                    Ok(()) => {
                        let found = last(ours, &batch, depth);
                        fresh.clear();
                        batch = batch_of(&tokens, 0);
                        if depth == SHAPE.layers {
                            fresh.decode(&mut batch).unwrap();
                        } else {
                            fresh.decode_to(&mut batch, depth).unwrap();
                        }
                        let difference = apart(&found, &last(fresh, &batch, depth));
                        prop_assert!(difference < 1e-3, "logits differ by {difference} ({refused} refused)");
                    }
                }
            }
            prop_assert_eq!(ours.moved(), 0, "on one sequence the cells never move");
            Ok(())
        })?;
    }
}
