//! How the bytes get to the firmware.
//!
//! | module | the line |
//! |---|---|
//! | [`in_process`] | to the application inside this process |
//! | [`program`] | standard input and output of a program, QEMU among them |
//! | [`serial`] | a serial port |
//! | [`tcp`] | a TCP port |
//! | [`faulty`] | any of these, harmed on purpose |

pub mod faulty;
pub mod in_process;
pub mod program;
pub mod serial;
pub mod tcp;

use std::io;
use std::time::Duration;

/// How long a wire waits for bytes at a time.
const MOMENT: Duration = Duration::from_millis(20);

/// A line to the firmware.
pub trait Wire: Send {
    /// Sends bytes: a frame.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Adds what has come, after a moment at most; nothing when nothing came. Returns how long that
    /// took on the clock of the firmware.
    fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<Duration>;

    /// Whether the clock of the firmware runs while nobody receives, so that it has to be told that
    /// its host is alive.
    fn runs_alone(&self) -> bool {
        true
    }
}

impl<W: Wire + ?Sized> Wire for Box<W> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        (**self).send(bytes)
    }

    fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<Duration> {
        (**self).receive(bytes)
    }

    fn runs_alone(&self) -> bool {
        (**self).runs_alone()
    }
}

/// Opens a line, for the first time and whenever it was lost.
pub type Opener = Box<dyn FnMut() -> io::Result<Box<dyn Wire>> + Send>;
