//! Ctrl-C, SIGTERM and SIGHUP: a command that works for long ends at its next clean place, keeps what it has done, says so, and
//! ends with [`EXIT_CODE`], as a program does that the shell itself had to stop.

use crate::board::session::Session;
use anyhow::Context as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// 128 and the number of SIGINT, whichever of the signals it was: the result is not the one that was asked for.
pub const EXIT_CODE: u8 = 130;

/// Set by the first signal, once [`watch`] was called.
pub static STOP: AtomicBool = AtomicBool::new(false);

/// Somebody watches.
static WATCHED: AtomicBool = AtomicBool::new(false);

/// The real board that is given back by the first signal.
static BOARD: Mutex<Weak<Session>> = Mutex::new(Weak::new());

/// Lets signals set [`STOP`] from now on, instead of ending the program.
pub fn watch() -> anyhow::Result<()> {
    if !WATCHED.swap(true, Ordering::Relaxed) {
        let stop = || {
            STOP.store(true, Ordering::Relaxed);
            let board = BOARD.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
            if let Some(session) = board {
                session.release();
            }
        };
        ctrlc::set_handler(stop).context("cannot watch for Ctrl-C")?;
    }
    Ok(())
}

/// Has a real board given back by a signal, in the thread of the handler: a batch may take long to end, and whatever it still
/// wants is stopped at the gate. A signal that came before counts, too.
pub fn give_back(session: &Arc<Session>) {
    *BOARD.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(session);
    if is_wanted() {
        session.release();
    }
}

/// Somebody wants an end.
pub fn is_wanted() -> bool {
    STOP.load(Ordering::Relaxed)
}
