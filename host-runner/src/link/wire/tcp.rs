//! A TCP port, for instance of an emulator or of a serial-to-network adapter.

use super::{MOMENT, Wire};
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Time for a connection to come about, and for bytes to be taken.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection.
#[derive(Debug)]
pub struct Tcp(TcpStream);

impl Tcp {
    /// Connects to `HOST:PORT`.
    pub fn connect(address: &str) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("tcp:{address}: {error}"));
        let mut outcome = Err(io::ErrorKind::AddrNotAvailable.into());
        for place in address.to_socket_addrs().map_err(named)? {
            outcome = TcpStream::connect_timeout(&place, PATIENCE);
            if outcome.is_ok() {
                break;
            }
        }
        let stream = outcome.map_err(named)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(MOMENT))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }
}

impl Wire for Tcp {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<Duration> {
        let before = Instant::now();
        let mut buffer = [0; 1024];
        match self.0.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::ConnectionAborted.into()),
            Ok(count) => bytes.extend(&buffer[..count]),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {}
                _ => return Err(error),
            },
        }
        Ok(before.elapsed())
    }
}
