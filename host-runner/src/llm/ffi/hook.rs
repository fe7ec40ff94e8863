//! The callback that llama.cpp's scheduler calls for every node of a running graph.
//!
//! The scheduler asks `ask = true` for node after node until the answer is true, computes them all, and then shows that
//! last one with `ask = false`. Answering false there ends the graph: no later layer runs, and `llama_decode` reports
//! success. The native logits are then stale memory, so after a stop only the logits of our own head are read.

use super::fault::GraphError;
use super::head::{Head, HeadWeights};
use super::node::{NodeName, cells_of, check_shape, head_weights};
use super::resume::{Hidden, Resume, Skip};
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// What the callback does in one decode.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Orders<'a> {
    /// Check the layers and find the head weights.
    pub(super) survey: bool,
    /// For each row that wants logits the layer (index from 0) behind which our head answers; none for llama.cpp's own
    /// logits. Or empty: llama.cpp's for all.
    pub(super) exits: &'a [Option<u32>],
    /// The layer behind which the graph ends; none for the whole.
    pub(super) end: Option<u32>,
    /// Keep the hidden states of all tokens behind the last exit.
    pub(super) keep: bool,
    /// Go on from here instead of from the tokens.
    pub(super) from: Option<&'a Hidden>,
    /// With `from`: give the layers behind, up to this many, keys and values made from it, and run nothing else.
    pub(super) spread_to: Option<u32>,
}

/// State behind the callback's user data.
#[expect(clippy::struct_excessive_bools, reason = "three are orders and one is where the decode stands")]
pub(super) struct Hook {
    n_embd: i64,
    survey: bool,
    /// Tokens in the batch, all of one graph.
    tokens: usize,
    /// Rows of the batch that want logits, ascending, and where each of them leaves.
    rows: Vec<i32>,
    exits: Vec<Option<u32>>,
    stops: bool,
    keep: bool,
    /// Layers to look at, the next one last, and the node name of that one.
    ahead: Vec<u32>,
    next: NodeName,
    pub(super) resume: Resume,
    pub(super) head: Option<Head>,
    pub(super) weights: Option<HeadWeights>,
    /// Row-major `[rows, n_vocab]`; rows that leave nowhere hold nothing of use.
    pub(super) logits: Vec<f32>,
    /// Time spent in our head since it was last asked for.
    pub(super) head_time: Duration,
    /// What `keep` kept.
    pub(super) kept: Hidden,
    picked: Vec<i32>,
    scratch: Vec<f32>,
    /// Layers met by the survey.
    layers: u32,
    stopped: bool,
    fault: Option<GraphError>,
}

impl Hook {
    pub(super) fn new(n_embd: i64) -> Self {
        Self {
            n_embd,
            survey: false,
            tokens: 0,
            rows: Vec::new(),
            exits: Vec::new(),
            stops: false,
            keep: false,
            ahead: Vec::new(),
            next: NodeName::layer(0),
            resume: Resume::new(),
            head: None,
            weights: None,
            logits: Vec::new(),
            head_time: Duration::ZERO,
            kept: Hidden::default(),
            picked: Vec::new(),
            scratch: Vec::new(),
            layers: 0,
            stopped: false,
            fault: None,
        }
    }

    /// Prepares for one decode of `tokens` tokens, of which `rows` want logits.
    pub(super) fn arm(&mut self, orders: &Orders, tokens: usize, rows: &[i32]) {
        self.survey = orders.survey;
        self.tokens = tokens;
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        self.exits.clear();
        self.exits.extend_from_slice(orders.exits);
        self.stops = orders.end.is_some();
        self.keep = orders.keep;
        self.ahead.clear();
        self.ahead.extend(orders.exits.iter().flatten().chain(&orders.end));
        self.ahead.sort_unstable_by_key(|&layer| std::cmp::Reverse(layer));
        self.ahead.dedup();
        self.look_ahead();
        self.resume.arm(orders.from, orders.spread_to);
        self.kept.cells.clear();
        self.kept.rows.clear();
        self.layers = 0;
        self.stopped = false;
        self.fault = match orders.from {
            Some(from) if from.cells.len() != tokens => Some(GraphError::Saved { saved: from.cells.len(), tokens }),
            _ => None,
        };
    }

    fn look_ahead(&mut self) {
        if let Some(&layer) = self.ahead.last() {
            self.next = NodeName::layer(layer);
        }
    }

