//! Standard input and output as the line. It ends with the input.

use embedded_io::{Read, ReadReady, Write, WriteReady};
use std::io::{Read as _, Write as _};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

/// Standard input, read by a thread of its own so that nobody waits for it, and output.
pub struct Stdio {
    incoming: Receiver<u8>,
    next: Option<u8>,
    /// Nobody writes, or nobody reads, any more.
    pub ended: bool,
}

impl Stdio {
    pub fn open() -> Self {
        let (sender, incoming) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            let mut stdin = std::io::stdin().lock();
            while let Ok(count @ 1..) = stdin.read(&mut buffer) {
                if buffer[..count].iter().any(|byte| sender.send(*byte).is_err()) {
                    return;
                }
            }
        });
        Self { incoming, next: None, ended: false }
    }

    fn take(&mut self) -> Option<u8> {
        self.next.take().or_else(|| match self.incoming.try_recv() {
            Ok(byte) => Some(byte),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                self.ended = true;
                None
            }
        })
    }
}

impl embedded_io::ErrorType for Stdio {
    type Error = embedded_io::ErrorKind;
}

impl ReadReady for Stdio {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        self.next = self.take();
        Ok(self.next.is_some())
    }
}

impl Read for Stdio {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let mut count = 0;
        for (place, byte) in buffer.iter_mut().zip(std::iter::from_fn(|| self.take())) {
            *place = byte;
            count += 1;
        }
        Ok(count)
    }
}

impl WriteReady for Stdio {
    fn write_ready(&mut self) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

impl Write for Stdio {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        // Nobody listens any more: the same as the end of the input.
        self.ended |= written.is_err();
        written.map(|()| bytes.len()).map_err(|_| embedded_io::ErrorKind::BrokenPipe)
    }

    fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}
