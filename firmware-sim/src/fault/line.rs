//! A line that does not do what it should to some of its frames.

use crate::line::Pipe;
use controller_core::protocol::REQUEST_FRAME;
use controller_core::rng::Pcg32;
use heapless::Vec;

/// Most frames that are held back at a time.
const HELD: usize = 4;

/// How long a frame is held back at most, in frames.
const LONGEST_DELAY: u32 = 8;

/// What became of the frames so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    /// Frames handed in.
    pub sent: u32,
    /// Frames that never come out.
    pub dropped: u32,
    /// Frames that come out twice.
    pub doubled: u32,
    /// Frames that come out behind a later one, at once or after several.
    pub delayed: u32,
    /// Frames of which bits were changed, or bytes added or taken away.
    pub changed: u32,
    /// Frames that come out in two pieces with time between.
    pub cut: u32,
    /// Unharmed copies that have come out whole.
    pub delivered: u32,
}

type Bytes = Vec<u8, { REQUEST_FRAME + 8 }>;

/// One direction of a line.
#[derive(Clone, Debug)]
pub struct LineFaults {
    rng: Pcg32,
    per_mille: u32,
    held: Vec<(u32, Bytes), HELD>,
    /// Second half of a frame that was cut; nothing can come before it.
    rest: Bytes,
    counts: LineCounts,
}

impl LineFaults {
    /// A line that fails on `per_mille` of a thousand frames.
    #[must_use]
    pub const fn new(seed: u64, per_mille: u32) -> Self {
        Self {
            rng: Pcg32::new(seed),
            per_mille,
            held: Vec::new(),
            rest: Vec::new(),
            counts: LineCounts { sent: 0, dropped: 0, doubled: 0, delayed: 0, changed: 0, cut: 0, delivered: 0 },
        }
    }

    /// What became of the frames so far. A frame that is held back or cut counts as delivered when
    /// it has come out.
    #[must_use]
    pub const fn counts(&self) -> LineCounts {
        self.counts
    }

    /// Carries one frame, or loses it.
    pub fn carry(&mut self, frame: &[u8], to: &mut Pipe) {
        self.finish_cut(to);
        self.counts.sent += 1;
        let fault = if self.rng.below(1000) < self.per_mille { 1 + self.rng.below(6) } else { 0 };
        match fault {
            1 => self.counts.dropped += 1,
            2 => {
                self.counts.doubled += 1;
                self.deliver(frame, to);
                self.deliver(frame, to);
            }
            3 if self.hold(frame, 1) => {}
            4 => {
                let frames = 1 + self.rng.below(LONGEST_DELAY);
                if !self.hold(frame, frames) {
                    self.deliver(frame, to);
                }
            }
            5 => self.change(frame, to),
            6 => self.cut(frame, to),
            _ => self.deliver(frame, to),
        }
        self.release(to);
    }

    /// Lets out what is still held back.
    pub fn settle(&mut self, to: &mut Pipe) {
        self.finish_cut(to);
        while let Some((_, frame)) = self.held.pop() {
            self.deliver(&frame, to);
        }
    }

    fn deliver(&mut self, frame: &[u8], to: &mut Pipe) {
        self.counts.delivered += 1;
        to.put(frame);
    }

    fn hold(&mut self, frame: &[u8], frames: u32) -> bool {
        let until = self.counts.sent + frames;
        let held = Bytes::from_slice(frame).is_ok_and(|bytes| self.held.push((until, bytes)).is_ok());
        self.counts.delayed += u32::from(held);
        held
    }

    fn release(&mut self, to: &mut Pipe) {
        while let Some(index) = self.held.iter().position(|(until, _)| *until <= self.counts.sent) {
            let (_, frame) = self.held.remove(index);
            self.finish_cut(to);
            self.deliver(&frame, to);
        }
    }

    fn cut(&mut self, frame: &[u8], to: &mut Pipe) {
        let place = self.rng.below(u32::try_from(frame.len()).unwrap_or(0)) as usize;
        let (begin, rest) = frame.split_at_checked(place).unwrap_or((frame, &[]));
        to.put(begin);
        self.rest.clear();
        // A frame is never longer than its buffer.
        let _ = self.rest.extend_from_slice(rest);
        self.counts.cut += 1;
    }

    fn finish_cut(&mut self, to: &mut Pipe) {
        if !self.rest.is_empty() {
            let rest = core::mem::take(&mut self.rest);
            self.deliver(&rest, to);
        }
    }

    /// Changes one to eight places between the zeros; the zeros stay, so that exactly this frame is
    /// harmed.
    fn change(&mut self, frame: &[u8], to: &mut Pipe) {
        let mut bytes = Bytes::from_slice(frame).unwrap_or_default();
        for _ in 0..=self.rng.below(8) {
            let inner = u32::try_from(bytes.len()).unwrap_or(0).saturating_sub(2);
            if inner == 0 {
                break;
            }
            let place = 1 + self.rng.below(inner) as usize;
            let byte = self.rng.next_u32().to_le_bytes()[0];
            match self.rng.below(3) {
                0 => bytes.iter_mut().skip(place).take(1).for_each(|old| *old ^= byte.max(1)),
                1 if inner > 1 => drop(bytes.remove(place)),
                _ => drop(bytes.insert(place, byte)),
            }
        }
        // The changes may undo each other, or put a zero between rubbish and the whole frame.
        let inner = frame.get(1..frame.len().saturating_sub(1)).unwrap_or_default();
        if bytes.split(|byte| *byte == 0).any(|segment| segment == inner) {
            self.counts.delivered += 1;
        } else {
            self.counts.changed += 1;
        }
        to.put(&bytes);
    }
}
