//! Ctrl-C, SIGTERM and SIGHUP: a command that works for long ends at its next clean place, keeps what it has done, says so, and
//! ends with [`EXIT_CODE`], as a program does that the shell itself had to stop.

use crate::board::session::Session;
use anyhow::Context as _;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

/// 128 and the number of SIGINT, whichever of the signals it was: the result is not the one that was asked for.
pub const EXIT_CODE: u8 = 130;

/// Set by the first signal, once [`watch`] was called.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Somebody watches.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// Lets signals set [`STOP`] from now on, instead of ending the program. Where [`watch_and_give_back`]
/// was called before, that does it.
pub fn watch() -> anyhow::Result<()> {
    if WATCHED.load(Ordering::Relaxed) { Ok(()) } else { watch_and_give_back(Weak::new()) }
}

/// The same, and gives a real board back at once, in a thread of its own: a batch may take long to end, and whatever it still
/// wants is stopped at the gate.
pub fn watch_and_give_back(session: Weak<Session>) -> anyhow::Result<()> {
    let stop = move || {
        STOP.store(true, Ordering::Relaxed);
        if let Some(session) = session.upgrade() {
            session.release();
        }
    };
    ctrlc::set_handler(stop).context("cannot watch for Ctrl-C")?;
    WATCHED.store(true, Ordering::Relaxed);
    Ok(())
}

/// Somebody wants an end.
pub fn is_wanted() -> bool {
    STOP.load(Ordering::Relaxed)
}
