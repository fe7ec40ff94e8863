//! Nodes of llama.cpp's graph: how they are called and how they look.

use super::fault::GraphError;
use super::head::HeadWeights;
use llama_cpp_sys_2 as sys;
use std::ffi::CStr;
use std::io::Write;

/// Whether `node` is called `name`.
///
/// # Safety
/// `node` is a node of the running graph, or null.
pub(super) unsafe fn is_named(node: *const sys::ggml_tensor, name: &CStr) -> bool {
    // SAFETY: the node is valid if not null (caller); names end in NUL.
    !node.is_null() && unsafe { CStr::from_ptr((*node).name.as_ptr()) } == name
}

/// Checks that the output of `layer` is one f32 row of `n_embd` numbers per token.
///
/// # Safety
/// `node` is a node of the running graph.
pub(super) unsafe fn check_shape(node: *const sys::ggml_tensor, layer: u32, n_embd: i64) -> Result<(), GraphError> {
    // SAFETY: the node is valid (caller).
    let plain = unsafe {
        (*node).type_ == sys::GGML_TYPE_F32
            && (*node).ne[0] == n_embd
            && (*node).ne[2] == 1
            && (*node).ne[3] == 1
            && (*node).view_src.is_null()
            && sys::ggml_is_contiguous(node)
    };
    if plain { Ok(()) } else { Err(GraphError::LayerShape { layer }) }
}

/// The cells that the tokens of the batch write to, if `node` is the first that writes keys.
///
/// # Safety
/// `node` is a node of the running graph, whose inputs are set.
pub(super) unsafe fn cells_of(node: *const sys::ggml_tensor, cells: &mut Vec<i64>) -> bool {
    // SAFETY: the node is valid (caller), and so are the sources of a node. The buffer is as long as the tensor.
    unsafe {
        let numbers = (*node).src[1];
        if (*node).op != sys::GGML_OP_SET_ROWS || !is_named(numbers, c"attn_inp_k_idxs") {
            return false;
        }
        let count = usize::try_from((*numbers).ne[0]).unwrap_or(0);
        if (*numbers).type_ != sys::GGML_TYPE_I64 || sys::ggml_nbytes(numbers) != count * size_of::<i64>() {
            return false;
        }
        cells.resize(count, 0);
        sys::ggml_backend_tensor_get(numbers, cells.as_mut_ptr().cast(), 0, count * size_of::<i64>());
    }
    true
}

/// Whether `node` writes keys or values to the cache.
///
/// # Safety
/// `node` is a node of the running graph.
pub(super) unsafe fn writes_cache(node: *const sys::ggml_tensor) -> bool {
    // SAFETY: the node is valid (caller), and so are the sources of a node.
    unsafe {
        let numbers = (*node).src[1];
        (*node).op == sys::GGML_OP_SET_ROWS
            && (is_named(numbers, c"attn_inp_k_idxs") || is_named(numbers, c"attn_inp_v_idxs"))
    }
}

/// Finds the weights behind `result_output = output * (norm * rms_norm(x))`.
///
/// # Safety
/// `node` is a node of the running graph.
pub(super) unsafe fn head_weights(node: *const sys::ggml_tensor) -> Option<HeadWeights> {
    // SAFETY: the node is valid (caller), and so are the sources of a node; each is checked for null before use.
    unsafe {
        let is = |node: *const sys::ggml_tensor, op| !node.is_null() && (*node).op == op;
        if !is(node, sys::GGML_OP_MUL_MAT) {
            return None;
        }
        let [output, scaled, ..] = (*node).src;
        if output.is_null() || !is(scaled, sys::GGML_OP_MUL) || !is_named(scaled, c"result_norm") {
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
pub(super) struct NodeName {
    bytes: [u8; 18],
    length: usize,
}

impl NodeName {
    pub(super) fn layer(layer: u32) -> Self {
        let mut bytes = [0; 18];
        let mut free = &mut bytes[..];
        write!(free, "l_out-{layer}\0").expect("u32 has at most 10 digits");
        let length = 18 - free.len();
        Self { bytes, length }
    }

    pub(super) fn is_of(&self, name: &[std::ffi::c_char; 64]) -> bool {
        self.bytes[..self.length].iter().zip(name).all(|(expected, found)| *expected == found.cast_unsigned())
    }
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
