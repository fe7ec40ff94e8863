//! What a tensor is made of.

/// A tensor type of ggml. The numbers are those of `enum ggml_type`; what is missing has been removed from the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::llm) struct TensorType {
    number: u32,
    /// As ggml writes it.
    pub(in crate::llm) name: &'static str,
    /// Elements of a block, and its bytes.
    pub(super) block: u64,
    pub(super) block_bytes: u64,
    /// ggml multiplies matrices of it with vectors: `type_traits_cpu` in `ggml-cpu.c` of the pinned version has a
    /// `vec_dot`. It calls that of the others without looking, which is a null pointer.
    pub(in crate::llm) multiplies: bool,
}

/// The only type that the activations, which are of it too, can be added to or multiplied with number by number.
pub(in crate::llm) const F32: u32 = 0;

const fn weights(number: u32, name: &'static str, block: u64, block_bytes: u64) -> TensorType {
    TensorType { number, name, block, block_bytes, multiplies: true }
}

/// Integers, a float that nothing computes with, and the two that activations are quantized to on their way.
const fn other(number: u32, name: &'static str, block: u64, block_bytes: u64) -> TensorType {
    TensorType { multiplies: false, ..weights(number, name, block, block_bytes) }
}

const ALL: [TensorType; 35] = [
    weights(F32, "F32", 1, 4),
    weights(1, "F16", 1, 2),
    weights(2, "Q4_0", 32, 18),
    weights(3, "Q4_1", 32, 20),
    weights(6, "Q5_0", 32, 22),
    weights(7, "Q5_1", 32, 24),
    weights(8, "Q8_0", 32, 34),
    other(9, "Q8_1", 32, 36),
    weights(10, "Q2_K", 256, 84),
    weights(11, "Q3_K", 256, 110),
    weights(12, "Q4_K", 256, 144),
    weights(13, "Q5_K", 256, 176),
    weights(14, "Q6_K", 256, 210),
    other(15, "Q8_K", 256, 292),
    weights(16, "IQ2_XXS", 256, 66),
    weights(17, "IQ2_XS", 256, 74),
    weights(18, "IQ3_XXS", 256, 98),
    weights(19, "IQ1_S", 256, 50),
    weights(20, "IQ4_NL", 32, 18),
    weights(21, "IQ3_S", 256, 110),
    weights(22, "IQ2_S", 256, 82),
    weights(23, "IQ4_XS", 256, 136),
    other(24, "I8", 1, 1),
    other(25, "I16", 1, 2),
    other(26, "I32", 1, 4),
    other(27, "I64", 1, 8),
    other(28, "F64", 1, 8),
    weights(29, "IQ1_M", 256, 56),
    weights(30, "BF16", 1, 2),
    weights(34, "TQ1_0", 256, 54),
    weights(35, "TQ2_0", 256, 66),
    weights(39, "MXFP4", 32, 17),
    weights(40, "NVFP4", 64, 36),
    weights(41, "Q1_0", 128, 18),
    weights(42, "Q2_0", 64, 18),
];

/// The type of this number, if the pinned version of ggml has one.
pub(in crate::llm) fn of_number(number: u32) -> Option<TensorType> {
    ALL.into_iter().find(|kind| kind.number == number)
}
