//! Policies that were trained elsewhere: the checkpoints of the published prototype.
//!
//! | module | role |
//! |---|---|
//! | [`zip`] | entries of an uncompressed zip archive |
//! | [`pickle`] | the part of Python's pickle that a state dict needs, and nothing that could run |
//! | [`torch`] | `PyTorch` checkpoint to named tensors |
//! | [`prototype`] | named tensors to a policy: its network, what it sees and what it chooses |
//!
//! Written here rather than taken from a crate: the readers in use refuse the published file (they
//! look for the archive's start by the wrong end record), and one that knows two callables has
//! nothing to be tricked into.

pub mod pickle;
pub mod prototype;
pub mod torch;
pub mod zip;
