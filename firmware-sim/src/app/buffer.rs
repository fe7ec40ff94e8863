//! A buffer behind a receiver that holds few bytes, for boards that look at it in their loop.

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use heapless::Deque;

/// A line and the bytes that came while the application was busy. Sending goes past the buffer.
#[derive(Clone, Debug)]
pub struct Buffered<L, const N: usize> {
    line: L,
    received: Deque<u8, N>,
}

impl<L: Read + ReadReady, const N: usize> Buffered<L, N> {
    /// An empty buffer behind `line`.
    pub const fn new(line: L) -> Self {
        Self { line, received: Deque::new() }
    }

    /// Takes what the line has without waiting; to be called whenever the loop has time, and at least
    /// before the receiver is full. Errors of the line (noise, a lost byte) are the checksum's
    /// business.
    pub fn poll(&mut self) {
        let mut byte = [0];
        // An error is over when it was read, so this ends when the receiver is empty.
        while !self.received.is_full() && self.line.read_ready().unwrap_or(false) {
            if matches!(self.line.read(&mut byte), Ok(1)) {
                self.received.extend(byte);
            }
        }
    }
}

impl<L: ErrorType, const N: usize> ErrorType for Buffered<L, N> {
    type Error = L::Error;
}

impl<L: ErrorType, const N: usize> ReadReady for Buffered<L, N> {
    fn read_ready(&mut self) -> Result<bool, L::Error> {
        Ok(!self.received.is_empty())
    }
}

impl<L: ErrorType, const N: usize> Read for Buffered<L, N> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, L::Error> {
        let mut count = 0;
        for (place, byte) in buffer.iter_mut().zip(core::iter::from_fn(|| self.received.pop_front())) {
            *place = byte;
            count += 1;
        }
        Ok(count)
    }
}

impl<L: WriteReady, const N: usize> WriteReady for Buffered<L, N> {
    fn write_ready(&mut self) -> Result<bool, L::Error> {
        self.line.write_ready()
    }
}

impl<L: Write, const N: usize> Write for Buffered<L, N> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, L::Error> {
        self.line.write(bytes)
    }

    fn flush(&mut self) -> Result<(), L::Error> {
        self.line.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::{End, Pipe};

    #[test]
    fn bytes_come_out_in_order_and_wait_when_the_buffer_is_full() {
        let (mut there, mut back) = (Pipe::default(), Pipe::default());
        there.put(b"0123456789");
        let mut line = Buffered::<_, 4>::new(End { incoming: &mut there, outgoing: &mut back });
        assert!(!line.read_ready().unwrap(), "nothing before it is polled");
        let (mut buffer, mut all) = ([0; 3], std::vec![]);
        for _ in 0..8 {
            line.poll();
            let count = line.read(&mut buffer).unwrap();
            all.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(all, b"0123456789");
        line.write_all(b"reply").unwrap();
        assert_eq!(back.take(), Some(b'r'));
    }
}
