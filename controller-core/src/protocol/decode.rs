//! Bytes as they come from the line to messages, with a count of everything that went wrong.

use super::cobs::{Unstuffed, Unstuffer};
use super::{OVERHEAD, Tag, VERSION, checksum};
use crate::wire::{Decode, Reader, wire};
use core::fmt;
use serde::{Deserialize, Serialize};

/// How a frame relates to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Number 0: a greeting or the answer to one. It changes nothing here; whoever accepts it
    /// calls [`Decoder::restart`].
    Greeting,
    /// Of the session, and newer than everything before it.
    Next,
    /// The newest frame once more: it was sent again, or came twice.
    Repeated,
    /// Of the session, and older than the newest frame: of no use.
    Late,
    /// Of another session, or there is none.
    Foreign,
}

/// A message that arrived unharmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<M> {
    /// Session and number of the frame.
    pub tag: Tag,
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
        /// Session and number of the frame.
        tag: Tag,
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
            Self::Malformed { tag: Tag { number, .. } } => {
                write!(f, "frame {number} is unharmed but no message of this version; update the older side")
            }
        }
    }
}

impl core::error::Error for FrameError {}

/// What became of every segment so far. The counts stop at the top instead of wrapping.
///
/// Each segment is counted once among the first nine, so [`LinkCounters::sorted`] equals
/// `segments`. Within a session, `accepted` and `lost` together are the number of the newest
/// frame (until the numbers start again).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCounters {
    /// Messages newer than all before.
    pub accepted: u32,
    /// Greetings, and answers to them.
    pub greetings: u32,
    /// Messages with the number of the newest one.
    pub repeated: u32,
    /// Messages older than the newest one.
    pub late: u32,
    /// Messages of another session.
    pub foreign: u32,
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

wire!(struct LinkCounters {
    accepted,
    greetings,
    repeated,
    late,
    foreign,
    corrupt,
    oversize,
    other_version,
    malformed,
    segments,
    lost,
});

impl LinkCounters {
    /// The segments again, as the sum of what became of them.
    #[must_use]
    pub fn sorted(&self) -> u32 {
        [
            self.accepted,
            self.greetings,
            self.repeated,
            self.late,
            self.foreign,
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
    newest: Option<Tag>,
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
                greetings: 0,
                repeated: 0,
                late: 0,
                foreign: 0,
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
    pub const fn restart(&mut self, session: u16) {
        self.newest = Some(Tag::greeting(session));
    }

    /// Counts of this decoder since it was made.
    #[must_use]
    pub const fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    /// Takes one byte from the line. Something is returned when the byte ends a segment.
    pub fn push<'a, M: Decode<'a>>(&'a mut self, byte: u8) -> Option<Result<Received<M>, FrameError>> {
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
        let (error, counter) = match open(frame.get(..length), complete) {
            Ok((tag, bytes)) => {
                // The message is as large as the largest: it is read where it stays, and asked afterwards.
                let mut reader = Reader::new(bytes);
                let message = M::read(&mut reader);
                if reader.is_done() {
                    let order = place(tag, newest, &mut counters.lost);
                    count(match order {
                        Order::Greeting => &mut counters.greetings,
                        Order::Next => &mut counters.accepted,
                        Order::Repeated => &mut counters.repeated,
                        Order::Late => &mut counters.late,
                        Order::Foreign => &mut counters.foreign,
                    });
                    return Some(Ok(Received { tag, order, message }));
                }
                (FrameError::Malformed { tag }, &mut counters.malformed)
            }
            Err(error @ FrameError::Oversize) => (error, &mut counters.oversize),
            Err(error @ FrameError::Version { .. }) => (error, &mut counters.other_version),
            Err(error) => (error, &mut counters.corrupt),
        };
        count(counter);
        Some(Err(error))
    }
}

fn count(counter: &mut u32) {
    *counter = counter.saturating_add(1);
}

/// Checks a frame, `None` when it was too long, and finds its message. The checksum comes first: its
/// place and that of the version are the same in every version, so a frame of another version is
/// known for certain.
#[inline(never)]
fn open(frame: Option<&[u8]>, complete: bool) -> Result<(Tag, &[u8]), FrameError> {
    let frame = frame.ok_or(FrameError::Oversize)?;
    let (body, sum) = frame.split_last_chunk::<4>().filter(|_| complete).ok_or(FrameError::Corrupt)?;
    if checksum(body) != u32::from_le_bytes(*sum) {
        return Err(FrameError::Corrupt);
    }
    let (&version, rest) = body.split_first().ok_or(FrameError::Corrupt)?;
    if version != VERSION {
        return Err(FrameError::Version { found: version });
    }
    let (&[s0, s1, n0, n1], message) = rest.split_first_chunk::<4>().ok_or(FrameError::Corrupt)?;
    Ok((Tag { session: u16::from_le_bytes([s0, s1]), number: u16::from_le_bytes([n0, n1]) }, message))
}

/// Where a frame stands in the session, which it moves on if it is new.
fn place(tag: Tag, newest: &mut Option<Tag>, skipped: &mut u32) -> Order {
    /// Numbers of a session before they start again.
    const NUMBERS: u32 = u16::MAX as u32;
    if tag.number == 0 {
        return Order::Greeting;
    }
    let Some(last) = newest.filter(|newest| newest.session == tag.session) else { return Order::Foreign };
    match (u32::from(tag.number) + NUMBERS - u32::from(last.number)) % NUMBERS {
        0 if tag == last => Order::Repeated,
        ahead @ 1..=0x7FFF => {
            *newest = Some(tag);
            *skipped = skipped.saturating_add(ahead - 1);
            Order::Next
        }
        _ => Order::Late,
    }
}
