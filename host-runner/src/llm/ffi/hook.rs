//! The callback that llama.cpp's scheduler calls for every node of a running graph.
//!
//! The scheduler asks `ask = true` for node after node until the answer is true, computes them all, and then shows that
//! node with `ask = false`. Answering false there ends the graph: no later layer runs, and `llama_decode` reports
//! success. The native logits are then stale memory, so after a stop only the logits of our own head are read.

use super::head::{Head, HeadWeights};
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, c_void};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// llama.cpp's graph is not the one that this crate knows, or the head could not run on it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// The layers are not named and ordered as expected.
    #[error("layer {expected} of the graph is missing or out of order; this llama.cpp or model type is not supported")]
    LayerOrder {
        /// Index of the layer that should have come.
        expected: u32,
    },
    /// A layer's output is not a plain f32 matrix.
    #[error("the output of layer {layer} is not one f32 row per token; this llama.cpp or model type is not supported")]
    LayerShape {
        /// Index of the layer, from 0.
        layer: u32,
    },
    /// The end of the graph is not norm, scale, output matrix.
    #[error(
        "the graph does not end in RMS norm, scale and output matrix; this llama.cpp or model type is not supported"
    )]
    NoHead,
    /// llama.cpp split the batch, so rows and tokens cannot be matched.
    #[error(
        "llama.cpp ran {rows} rows of a batch of {tokens} tokens in one graph; update the pinned version with care"
    )]
    Rows {
        /// Rows of the graph.
        rows: i64,
        /// Tokens of the batch.
        tokens: usize,
    },
    /// The layer to stop behind did not come by.
    #[error("the graph ended before layer {layer}; this llama.cpp or model type is not supported")]
    NotReached {
        /// Index of the layer, from 0.
        layer: u32,
    },
    /// No backend computes on the memory of the output weights.
    #[error("no ggml backend can run the output head; load the model on the CPU")]
    NoDevice,
    /// The head's buffers could not be allocated.
    #[error("no memory for the output head; use a smaller batch")]
    NoMemory,
    /// ggml reported a failure.
    #[error("ggml could not compute the output head (status {0}); see the log of llama.cpp")]
    HeadFailed(i32),
    /// A bug in the callback.
    #[error("the graph callback panicked; please report this as a bug")]
    Panicked,
}

/// What happens behind the tapped layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::llm) enum Then {
    /// The rest of the graph is not run.
    Stop,
    /// The rest runs too, for a comparison with the native logits.
    Continue,
}

/// What the callback does in the next decode.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plan {
    /// Nothing: the whole model runs.
    Native,
    /// Run the whole model, check its layers and find the head weights.
    Survey,
    /// Run the head on the output of `layer` (index from 0).
    Tap { layer: u32, then: Then },
}

/// State behind the callback's user data.
pub(super) struct Hook {
    pub(super) plan: Plan,
    /// Tokens in the batch, all of one graph.
    pub(super) tokens: usize,
    /// Rows of the batch to run the head on, ascending.
    pub(super) rows: Vec<i32>,
    /// Row-major `[rows, n_vocab]`, from the last tap.
    pub(super) logits: Vec<f32>,
    pub(super) head: Option<Head>,
    pub(super) weights: Option<HeadWeights>,
    n_embd: i64,
    /// Layers met by the survey.
    layers: u32,
    /// Name of the tapped node.
    tapped: NodeName,
    reached: bool,
    fault: Option<GraphError>,
}

impl Hook {
    pub(super) fn new(n_embd: i64) -> Self {
        Self {
            plan: Plan::Native,
            tokens: 0,
            rows: Vec::new(),
            logits: Vec::new(),
            head: None,
            weights: None,
            n_embd,
            layers: 0,
            tapped: NodeName::layer(0),
            reached: false,
            fault: None,
        }
    }

    /// Prepares for one decode of `tokens` tokens.
    pub(super) fn arm(&mut self, plan: Plan, tokens: usize, rows: &[i32]) {
        if let Plan::Tap { layer, .. } = plan {
            self.tapped = NodeName::layer(layer);
        }
        self.plan = plan;
        self.tokens = tokens;
        self.rows.clear();
        self.rows.extend_from_slice(rows);
        self.layers = 0;
        self.reached = false;
        self.fault = None;
    }

