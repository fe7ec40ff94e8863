//! A serial line inside one program: what one end writes, the other reads.

use controller_core::protocol::REQUEST_FRAME;
use core::convert::Infallible;
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use heapless::Deque;

/// Bytes that are on their way at most: several of the longest frames.
pub const CAPACITY: usize = 8 * REQUEST_FRAME;

/// One direction of the line.
#[derive(Clone, Debug, Default)]
pub struct Pipe(Deque<u8, CAPACITY>);

impl Pipe {
    /// Puts bytes in as long as there is room; what does not fit is lost, as on a real line whose
    /// receiver sleeps.
    pub fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let _ = self.0.push_back(*byte);
        }
    }

    /// The next byte.
    pub fn take(&mut self) -> Option<u8> {
        self.0.pop_front()
    }

    /// Loses everything that is on its way.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// One end: reads from one pipe and writes to the other.
#[derive(Debug)]
pub struct End<'p> {
    /// What comes.
    pub incoming: &'p mut Pipe,
    /// What goes.
    pub outgoing: &'p mut Pipe,
}

impl ErrorType for End<'_> {
    type Error = Infallible;
}

impl ReadReady for End<'_> {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.incoming.0.is_empty())
    }
}

impl WriteReady for End<'_> {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.outgoing.0.is_full())
    }
}

impl Read for End<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut count = 0;
        for (place, byte) in buffer.iter_mut().zip(core::iter::from_fn(|| self.incoming.take())) {
            *place = byte;
            count += 1;
        }
        Ok(count)
    }
}

impl Write for End<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let count = bytes.len().min(CAPACITY - self.outgoing.0.len());
        self.outgoing.put(bytes);
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_end_writes_the_other_reads() {
        let (mut there, mut back) = (Pipe::default(), Pipe::default());
        let mut end = End { incoming: &mut back, outgoing: &mut there };
        assert!(!end.read_ready().unwrap());
        assert_eq!(end.write(b"hello").unwrap(), 5);
        let mut other = End { incoming: &mut there, outgoing: &mut back };
        let mut buffer = [0; 3];
        assert_eq!((other.read(&mut buffer).unwrap(), &buffer), (3, b"hel"));
        assert_eq!((other.read(&mut buffer).unwrap(), &buffer[..2]), (2, &b"lo"[..]));
        assert_eq!(other.write(&[7; CAPACITY + 1]).unwrap(), CAPACITY);
        assert!(!other.write_ready().unwrap());
    }
}
