//! One contender by itself, for tools that count what a process does: two runs that differ in the number of steps only
//! differ by what those steps cost.

use super::contender::{Bare, Contender, Ours};
use super::{shape_of, tapped};
use crate::llm::batch::Batch;
use crate::llm::conformance::{ConformanceError, write_copy};
use crate::llm::model::{Model, ModelOptions};
use crate::llm::native::NativeContext;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Who runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// llama.cpp without a callback, with the whole model.
    Native,
    /// The same, with a copy that has only the first layers.
    Truncated,
    /// Our engine at full depth.
    Full,
    /// Our engine with the first layers of the whole model.
    Exit,
}

impl Who {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Native, Self::Truncated, Self::Full, Self::Exit];
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Truncated => "truncated",
            Self::Full => "full",
            Self::Exit => "exit",
        })
    }
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|who| who.to_string() == text).ok_or_else(|| {
            "give `native` or `truncated` (llama.cpp with all layers, with some), `full` or `exit` (our engine)".into()
        })
    }
}

/// Lets one contender read prompts and decode `steps` steps of `sequences` sequences, on one thread. `depth` layers, less
/// than all, are what the truncated copy has and what an exit runs.
pub fn run_alone(path: &Path, who: Who, depth: u32, sequences: u32, steps: u32) -> Result<(), ConformanceError> {
    let model = Model::load(path, &ModelOptions::default())?;
    model.require_exits()?;
    let layers = model.n_layer();
    if !(1..layers).contains(&depth) {
        return Err(ConformanceError::NotBelow { depth, layers });
    }
    let shape = shape_of(sequences, 0, 1)?;
    let mut batch = Batch::new(shape.batch_tokens);
    match who {
        Who::Native => {
            let mut context = NativeContext::new(&model, &shape).map_err(ConformanceError::Run)?;
            Bare { context: &mut context, sequences }.untimed(&mut batch, steps)?;
        }
        Who::Truncated => {
            let folder = tempfile::tempdir()?;
            let copy = folder.path().join("truncated.gguf");
            write_copy(path, depth, &copy)?;
            let shallow = Model::load(&copy, &ModelOptions::default())?;
            let mut context = NativeContext::new(&shallow, &shape).map_err(ConformanceError::Run)?;
            Bare { context: &mut context, sequences }.untimed(&mut batch, steps)?;
        }
        Who::Full | Who::Exit => {
            let depth = if who == Who::Full { layers } else { depth };
            let mut context = tapped(&model, shape, &mut batch)?;
            Ours { context: &mut context, sequences, depth, layers }.untimed(&mut batch, steps)?;
        }
    }
    Ok(())
}
