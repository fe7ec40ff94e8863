//! Bytes as they come from the line to messages, with a count of everything that went wrong.

use super::cobs::{Unstuffed, Unstuffer};
use super::{OVERHEAD, SESSION_START, VERSION, checksum};
use core::fmt;
use serde::{Deserialize, Serialize};

/// How a frame's number relates to those before it in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Number [`SESSION_START`]: a greeting or the answer to one. It moves no window; whoever
    /// accepts it calls [`Decoder::restart`].
    Session,
    /// Newer than everything before it.
    Next,
    /// The same number as the newest frame: it was sent again, or came twice.
    Repeated,
    /// Older than the newest frame, or before any session: of no use.
    Late,
}

/// A message that arrived unharmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<M> {
    /// Number of the frame.
    pub sequence: u16,
    /// Its place among the others.
    pub order: Order,
    /// What it says.
    pub message: M,
}

/// Why a segment is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Bytes were lost or changed on the line, or there never was a frame.
    Corrupt,
    /// More bytes than any frame of this direction has.
    Oversize,
    /// An unharmed frame of another protocol version.
    Version {
        /// The version it has.
        found: u8,
    },
    /// An unharmed frame whose content is no message of this direction.
    Malformed {
        /// Number of the frame.
        sequence: u16,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Corrupt => write!(f, "bytes were lost or changed on the line; send the frame again"),
            Self::Oversize => write!(f, "the frame is longer than any message; send what this version knows"),
            Self::Version { found } => {
                write!(f, "the frame has protocol version {found}, this build speaks {VERSION}; update the older side")
            }
            Self::Malformed { sequence } => {
                write!(f, "frame {sequence} is unharmed but no message of this version; update the older side")
            }
        }
    }
}

impl core::error::Error for FrameError {}

/// What became of every segment so far. The counts stop at the top instead of wrapping.
///
/// Each segment is counted once among the first eight, so [`LinkCounters::sorted`] equals
/// `segments`. Within a session, `accepted` and `lost` together are the number of the newest
/// frame (until the numbers start again).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCounters {
    /// Messages newer than all before.
    pub accepted: u32,
    /// Messages that open a session.
    pub sessions: u32,
    /// Messages with the number of the newest one.
    pub repeated: u32,
    /// Messages older than the newest one.
    pub late: u32,
    /// Segments with a wrong checksum or broken stuffing.
    pub corrupt: u32,
    /// Segments longer than any frame.
    pub oversize: u32,
    /// Unharmed frames of another version.
    pub other_version: u32,
    /// Unharmed frames that say nothing known.
    pub malformed: u32,
    /// Everything between two zero bytes, counted where it ends.
    pub segments: u32,
    /// Numbers that were skipped: frames that never came, or came late.
    pub lost: u32,
}

impl LinkCounters {
    /// The segments again, as the sum of what became of them.
    #[must_use]
    pub fn sorted(&self) -> u32 {
        [
            self.accepted,
            self.sessions,
            self.repeated,
            self.late,
            self.corrupt,
            self.oversize,
            self.other_version,
            self.malformed,
        ]
        .into_iter()
        .fold(0, u32::saturating_add)
    }
}

/// Finds frames in a stream of bytes that may begin anywhere and lose anything. `N` is the
/// longest frame before stuffing: [`super::REQUEST_LEN`] or [`super::REPLY_LEN`].
#[derive(Clone, Debug)]
pub struct Decoder<const N: usize> {
    frame: [u8; N],
    /// Bytes of the frame so far; above `N` when it did not fit.
    length: usize,
    unstuffer: Unstuffer,
    /// The segment has at least one byte.
    begun: bool,
    newest: Option<u16>,
    counters: LinkCounters,
}

