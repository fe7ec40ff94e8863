//! A wire that loses, doubles, delays, changes and cuts frames in both directions, by a seed.

use super::Wire;
use firmware_sim::fault::LineFaults;
use firmware_sim::line::Pipe;
use std::io;
use std::time::Duration;

/// Any wire with faults.
#[derive(Debug)]
pub struct Faulty<W> {
    wire: W,
    down: LineFaults,
    up: LineFaults,
    /// The frame that is just coming from the firmware.
    coming: Vec<u8>,
}

impl<W: Wire> Faulty<W> {
    /// Harms `per_mille` of a thousand frames.
    pub fn new(wire: W, seed: u64, per_mille: u32) -> Self {
        let (down, up) = (LineFaults::new(seed, per_mille), LineFaults::new(!seed, per_mille));
        Self { wire, down, up, coming: Vec::new() }
    }
}

/// What a frame becomes on the way.
fn carried(faults: &mut LineFaults, frame: &[u8]) -> Vec<u8> {
    let mut pipe = Pipe::default();
    faults.carry(frame, &mut pipe);
    std::iter::from_fn(|| pipe.take()).collect()
}

impl<W: Wire> Wire for Faulty<W> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.send(&carried(&mut self.down, bytes))
    }

    fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<Duration> {
        let mut come = Vec::new();
        let waited = self.wire.receive(&mut come)?;
        for byte in come {
            self.coming.push(byte);
            // A frame is between two zeros.
            if byte == 0 && self.coming.len() > 1 {
                bytes.extend(carried(&mut self.up, &self.coming));
                self.coming.clear();
            }
        }
        Ok(waited)
    }

    fn runs_alone(&self) -> bool {
        self.wire.runs_alone()
    }
}
