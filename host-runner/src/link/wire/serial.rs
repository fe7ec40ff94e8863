//! A serial port: a UART, a USB device that pretends to be one, or a pseudo-terminal.

use super::{MOMENT, Wire};
use serialport::{ClearBuffer, SerialPort};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// An open port; nobody else on this machine can open it meanwhile.
#[derive(Debug)]
pub struct Serial(Box<dyn SerialPort>);

impl Serial {
    /// Opens a port with eight bits, no parity and one stop bit.
    pub fn open(path: &str, baud: u32) -> io::Result<Self> {
        let open = || {
            let port = serialport::new(path, baud).timeout(MOMENT).open()?;
            // What was said to somebody before.
            port.clear(ClearBuffer::All)?;
            Ok(Self(port))
        };
        open().map_err(|error: serialport::Error| {
            let cause = io::Error::from(error);
            io::Error::new(cause.kind(), format!("{path}: {cause}"))
        })
    }
}

impl Wire for Serial {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<Duration> {
        let before = Instant::now();
        let mut buffer = [0; 1024];
        match self.0.read(&mut buffer) {
            // The device is gone.
            Ok(0) => return Err(io::ErrorKind::BrokenPipe.into()),
            Ok(count) => bytes.extend(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(before.elapsed())
    }
}
