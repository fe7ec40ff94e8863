//! Links by name.

use super::wire::serial::Serial;
use super::wire::tcp::Tcp;
use super::wire::{Opener, Wire};
use std::fmt;
use std::io;
use std::str::FromStr;

/// Baud, where none is given. A USB port ignores it.
pub const DEFAULT_BAUD: u32 = 115_200;

/// Where a microcontroller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// `serial:PATH[@BAUD]`, or a path alone: a serial port, a USB one or a pseudo-terminal.
    Serial {
        /// Device file.
        path: String,
        /// Bits per second.
        baud: u32,
    },
    /// `tcp:HOST:PORT`.
    Tcp {
        /// Name or number of the host, and the port.
        address: String,
    },
}

/// Not a link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no link; use serial:/dev/ttyACM0, serial:/dev/ttyUSB0@921600 or tcp:HOST:PORT")]
pub struct UnknownAddress(String);

impl Address {
    /// Opens the link.
    pub fn open(&self) -> io::Result<Box<dyn Wire>> {
        Ok(match self {
            Self::Serial { path, baud } => Box::new(Serial::open(path, *baud)?),
            Self::Tcp { address } => Box::new(Tcp::connect(address)?),
        })
    }

    /// Opens it now and whenever it was lost.
    #[must_use]
    pub fn opener(&self) -> Opener {
        let address = self.clone();
        Box::new(move || address.open())
    }
}

impl FromStr for Address {
    type Err = UnknownAddress;

    fn from_str(text: &str) -> Result<Self, UnknownAddress> {
        let unknown = || UnknownAddress(text.to_owned());
        if let Some(address) = text.strip_prefix("tcp:") {
            let (host, port) = address.rsplit_once(':').ok_or_else(unknown)?;
            let port: u16 = port.parse().map_err(|_| unknown())?;
            return if host.is_empty() || port == 0 {
                Err(unknown())
            } else {
                Ok(Self::Tcp { address: address.to_owned() })
            };
        }
        let serial = text.strip_prefix("serial:").or_else(|| Some(text).filter(|text| text.starts_with('/')));
        let serial = serial.ok_or_else(unknown)?;
        let (path, baud) = match serial.rsplit_once('@') {
            Some((path, baud)) => (path, baud.parse().map_err(|_| unknown())?),
            None => (serial, DEFAULT_BAUD),
        };
        if path.is_empty() || baud == 0 {
            return Err(unknown());
        }
        Ok(Self::Serial { path: path.to_owned(), baud })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial { path, baud: DEFAULT_BAUD } => write!(f, "serial:{path}"),
            Self::Serial { path, baud } => write!(f, "serial:{path}@{baud}"),
            Self::Tcp { address } => write!(f, "tcp:{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_by_name() {
        for name in ["serial:/dev/ttyACM0", "serial:/dev/ttyUSB0@921600", "tcp:localhost:7070", "tcp:[::1]:7070"] {
            assert_eq!(name.parse::<Address>().unwrap().to_string(), name);
        }
        assert_eq!("/dev/pts/3".parse::<Address>(), "serial:/dev/pts/3@115200".parse());
        for name in ["", "serial", "serial:", "serial:@9600", "serial:/dev/x@", "serial:/dev/x@fast", "serial:/dev/x@0"]
        {
            assert!(name.parse::<Address>().is_err(), "{name}");
        }
        for name in ["tcp:", "tcp:host", "tcp::7070", "tcp:host:0", "tcp:host:65536", "udp:host:1", "ttyACM0"] {
            assert!(name.parse::<Address>().is_err(), "{name}");
        }
    }
}
