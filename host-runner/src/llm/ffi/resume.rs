//! Going on behind a layer, with hidden states that were saved there.
//!
//! Everything below that layer loses ggml's COMPUTE flag, which llama.cpp itself uses for branches that a graph does
//! not take. The scheduler shows the output of the layer, the saved rows are written into it, and the rest runs as
//! always. That is exact only if the tokens get the cells whose keys and values the lower layers have written before:
//! the cells are compared before anything runs, and if they moved, the whole network runs (exact too, but slower).
//!
//! With `spread_to` the saved rows are written into the output of each layer behind as well, and there only what leads to
//! a write of keys or values keeps its flag.

use super::fault::GraphError;
use super::node::{NodeName, cells_of, writes_cache};
use llama_cpp_sys_2 as sys;

const COMPUTE: sys::ggml_tensor_flag = sys::GGML_TENSOR_FLAG_COMPUTE;

/// Hidden states of tokens behind a layer, and the cells that hold their keys and values below it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::llm) struct Hidden {
    /// Layers that have run.
    pub(in crate::llm) layers: u32,
    /// Row-major `[tokens, n_embd]`.
    pub(in crate::llm) rows: Vec<f32>,
    /// Cell of each token in llama.cpp's KV cache.
    pub(in crate::llm) cells: Vec<i64>,
}

impl Hidden {
    /// Adds the `nth` row of `other`, which comes from the same layer.
    pub(in crate::llm) fn push(&mut self, other: &Self, nth: usize) {
        let width = other.rows.len() / other.cells.len();
        self.layers = other.layers;
        self.rows.extend_from_slice(&other.rows[nth * width..][..width]);
        self.cells.push(other.cells[nth]);
    }

    /// Adds all rows of `other`, which comes from the same layer.
    pub(in crate::llm) fn extend(&mut self, other: &Self) {
        self.layers = other.layers;
        self.rows.extend_from_slice(&other.rows);
        self.cells.extend_from_slice(&other.cells);
    }

    /// Forgets all rows.
    pub(in crate::llm) fn clear(&mut self) {
        self.rows.clear();
        self.cells.clear();
    }

    /// The rows move with their sequence to another part of the cache, `by` cells further.
    pub(in crate::llm) fn shift(&mut self, by: i64) {
        self.cells.iter_mut().for_each(|cell| *cell += by);
    }
}

/// Where a resumed decode stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is resumed, or the saved rows are in place.
    Off,
    /// Nodes below the layer are passed over; the cells have not come by yet.
    Before,
    /// The same, and the cells are the saved ones.
    Confirmed,
    /// The saved rows are spread over the layers behind; the output of this one waits for them.
    Spread(u32),
    /// They are spread, and nothing that follows shall run.
    Done,
}

/// What a node means for a resumed decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Skip {
    /// It is not skipped: nothing is resumed, or the layer is behind.
    Not,
    /// It is skipped.
    Over,
    /// It is the layer's output: show it.
    Fill,
}

/// State of a resumed decode.
pub(super) struct Resume {
    stage: Stage,
    /// The layer whose output comes next.
    layer: NodeName,
    saved: Hidden,
    spread_to: Option<u32>,
    /// Keys and values written while spreading, by nodes.
    writes: u32,
    found: Vec<i64>,
    /// Nodes up to the layer, as they come by. Those before the cells may lie in an earlier part of a graph that is
    /// spread over devices, and run; that costs time, not exactness.
    below: Vec<*mut sys::ggml_tensor>,
    /// Nodes whose flag was cleared, to be set again: llama.cpp uses a graph more than once.
    cleared: Vec<*mut sys::ggml_tensor>,
    /// Where in `cleared` the nodes behind the last layer's output begin.
    begin: usize,
    /// Decodes in which the cells had moved.
    pub(super) moved: u64,
}

