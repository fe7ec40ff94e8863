//! Frames between a host and a microcontroller that decides for it.
//!
//! The host asks, the microcontroller answers: every [`Request`] gets one [`Reply`] that carries
//! the number of the request, and nobody speaks unasked. A request that stays without an answer
//! is sent again under the same number; a receiver that knows the number already repeats its
//! answer and does the work only once.
//!
//! # Terms
//!
//! - *frame*: protocol version, sequence number, postcard message and CRC-32, stuffed with COBS
//!   between two zero bytes. The bytes are specified in `docs/wire-format.md`.
//! - *segment*: what a receiver finds between two zero bytes; a frame or rubbish.
//! - *session*: everything from one [`Request::Hello`], which is always number
//!   [`SESSION_START`], to the next.
//!
//! ```
//! use controller_core::protocol::{Decoder, Order, REQUEST_FRAME, REQUEST_LEN, Request, encode};
//!
//! let mut buffer = [0; REQUEST_FRAME];
//! let frame = encode(7, &Request::Heartbeat, &mut buffer)?;
//! let mut decoder = Decoder::<REQUEST_LEN>::new();
//! decoder.restart();
//! for byte in b"rubbish".iter().chain(frame) {
//!     if let Some(received) = decoder.push::<Request>(*byte) {
//!         match received {
//!             Ok(received) => assert_eq!((received.sequence, received.order), (7, Order::Next)),
//!             Err(error) => println!("{error}"), // the rubbish
//!         }
//!     }
//! }
//! assert_eq!((decoder.counters().accepted, decoder.counters().corrupt), (1, 1));
//! # Ok::<(), controller_core::protocol::EncodeError>(())
//! ```

mod cobs;
mod decode;
mod encode;
mod message;
mod refusal;
mod status;

pub use decode::{Decoder, FrameError, LinkCounters, Order, Received};
pub use encode::{EncodeError, encode};
pub use message::{Configuration, EVENTS_PER_REPLY, Hello, Identity, Reply, Request, Upload};
pub use refusal::{Refusal, UploadRefusal};
pub use status::{Event, EventKind, InCharge, LoopCounters, Safety, Status};

use crate::policy::CRC;

/// Version of the protocol, the first byte of every frame. It rises with any change of the bytes.
pub const VERSION: u8 = 1;

/// Sequence number of the frame that opens a session, and of the answer to it. The numbers of a
/// session run from 1 to 65,535 and then start again at 1.
pub const SESSION_START: u16 = 0;

/// Bytes of a frame besides its message, before stuffing: version, sequence number, CRC-32.
pub const OVERHEAD: usize = 1 + 2 + 4;

/// Longest frame to the microcontroller, before stuffing. The largest request is a configuration.
pub const REQUEST_LEN: usize = 1024;

/// Longest frame to the host, before stuffing. The largest reply is the record of a turn.
pub const REPLY_LEN: usize = 448;

/// Longest request on the wire, zeros included: the size of a buffer to encode it into.
pub const REQUEST_FRAME: usize = wire_len(REQUEST_LEN);

/// Longest reply on the wire, zeros included: the size of a buffer to encode it into.
pub const REPLY_FRAME: usize = wire_len(REPLY_LEN);

/// Most bytes of a policy image in one [`Upload::Chunk`].
pub const CHUNK: usize = 256;

/// The number after `sequence` in a session.
#[must_use]
pub const fn following(sequence: u16) -> u16 {
    if sequence == u16::MAX { 1 } else { sequence + 1 }
}

/// CRC-32/ISO-HDLC of some bytes, as in frames, uploads and policy images.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// Bytes on the wire of a frame of `raw` bytes: one more per 254, and a zero at either end.
const fn wire_len(raw: usize) -> usize {
    raw + raw / cobs::LONGEST_RUN + 1 + 2
}
