//! Pins and buses of a carrier board, through the traits of embedded-hal 1.0: what is written for one of
//! its implementations works on all of them, and on the mocks of the tests.
//!
//! | module | role |
//! |---|---|
//! | [`line`](mod@line) | one output line: character device, or sysfs on `JetPack` 4 and 5 |
//! | [`strobe`] | shows an oscilloscope when a batch runs |
//! | [`ina3221`] | power of a carrier whose kernel has no driver for its sensor |

pub mod ina3221;
pub mod line;
pub mod strobe;
