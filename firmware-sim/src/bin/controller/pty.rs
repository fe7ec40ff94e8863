//! A pseudo-terminal as the line: hosts on this machine open it as a serial port.

use embedded_io::{ErrorKind, Read, ReadReady, Write, WriteReady};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, ioctl_fionbio, read, write};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::os::fd::OwnedFd;

/// Both ends: the hosts' one is kept open, or every host that leaves would be an error of the line.
pub struct Pty {
    ours: OwnedFd,
    _theirs: OwnedFd,
}

impl Pty {
    /// Makes one that carries bytes as they are, and says where hosts find it.
    pub fn open() -> rustix::io::Result<(Self, String)> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let path = ptsname(&ours, Vec::new())?;
        let theirs = open(&path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())?;
        let mut modes = tcgetattr(&theirs)?;
        modes.make_raw();
        tcsetattr(&theirs, OptionalActions::Now, &modes)?;
        ioctl_fionbio(&ours, true)?;
        Ok((Self { ours, _theirs: theirs }, path.to_string_lossy().into_owned()))
    }
}

/// Nothing to read, or no room to write, is no error.
fn count(result: rustix::io::Result<usize>) -> Result<usize, ErrorKind> {
    match result {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        result => result.map_err(|_| ErrorKind::Other),
    }
}

impl embedded_io::ErrorType for Pty {
    type Error = ErrorKind;
}

impl ReadReady for Pty {
    fn read_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(true)
    }
}

impl Read for Pty {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ErrorKind> {
        count(read(&self.ours, buffer))
    }
}

impl WriteReady for Pty {
    fn write_ready(&mut self) -> Result<bool, ErrorKind> {
        Ok(true)
    }
}

impl Write for Pty {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        count(write(&self.ours, bytes))
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}
