//! Frames between a host and a microcontroller that decides for it.
//!
//! The host asks, the microcontroller answers: every [`Request`] gets one [`Reply`] that carries
//! the number of the request, and nobody speaks unasked. A request that stays without an answer
//! is sent again under the same number; a receiver that knows the number already repeats its
//! answer and does the work only once. [`Client`] is the host's end of that.
//!
//! # Terms
//!
//! - *frame*: protocol version, tag, postcard message and CRC-32, stuffed with COBS between two
//!   zero bytes. The bytes are specified in `docs/wire-format.md`.
//! - *tag*: session and number of a request, and of the reply to it.
//! - *segment*: what a receiver finds between two zero bytes; a frame or rubbish.
//! - *session*: everything from one [`Request::Hello`], which has number 0, to the next.
//!
//! ```
//! use controller_core::protocol::{Decoder, Order, REQUEST_FRAME, REQUEST_LEN, Request, Tag, encode};
//!
//! let (tag, mut buffer) = (Tag { session: 7, number: 1 }, [0; REQUEST_FRAME]);
//! let frame = encode(tag, &Request::Heartbeat, &mut buffer)?;
//! let mut decoder = Decoder::<REQUEST_LEN>::new();
//! decoder.restart(7);
//! for byte in b"rubbish".iter().chain(frame) {
//!     if let Some(received) = decoder.push::<Request>(*byte) {
//!         match received {
//!             Ok(received) => assert_eq!((received.tag, received.order), (tag, Order::Next)),
//!             Err(error) => println!("{error}"), // the rubbish
//!         }
//!     }
//! }
//! assert_eq!((decoder.counters().accepted, decoder.counters().corrupt), (1, 1));
//! # Ok::<(), controller_core::protocol::EncodeError>(())
//! ```

mod client;
mod cobs;
mod decode;
mod encode;
mod message;
mod refusal;
mod status;

pub use crate::checksum::checksum;
pub use client::Client;
pub use decode::{Decoder, FrameError, LinkCounters, Order, Received};
pub use encode::{EncodeError, encode};
pub use message::{Configuration, EVENTS_PER_REPLY, Identity, Reply, Request, Upload};
pub use refusal::{Refusal, UploadRefusal};
pub use status::{Event, EventKind, InCharge, LoopCounters, Safety, Status};

/// Version of the protocol, the first byte of every frame. It rises with any change of the bytes.
pub const VERSION: u8 = 1;

/// Bytes of a frame besides its message, before stuffing: version, session, number, CRC-32.
pub const OVERHEAD: usize = 1 + 2 + 2 + 4;

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

/// Which request a frame is, or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The session, chosen by the host, another one each time.
    pub session: u16,
    /// 0 for the greeting; then 1 to 65,535, and 1 again.
    pub number: u16,
}

impl Tag {
    /// The tag that opens a session.
    #[must_use]
    pub const fn greeting(session: u16) -> Self {
        Self { session, number: 0 }
    }

    /// The next one of the session.
    #[must_use]
    pub const fn following(self) -> Self {
        Self { number: if self.number == u16::MAX { 1 } else { self.number + 1 }, ..self }
    }
}

/// Bytes on the wire of a frame of `raw` bytes: one more per 254, and a zero at either end.
const fn wire_len(raw: usize) -> usize {
    raw + raw / cobs::LONGEST_RUN + 1 + 2
}
