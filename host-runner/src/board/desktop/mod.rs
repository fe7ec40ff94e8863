//! Machines that are no Jetson, read-only: plain Linux and NVIDIA GPUs, so that energy per token is
//! measured on a laptop, too.

mod linux;
mod nvml;
pub mod rapl;

pub use linux::Linux;
pub use nvml::Nvml;
