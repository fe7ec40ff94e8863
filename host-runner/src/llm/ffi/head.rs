//! The model's output head as a graph of our own: rows -> RMS norm -> output matrix -> logits.
//!
//! The two weights are the model's tensors, not copies, so a head costs no memory and a tied embedding stays tied.

use super::fault::GraphError;
use llama_cpp_sys_2 as sys;
use std::ptr;

/// The tensors and the constant of the head, read from llama.cpp's own graph.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadWeights {
    /// f32 `[n_embd]`.
    pub(super) norm: *mut sys::ggml_tensor,
    /// `[n_embd, n_vocab]` in ggml's order (fastest dimension first).
    pub(super) output: *mut sys::ggml_tensor,
    /// Added to the mean square before the root.
    pub(super) epsilon: f32,
}

/// A head with the ggml backend that runs it.
pub(super) struct Head {
    weights: HeadWeights,
    /// Before the backend, so that its buffers are freed first.
    allocator: Allocator,
    backend: Backend,
    /// Where ggml puts the graph's nodes. Kept between calls: a CUDA graph is recognized by its node addresses.
    /// `u128` for ggml's alignment of 16 bytes.
    arena: Vec<u128>,
}

/// What the CPU backend exports as `ggml_backend_set_n_threads`.
type SetThreads = unsafe extern "C" fn(sys::ggml_backend_t, i32);

/// Slots for nodes and for leaves; the head has four of each.
const GRAPH_SLOTS: usize = 16;

impl Head {
    /// # Safety
    /// The tensors of `weights` belong to a model that outlives the head.
    pub(super) unsafe fn new(weights: HeadWeights, threads: i32) -> Result<Self, GraphError> {
        // SAFETY: `output` is a loaded weight (caller), so its buffer is set. The handles made here are owned by the
        // wrappers around them. "ggml_backend_set_n_threads" names a function of the type `SetThreads` in every
        // backend that has it.
        unsafe {
            let device = device_of((*weights.output).buffer).ok_or(GraphError::NoDevice)?;
            let backend = Backend(sys::ggml_backend_dev_init(device, ptr::null()));
            if backend.0.is_null() {
                return Err(GraphError::NoDevice);
            }
            let registry = sys::ggml_backend_dev_backend_reg(device);
            let address = sys::ggml_backend_reg_get_proc_address(registry, c"ggml_backend_set_n_threads".as_ptr());
            if !address.is_null() {
                std::mem::transmute::<*mut std::ffi::c_void, SetThreads>(address)(backend.0, threads);
            }
            let allocator = Allocator(sys::ggml_gallocr_new(sys::ggml_backend_get_default_buffer_type(backend.0)));
            let bytes = sys::ggml_tensor_overhead() * GRAPH_SLOTS + sys::ggml_graph_overhead_custom(GRAPH_SLOTS, false);
            Ok(Self { weights, allocator, backend, arena: vec![0; bytes.div_ceil(size_of::<u128>())] })
        }
    }

