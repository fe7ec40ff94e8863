//! Word to systemd: that a service is ready, and that it is alive (`sd_notify(3)`).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// A line to the service manager, where there is one.
#[derive(Debug)]
pub struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// The line that systemd has laid (`NOTIFY_SOCKET`); none for a program that was started by hand.
    #[must_use]
    pub fn of_systemd() -> Self {
        let named = std::env::var_os("NOTIFY_SOCKET");
        let address = named.as_ref().and_then(|name| match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
            path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)).ok(),
        });
        Self(address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address))))
    }

    /// The board is ours and its state is kept.
    pub fn ready(&self) {
        self.say(b"READY=1");
    }

    /// The control loop goes round.
    pub fn alive(&self) {
        self.say(b"WATCHDOG=1");
    }

    /// A manager that does not listen is its own business.
    fn say(&self, word: &[u8]) {
        if let Self(Some((socket, address))) = self {
            let _ = socket.send_to_addr(word, address);
        }
    }
}
