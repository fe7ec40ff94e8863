//! A TCP port as the line: one host at a time, none for as long as it takes.

use embedded_io::{ErrorKind, Read, ReadReady, Write, WriteReady};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

/// The port. Nothing here waits.
pub struct Tcp {
    listener: TcpListener,
    host: Option<TcpStream>,
}

impl Tcp {
    /// Listens, and says on which address.
    pub fn listen(address: &str) -> io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((Self { listener, host: None }, address))
    }

    /// A new host takes the place of the one before, as if the cable were plugged over.
    fn accept(&mut self) {
        while let Ok((host, _)) = self.listener.accept() {
            if host.set_nonblocking(true).is_ok() {
                // Slower, but right, where it cannot be set.
                let _ = host.set_nodelay(true);
                self.host = Some(host);
            }
        }
    }

    /// Reads or writes; a host that is gone is forgotten, and that is no error of the line.
    fn with_host(&mut self, work: impl FnOnce(&mut TcpStream) -> io::Result<usize>) -> usize {
        let Some(host) = &mut self.host else { return 0 };
        match work(host) {
            Ok(count) if count > 0 => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Ok(_) | Err(_) => {
                self.host = None;
                0
            }
        }
    }
}

impl embedded_io::ErrorType for Tcp {
    type Error = ErrorKind;
}

impl ReadReady for Tcp {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        self.accept();
        Ok(self.host.is_some())
    }
}

impl Read for Tcp {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        Ok(self.with_host(|host| io::Read::read(host, buffer)))
    }
}

impl WriteReady for Tcp {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(self.host.is_some())
    }
}

impl Write for Tcp {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        Ok(self.with_host(|host| io::Write::write(host, bytes)))
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