    /// What went wrong in the decode that just ended. `n_layer` is what a survey must have met.
    pub(super) fn verdict(&mut self, n_layer: u32) -> Result<(), GraphError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.survey && self.layers != n_layer {
            return Err(GraphError::LayerOrder { expected: self.layers });
        }
        if self.survey && self.weights.is_none() {
            return Err(GraphError::NoHead);
        }
        if let Some(&layer) = self.ahead.last() {
            return Err(GraphError::NotReached { layer });
        }
        if self.keep && self.kept.cells.len() != self.tokens {
            return Err(GraphError::Saved { saved: self.kept.cells.len(), tokens: self.tokens });
        }
        self.resume.verdict()
    }

    /// No more of the graph shall run.
    fn stopped(&self) -> bool {
        self.stopped || self.fault.is_some()
    }

    /// # Safety
    /// `node` is a node of the running graph.
    unsafe fn ask(&mut self, node: *mut sys::ggml_tensor) -> bool {
        // A stop ends only one part of a graph that is spread over devices. Look at the first node of the next part.
        if self.stopped() {
            return true;
        }
        // SAFETY: the node is valid and its turn is still to come (caller, ggml).
        unsafe {
            if self.survey {
                if let Err(fault) = self.survey(node) {
                    self.fault = Some(fault);
                }
                return false;
            }
            match self.resume.ask(node) {
                Skip::Over => return false,
                Skip::Fill => return true,
                Skip::Not => {}
            }
            if self.keep && self.kept.cells.is_empty() {
                cells_of(node, &mut self.kept.cells);
            }
            !self.ahead.is_empty() && self.next.is_of(&(*node).name)
        }
    }

    /// # Safety
    /// `node` is a node of the running graph and has been computed.
    unsafe fn see(&mut self, node: *mut sys::ggml_tensor) -> bool {
        if self.stopped() {
            return false;
        }
        if self.resume.is_open() {
            // SAFETY: the only nodes shown while a resume is open are those to fill (`ask`).
            if !unsafe { self.resume.fill(node) } {
                self.fault = Some(GraphError::Saved { saved: self.resume.saved(), tokens: self.tokens });
            }
        } else if let Some(layer) = self.ahead.pop() {
            // SAFETY: the node is valid and computed (caller).
            if let Err(fault) = unsafe { self.tap(node, layer) } {
                self.fault = Some(fault);
            }
            self.stopped = self.stops && self.ahead.is_empty();
            self.look_ahead();
        }
        !self.stopped()
    }

    /// # Safety
    /// Like [`Hook::see`]; `node` is the output of `layer`.
    unsafe fn tap(&mut self, node: *mut sys::ggml_tensor, layer: u32) -> Result<(), GraphError> {
        // SAFETY: the node is valid (caller).
        let rows = unsafe {
            check_shape(node, layer, self.n_embd)?;
            (*node).ne[1]
        };
        if usize::try_from(rows) != Ok(self.tokens) {
            return Err(GraphError::Rows { rows, tokens: self.tokens });
        }
        if self.keep && self.ahead.is_empty() {
            self.kept.layers = layer + 1;
            let length = self.tokens * usize::try_from(self.n_embd).unwrap_or(0);
            self.kept.rows.resize(length, 0.0);
            let bytes = size_of_val(&self.kept.rows[..]);
            // SAFETY: the node is valid and computed (caller), and it is as long as the buffer: `tokens` rows of
            // `n_embd` numbers (checked above).
            unsafe { sys::ggml_backend_tensor_get(node, self.kept.rows.as_mut_ptr().cast(), 0, bytes) };
        }
        let leaving = self.rows.iter().zip(&self.exits).filter(|(_, exit)| **exit == Some(layer));
        self.picked.clear();
        self.picked.extend(leaving.map(|(row, _)| *row));
        if self.picked.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let head = self.head.as_mut().ok_or(GraphError::NoHead)?;
        let all = self.picked.len() == self.rows.len();
        let logits = if all { &mut self.logits } else { &mut self.scratch };
        // SAFETY: the node is valid, computed and synchronized (caller); rows are below `tokens` (`Batch`).
        unsafe { head.run(node, &self.picked, logits) }?;
        if !all {
            self.hand_out(layer);
        }
        self.head_time += started.elapsed();
        Ok(())
    }

    /// Puts the logits of the rows that leave behind `layer` into their places.
    fn hand_out(&mut self, layer: u32) {
        let n_vocab = self.scratch.len() / self.picked.len();
        self.logits.resize(self.rows.len() * n_vocab, 0.0);
        let places = self.logits.chunks_exact_mut(n_vocab).zip(&self.exits);
        let places = places.filter(|(_, exit)| **exit == Some(layer));
        for ((place, _), row) in places.zip(self.scratch.chunks_exact(n_vocab)) {
            place.copy_from_slice(row);
        }
    }

    /// # Safety
    /// Like [`Hook::ask`].
    unsafe fn survey(&mut self, node: *const sys::ggml_tensor) -> Result<(), GraphError> {
        // SAFETY: the node and its sources are valid (caller, ggml); names end in NUL.
        unsafe {
            let name = CStr::from_ptr((*node).name.as_ptr()).to_bytes();
            if name.starts_with(b"l_out-") {
                if !NodeName::layer(self.layers).is_of(&(*node).name) {
                    return Err(GraphError::LayerOrder { expected: self.layers });
                }
                check_shape(node, self.layers, self.n_embd)?;
                self.layers += 1;
            } else if name == b"result_output" {
                self.weights = Some(head_weights(node).ok_or(GraphError::NoHead)?);
            }
        }
        Ok(())
    }
}

/// The callback itself. `user_data` is the [`Hook`] of the context that runs.
///
/// # Safety
/// Called by ggml's scheduler only, with a live node and the pointer that the context was made with.
pub(super) unsafe extern "C" fn on_node(node: *mut sys::ggml_tensor, ask: bool, user_data: *mut c_void) -> bool {
    // SAFETY: the pointer is the context's hook, alive as long as the context, and not borrowed while llama.cpp runs.
    let hook = unsafe { &mut *user_data.cast::<Hook>() };
    // A panic must not cross into C++. The hook stays usable: its fault says that nothing in it counts.
    let answer = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: ggml passes a live node, computed if it is shown.
        unsafe { if ask { hook.ask(node) } else { hook.see(node) } }
    }));
    answer.unwrap_or_else(|_| {
        hook.fault = Some(GraphError::Panicked);
        ask
    })
}