    /// Applies the head to `rows` of `hidden` (f32 `[n_embd, tokens]`, contiguous) and writes row-major logits
    /// `[rows, n_vocab]` to `logits`.
    ///
    /// # Safety
    /// `hidden` is a computed node of the running graph, every row is below its second dimension, and nothing else
    /// computes on its memory meanwhile.
    pub(super) unsafe fn run(
        &mut self,
        hidden: *mut sys::ggml_tensor,
        rows: &[i32],
        logits: &mut Vec<f32>,
    ) -> Result<(), GraphError> {
        // SAFETY: the arena outlives `graph_context`, which is freed at the end of this block; all nodes live in it.
        // `hidden` is valid (caller) and the weights are (`new`). The sizes given to set and get are those of the
        // tensors. ggml checks that the arena is large enough.
        unsafe {
            let graph_context = GraphContext(sys::ggml_init(sys::ggml_init_params {
                mem_size: self.arena.len() * size_of::<u128>(),
                mem_buffer: self.arena.as_mut_ptr().cast(),
                no_alloc: true,
            }));
            let ggml = graph_context.0;

            // A leaf in the place of `hidden`: ggml walks from a node to its sources, and would run the model again.
            let source = sys::ggml_new_tensor_2d(ggml, (*hidden).type_, (*hidden).ne[0], (*hidden).ne[1]);
            let same_device = device_of((*hidden).buffer) == Some(sys::ggml_backend_get_device(self.backend.0));
            if same_device {
                let status = sys::ggml_backend_tensor_alloc((*hidden).buffer, source, (*hidden).data);
                if status != sys::GGML_STATUS_SUCCESS {
                    return Err(GraphError::HeadFailed(status));
                }
            } else {
                sys::ggml_set_input(source);
            }
            let ids = sys::ggml_new_tensor_1d(ggml, sys::GGML_TYPE_I32, dimension(rows.len()));
            sys::ggml_set_input(ids);
            let x = sys::ggml_get_rows(ggml, source, ids);
            let x = sys::ggml_rms_norm(ggml, x, self.weights.epsilon);
            let x = sys::ggml_mul(ggml, x, self.weights.norm);
            let output = sys::ggml_mul_mat(ggml, self.weights.output, x);
            sys::ggml_set_output(output);
            let graph = sys::ggml_new_graph_custom(ggml, GRAPH_SLOTS, false);
            sys::ggml_build_forward_expand(graph, output);

            if !sys::ggml_gallocr_alloc_graph(self.allocator.0, graph) {
                return Err(GraphError::NoMemory);
            }
            if !same_device {
                sys::ggml_backend_tensor_copy(hidden, source);
            }
            sys::ggml_backend_tensor_set(ids, rows.as_ptr().cast(), 0, size_of_val(rows));
            let status = sys::ggml_backend_graph_compute(self.backend.0, graph);
            if status != sys::GGML_STATUS_SUCCESS {
                return Err(GraphError::HeadFailed(status));
            }
            let bytes = sys::ggml_nbytes(output);
            logits.resize(bytes / size_of::<f32>(), 0.0);
            sys::ggml_backend_tensor_get(output, logits.as_mut_ptr().cast(), 0, bytes);
        }
        Ok(())
    }
}

fn dimension(rows: usize) -> i64 {
    i64::try_from(rows).expect("a batch has fewer than 2^63 rows")
}

/// The device that computes on tensors in `buffer`, if there is one.
///
/// # Safety
/// `buffer` is a live ggml buffer.
unsafe fn device_of(buffer: sys::ggml_backend_buffer_t) -> Option<sys::ggml_backend_dev_t> {
    // SAFETY: `buffer` is live (caller); buffer types and devices live as long as the process.
    unsafe {
        let buffer_type = sys::ggml_backend_buffer_get_type(buffer);
        let mut device = sys::ggml_backend_buft_get_device(buffer_type);
        // Memory-mapped weights lie in host memory but name no device.
        if device.is_null() && sys::ggml_backend_buft_is_host(buffer_type) {
            device = sys::ggml_backend_dev_by_type(sys::GGML_BACKEND_DEVICE_TYPE_CPU);
        }
        (!device.is_null()).then_some(device)
    }
}

struct Backend(sys::ggml_backend_t);

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: this wrapper owns the backend; ggml accepts null.
        unsafe { sys::ggml_backend_free(self.0) }
    }
}

struct Allocator(sys::ggml_gallocr_t);

impl Drop for Allocator {
    fn drop(&mut self) {
        // SAFETY: this wrapper owns the allocator; ggml accepts null.
        unsafe { sys::ggml_gallocr_free(self.0) }
    }
}

struct GraphContext(*mut sys::ggml_context);

impl Drop for GraphContext {
    fn drop(&mut self) {
        // SAFETY: this wrapper owns the context; the arena behind it is freed by its own owner.
        unsafe { sys::ggml_free(self.0) }
    }
}
