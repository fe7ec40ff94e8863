//! The host's end: one request at a time, asked again until it is answered.

use super::{
    Decoder, EncodeError, FrameError, LinkCounters, Order, REPLY_LEN, REQUEST_FRAME, Reply, Request, Tag, encode,
};

/// Asks and waits. It has no clock and no line: the caller sends the bytes that it is given, hands
/// in those that come, and asks again when nothing came in time.
///
/// ```
/// use controller_core::protocol::{Client, Reply, REPLY_FRAME, Request, Tag, encode};
///
/// let mut client = Client::new();
/// client.greet(7)?;
/// assert!(!client.frame().is_empty()); // to be sent, and sent again while no answer comes
/// let mut buffer = [0; REPLY_FRAME];
/// let answer = encode(Tag::greeting(7), &<Reply>::Acknowledged, &mut buffer)?;
/// let replies: Vec<Reply> = answer.iter().filter_map(|byte| client.receive(*byte)).collect();
/// assert_eq!(replies, [Reply::Acknowledged]);
/// client.ask(&Request::Heartbeat)?;
/// # Ok::<(), controller_core::protocol::EncodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    tag: Tag,
    waiting: bool,
    request: [u8; REQUEST_FRAME],
    length: usize,
    decoder: Decoder<REPLY_LEN>,
    other_version: Option<u8>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A host that has not greeted yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tag: Tag::greeting(0),
            waiting: false,
            request: [0; REQUEST_FRAME],
            length: 0,
            decoder: Decoder::new(),
            other_version: None,
        }
    }

    /// Begins a session: its number must be another one than that of any session before.
    pub fn greet(&mut self, session: u16) -> Result<(), EncodeError> {
        self.decoder.restart(session);
        self.prepare(Tag::greeting(session), &Request::Hello)
    }

    /// Asks something in the session. A request that was not answered is given up.
    pub fn ask(&mut self, request: &Request<'_>) -> Result<(), EncodeError> {
        self.prepare(self.tag.following(), request)
    }

    fn prepare(&mut self, tag: Tag, request: &Request<'_>) -> Result<(), EncodeError> {
        self.length = encode(tag, request, &mut self.request)?.len();
        self.tag = tag;
        self.waiting = true;
        Ok(())
    }

    /// The bytes of the present request, to be sent once, and again whenever no answer came.
    #[must_use]
    pub fn frame(&self) -> &[u8] {
        self.request.get(..self.length).unwrap_or_default()
    }

    /// Whether the present request has no answer yet.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Takes one byte from the line; the answer to the present request, when this byte ends it.
    /// Answers to earlier requests and second copies are dropped.
    pub fn receive(&mut self, byte: u8) -> Option<Reply> {
        match self.decoder.push::<Reply>(byte)? {
            Ok(received) if self.waiting && received.tag == self.tag && received.order != Order::Late => {
                self.waiting = false;
                Some(received.message)
            }
            Err(FrameError::Version { found }) => {
                self.other_version = Some(found);
                None
            }
            _ => None,
        }
    }

    /// The protocol version of a firmware that speaks another one than this build.
    #[must_use]
    pub const fn other_version(&self) -> Option<u8> {
        self.other_version
    }

    /// What came over the line so far.
    #[must_use]
    pub const fn counters(&self) -> &LinkCounters {
        self.decoder.counters()
    }
}