impl<const N: usize> Default for Decoder<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Decoder<N> {
    /// A decoder that has seen nothing and is in no session.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(N > OVERHEAD, "a frame has at least one byte of message") };
        Self {
            frame: [0; N],
            length: 0,
            unstuffer: Unstuffer::new(),
            begun: false,
            newest: None,
            counters: LinkCounters {
                accepted: 0,
                sessions: 0,
                repeated: 0,
                late: 0,
                corrupt: 0,
                oversize: 0,
                other_version: 0,
                malformed: 0,
                segments: 0,
                lost: 0,
            },
        }
    }

    /// Begins a session: the next number is 1.
    pub const fn restart(&mut self) {
        self.newest = Some(SESSION_START);
    }

    /// Counts of this decoder since it was made.
    #[must_use]
    pub const fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    /// Takes one byte from the line. Something is returned when the byte ends a segment.
    pub fn push<'a, M: Deserialize<'a>>(&'a mut self, byte: u8) -> Option<Result<Received<M>, FrameError>> {
        if byte != 0 {
            self.begun = true;
            if let Unstuffed::Byte(byte) = self.unstuffer.push(byte) {
                if let Some(slot) = self.frame.get_mut(self.length) {
                    *slot = byte;
                }
                self.length = self.length.saturating_add(1);
            }
            return None;
        }
        let begun = core::mem::take(&mut self.begun);
        let length = core::mem::take(&mut self.length);
        let complete = core::mem::replace(&mut self.unstuffer, Unstuffer::new()).is_complete();
        if !begun {
            return None; // nothing between two zeros, as between any two frames
        }
        let Self { frame, newest, counters, .. } = self;
        count(&mut counters.segments);
        let opened = match frame.get(..length) {
            None => Err(FrameError::Oversize),
            Some(_) if !complete => Err(FrameError::Corrupt),
            Some(frame) => open(frame),
        };
        let received = opened.map(|(sequence, message)| {
            let order = place(sequence, newest, &mut counters.lost);
            Received { sequence, order, message }
        });
        count(match &received {
            Ok(Received { order: Order::Session, .. }) => &mut counters.sessions,
            Ok(Received { order: Order::Next, .. }) => &mut counters.accepted,
            Ok(Received { order: Order::Repeated, .. }) => &mut counters.repeated,
            Ok(Received { order: Order::Late, .. }) => &mut counters.late,
            Err(FrameError::Corrupt) => &mut counters.corrupt,
            Err(FrameError::Oversize) => &mut counters.oversize,
            Err(FrameError::Version { .. }) => &mut counters.other_version,
            Err(FrameError::Malformed { .. }) => &mut counters.malformed,
        });
        Some(received)
    }
}

fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}

/// Checks a frame and reads its message. The checksum comes first: its place and that of the
/// version are the same in every version, so a frame of another version is known for certain.
fn open<'a, M: Deserialize<'a>>(frame: &'a [u8]) -> Result<(u16, M), FrameError> {
    let (body, sum) = frame.split_last_chunk::<4>().ok_or(FrameError::Corrupt)?;
    if checksum(body) != u32::from_le_bytes(*sum) {
        return Err(FrameError::Corrupt);
    }
    let (&[version, low, high], message) = body.split_first_chunk::<3>().ok_or(FrameError::Corrupt)?;
    if version != VERSION {
        return Err(FrameError::Version { found: version });
    }
    let sequence = u16::from_le_bytes([low, high]);
    match postcard::take_from_bytes(message) {
        Ok((message, [])) => Ok((sequence, message)),
        _ => Err(FrameError::Malformed { sequence }),
    }
}

/// Where a number stands in the session, which it moves on if it is new.
fn place(sequence: u16, newest: &mut Option<u16>, skipped: &mut u32) -> Order {
    /// Numbers of a session before they start again.
    const NUMBERS: u32 = u16::MAX as u32;
    if sequence == SESSION_START {
        return Order::Session;
    }
    let Some(last) = *newest else { return Order::Late };
    match (u32::from(sequence) + NUMBERS - u32::from(last)) % NUMBERS {
        0 if sequence == last => Order::Repeated,
        ahead @ 1..=0x7FFF => {
            *newest = Some(sequence);
            *skipped = skipped.saturating_add(ahead - 1);
            Order::Next
        }
        _ => Order::Late,
    }
}