    /// What went wrong in the decode that just ended. `n_layer` is what a survey must have met.
    pub(super) fn verdict(&mut self, n_layer: u32) -> Result<(), GraphError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        match self.plan {
            Plan::Survey if self.layers != n_layer => Err(GraphError::LayerOrder { expected: self.layers }),
            Plan::Survey if self.weights.is_none() => Err(GraphError::NoHead),
            Plan::Tap { layer, .. } if !self.reached => Err(GraphError::NotReached { layer }),
            Plan::Native | Plan::Survey | Plan::Tap { .. } => Ok(()),
        }
    }

    /// No more of the graph shall run.
    fn stopped(&self) -> bool {
        self.fault.is_some() || (self.reached && matches!(self.plan, Plan::Tap { then: Then::Stop, .. }))
    }

    /// # Safety
    /// `node` is a node of the running graph.
    unsafe fn ask(&mut self, node: *const sys::ggml_tensor) -> bool {
        // A stop ends only one part of a graph that is spread over devices. Look at the first node of the next part.
        if self.stopped() {
            return true;
        }
        match self.plan {
            Plan::Native => false,
            Plan::Survey => {
                // SAFETY: the node is valid (caller).
                if let Err(fault) = unsafe { self.survey(node) } {
                    self.fault = Some(fault);
                }
                false
            }
            // SAFETY: the node is valid (caller).
            Plan::Tap { .. } => self.tapped.is_of(unsafe { &(*node).name }),
        }
    }

    /// # Safety
    /// `node` is a node of the running graph and has been computed.
    unsafe fn see(&mut self, node: *mut sys::ggml_tensor) -> bool {
        if let Plan::Tap { layer, .. } = self.plan
            && !self.stopped()
        {
            self.reached = true;
            // SAFETY: the node is valid and computed (caller).
            if let Err(fault) = unsafe { self.tap(node, layer) } {
                self.fault = Some(fault);
            }
        }
        !self.stopped()
    }

    /// # Safety
    /// Like [`Hook::see`].
    unsafe fn tap(&mut self, node: *mut sys::ggml_tensor, layer: u32) -> Result<(), GraphError> {
        // SAFETY: the node is valid (caller).
        let rows = unsafe {
            self.check_shape(node, layer)?;
            (*node).ne[1]
        };
        if usize::try_from(rows) != Ok(self.tokens) {
            return Err(GraphError::Rows { rows, tokens: self.tokens });
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        let head = self.head.as_mut().ok_or(GraphError::NoHead)?;
        // SAFETY: the node is valid, computed and synchronized (caller); rows are below `tokens` (`Batch`).
        unsafe { head.run(node, &self.rows, &mut self.logits) }
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
                self.check_shape(node, self.layers)?;
                self.layers += 1;
            } else if name == b"result_output" {
                self.weights = Some(head_weights(node).ok_or(GraphError::NoHead)?);
            }
        }
        Ok(())
    }

    /// # Safety
    /// Like [`Hook::ask`].
    unsafe fn check_shape(&self, node: *const sys::ggml_tensor, layer: u32) -> Result<(), GraphError> {
        // SAFETY: the node is valid (caller).
        let plain = unsafe {
            (*node).type_ == sys::GGML_TYPE_F32
                && (*node).ne[0] == self.n_embd
                && (*node).ne[2] == 1
                && (*node).ne[3] == 1
                && (*node).view_src.is_null()
                && sys::ggml_is_contiguous(node)
        };
        if plain { Ok(()) } else { Err(GraphError::LayerShape { layer }) }
    }
}

/// Finds the weights behind `result_output = output * (norm * rms_norm(x))`.
///
/// # Safety
/// `node` is a node of the running graph.
unsafe fn head_weights(node: *const sys::ggml_tensor) -> Option<HeadWeights> {
    // SAFETY: the node is valid (caller), and so are the sources of a node; each is checked for null before use.
    unsafe {
        let is = |node: *const sys::ggml_tensor, op| !node.is_null() && (*node).op == op;
        let named = |node: *const sys::ggml_tensor, name: &CStr| CStr::from_ptr((*node).name.as_ptr()) == name;
        if !is(node, sys::GGML_OP_MUL_MAT) {
            return None;
        }
        let [output, scaled, ..] = (*node).src;
        if output.is_null() || !is(scaled, sys::GGML_OP_MUL) || !named(scaled, c"result_norm") {
            return None;
        }
        let [normed, norm, ..] = (*scaled).src;
        if norm.is_null() || !is(normed, sys::GGML_OP_RMS_NORM) {
            return None;
        }
        let epsilon = f32::from_bits((*normed).op_params[0].cast_unsigned());
        Some(HeadWeights { norm, output, epsilon })
    }
}

/// The name `l_out-<layer>` with its final NUL, ready for comparison: it is compared some hundred times per decode.
struct NodeName {
    bytes: [u8; 18],
    length: usize,
}

impl NodeName {
    fn layer(layer: u32) -> Self {
        let mut bytes = [0; 18];
        let mut free = &mut bytes[..];
        write!(free, "l_out-{layer}\0").expect("u32 has at most 10 digits");
        let length = 18 - free.len();
        Self { bytes, length }
    }

    fn is_of(&self, name: &[std::ffi::c_char; 64]) -> bool {
        self.bytes[..self.length].iter().zip(name).all(|(expected, found)| *expected == found.cast_unsigned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_a_whole() {
        let node = |text: &[u8]| {
            // Behind the NUL stands what an earlier, longer name left.
            let mut name = [b'0'.cast_signed(); 64];
            for (to, from) in name.iter_mut().zip(text) {
                *to = from.cast_signed();
            }
            name
        };
        assert!(NodeName::layer(1).is_of(&node(b"l_out-1\0")));
        assert!(NodeName::layer(u32::MAX).is_of(&node(b"l_out-4294967295\0")));
        for other in [&b"l_out-12\0"[..], b"l_out-\0", b"l_out\0", b"attn_out-1\0", b"\0"] {
            assert!(!NodeName::layer(1).is_of(&node(other)), "{}", other.escape_ascii());
        }
    }
}