impl Resume {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Off,
            layer: NodeName::layer(0),
            saved: Hidden::default(),
            spread_to: None,
            writes: 0,
            begin: 0,
            found: Vec::new(),
            below: Vec::new(),
            cleared: Vec::new(),
            moved: 0,
        }
    }

    /// Prepares for one decode.
    pub(super) fn arm(&mut self, saved: Option<&Hidden>, spread_to: Option<u32>) {
        self.stage = Stage::Off;
        self.spread_to = spread_to;
        self.writes = 0;
        self.below.clear();
        if let Some(saved) = saved {
            self.saved.clone_from(saved);
            self.layer = NodeName::layer(saved.layers - 1);
            self.stage = Stage::Before;
        }
    }

    /// Looks at a node before it is computed.
    ///
    /// # Safety
    /// `node` is a node of the running graph, whose turn is still to come.
    pub(super) unsafe fn ask(&mut self, node: *mut sys::ggml_tensor) -> Skip {
        if self.stage == Stage::Off {
            return Skip::Not;
        }
        // SAFETY: the node is valid (caller), and so are those of the same graph before it.
        unsafe {
            if matches!(self.stage, Stage::Spread(_) | Stage::Done) {
                return self.spread(node);
            }
            self.below.push(node);
            if self.stage == Stage::Before && cells_of(node, &mut self.found) {
                if self.found == self.saved.cells {
                    self.stage = Stage::Confirmed;
                    for &node in &self.below {
                        clear(node, &mut self.cleared);
                    }
                } else {
                    return self.give_up();
                }
            } else if self.stage == Stage::Confirmed {
                clear(node, &mut self.cleared);
            }
            match (self.layer.is_of(&(*node).name), self.stage) {
                (false, _) => Skip::Over,
                (true, Stage::Confirmed) => Skip::Fill,
                // Cells that never came by cannot be trusted.
                (true, _) => self.give_up(),
            }
        }
    }

    /// Looks at a node behind the layer.
    ///
    /// # Safety
    /// As in [`Resume::ask`].
    unsafe fn spread(&mut self, node: *mut sys::ggml_tensor) -> Skip {
        // SAFETY: the node is valid (caller), and so are its sources and the nodes before it.
        unsafe {
            clear(node, &mut self.cleared);
            if self.stage != Stage::Done && writes_cache(node) {
                self.writes += 1;
                self.want(node);
            }
            match self.stage {
                Stage::Spread(layer) if self.layer.is_of(&(*node).name) => {
                    // Nobody needs the output of the last one.
                    if self.spread_to == Some(layer + 1) {
                        self.stage = Stage::Done;
                        Skip::Over
                    } else {
                        Skip::Fill
                    }
                }
                _ => Skip::Over,
            }
        }
    }

    /// Lets a node run after all, and what it is made of, back to the output of the layer before.
    ///
    /// # Safety
    /// `node` is a node of the running graph, or a source of one.
    unsafe fn want(&mut self, node: *mut sys::ggml_tensor) {
        // Nothing of this range has run yet: ggml asks for all nodes up to the next that is shown.
        let Some(place) = self.cleared[self.begin..].iter().position(|&cleared| cleared == node) else { return };
        self.cleared.swap_remove(self.begin + place);
        // SAFETY: the node is valid (caller), and so are its sources where they are not null.
        unsafe {
            (*node).flags |= COMPUTE.cast_signed();
            for source in (*node).src.into_iter().filter(|source| !source.is_null()) {
                self.want(source);
            }
        }
    }

    /// Lets the whole network run. No flag has been cleared yet.
    fn give_up(&mut self) -> Skip {
        self.stage = Stage::Off;
        self.moved += 1;
        Skip::Not
    }

    /// Writes the saved rows into the output of the layer; false if they do not fit.
    ///
    /// # Safety
    /// `node` is the node for which [`Resume::ask`] said [`Skip::Fill`], and its turn has come.
    pub(super) unsafe fn fill(&mut self, node: *mut sys::ggml_tensor) -> bool {
        self.begin = self.cleared.len();
        self.stage = match (self.stage, self.spread_to) {
            (Stage::Spread(layer), _) => self.spread_behind(layer + 1),
            (_, Some(_)) => self.spread_behind(self.saved.layers),
            (_, None) => Stage::Off,
        };
        let bytes = size_of_val(&self.saved.rows[..]);
        // SAFETY: the node is valid (caller) and as long as the rows.
        unsafe {
            if sys::ggml_nbytes(node) != bytes {
                return false;
            }
            sys::ggml_backend_tensor_set(node, self.saved.rows.as_ptr().cast(), 0, bytes);
        }
        true
    }

    /// The rows are in place as the input of `layer`.
    fn spread_behind(&mut self, layer: u32) -> Stage {
        self.layer = NodeName::layer(layer);
        Stage::Spread(layer)
    }

    /// Whether rows wait to be filled in.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Before | Stage::Confirmed | Stage::Spread(_))
    }

    /// What went wrong in the decode that just ended.
    pub(super) fn verdict(&self) -> Result<(), GraphError> {
        match (self.stage, self.spread_to) {
            (Stage::Off, _) => Ok(()),
            (Stage::Done, Some(depth)) if self.writes == 2 * (depth - self.saved.layers) => Ok(()),
            (Stage::Done, depth) => {
                let expected = depth.unwrap_or(0).saturating_sub(self.saved.layers);
                Err(GraphError::Writes { found: self.writes, expected })
            }
            _ => Err(GraphError::NotReached { layer: 0 }),
        }
    }

    /// Number of rows and cells that were saved.
    pub(super) fn saved(&self) -> usize {
        self.saved.cells.len()
    }

    /// Sets the flags again.
    ///
    /// # Safety
    /// The graph of the last decode still exists: llama.cpp keeps it until the next one.
    pub(super) unsafe fn restore(&mut self) {
        for node in self.cleared.drain(..) {
            // SAFETY: a node of that graph (caller).
            unsafe { (*node).flags |= COMPUTE.cast_signed() };
        }
    }
}

/// Takes the flag of a node and remembers it.
///
/// # Safety
/// `node` is a node of the running graph.
unsafe fn clear(node: *mut sys::ggml_tensor, cleared: &mut Vec<*mut sys::ggml_tensor>) {
    // SAFETY: the node is valid (caller).
    unsafe {
        if (*node).flags & COMPUTE.cast_signed() != 0 {
            (*node).flags &= !COMPUTE.cast_signed();
            cleared.push(node);
        }
    }
}
