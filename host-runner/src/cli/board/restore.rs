//! `energyllm board restore`: give the board back after somebody who no longer can.

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use super::place::Place;
use crate::board::baseline::Baseline;
use crate::board::lock::{Lock, LockError};
use crate::board::restore::{Restored, give_back_kept};
use clap::Args;
use serde_json::json;
use std::io::Read as _;
use std::time::Duration;

/// A run that was killed a moment ago may still hold the lock.
const PATIENCE: Duration = Duration::from_secs(5);
/// And one that hangs in a driver holds it until that returns.
const LONG_PATIENCE: Duration = Duration::from_mins(1);

/// What a run says to the process that looks after it when there is nothing left to do.
pub(super) const DONE: &[u8] = b"done";

/// Give clocks and fan back as they were before a run that was killed, or before `fan on`.
///
/// Does nothing, successfully, when there is nothing to give back, so it may be called whenever a service stops.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo energyllm board restore
  ExecStopPost=+/usr/bin/energyllm board restore      in a systemd unit (packaging/)
  energyllm board restore --root tree --json          a tree of files")]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Wait until standard input is closed, then give back, unless something was written there: how a run has itself looked
    /// after.
    #[arg(long, hide = true)]
    when_closed: bool,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    if arguments.when_closed {
        let mut word = Vec::new();
        // Whatever ends the wait ends it: the run is gone, or it has said that it has given the board back by itself.
        let _ = std::io::stdin().lock().read_to_end(&mut word);
        if word == DONE {
            return Ok(Outcome::Passed);
        }
    }
    let place = &arguments.place;
    let state = place.state();
    if !state.exists() {
        return report(None, arguments, format);
    }
    let kept = Baseline::is_kept(&state);
    let patience = match (kept, arguments.when_closed) {
        (false, _) => Duration::ZERO,
        (true, true) => LONG_PATIENCE,
        (true, false) => PATIENCE,
    };
    let _lock = match Lock::wait(&state, patience) {
        // Another run has started meanwhile: it has given back first what was kept.
        Err(LockError::Held { .. }) if arguments.when_closed => return Ok(Outcome::Passed),
        // With nothing to give back the lock would only tidy up: the lock file of somebody who was killed.
        Err(_) if !kept => return report(None, arguments, format),
        lock => lock?,
    };
    let restored = give_back_kept(&place.tree()?, place.services().as_ref(), &state)?;
    report(restored.as_ref(), arguments, format)
}

fn report(restored: Option<&Restored>, arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let complete = restored.is_none_or(Restored::is_complete);
    let nothing = Restored::default();
    let outcome = restored.unwrap_or(&nothing);
    let lines =
        outcome.failed.iter().map(|text| ("failed", text)).chain(outcome.notes.iter().map(|text| ("note", text)));
    match format {
        _ if arguments.when_closed => {}
        Format::Json => {
            let mut object = Object::new("board restore", None, false);
            object.figure("kept", u8::from(restored.is_some()));
            object.figure("files_written", outcome.written.len());
            object.figure("failures", outcome.failed.len());
            object.rows = lines.map(|(kind, text)| json!({ "kind": kind, "says": text })).collect();
            object.pass = complete;
            object.print()?;
        }
        Format::Text => {
            let mut text = match restored {
                None => "nothing to give back: no state is kept".to_owned(),
                Some(restored) => format!("{} files given back", restored.written.len()),
            };
            for (kind, line) in lines {
                text.extend(["\n", kind, ": ", line.as_str()]);
            }
            if !complete {
                text += "\nthe state is kept for another try";
            }
            print(&text)?;
        }
    }
    Ok(if complete { Outcome::Passed } else { Outcome::Failed })
}
