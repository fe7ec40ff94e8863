//! A policy image into the slot that does not decide, from wherever the last attempt stopped.

use super::LinkError;
use super::session::Session;
use controller_core::protocol::{CHUNK, Refusal, Reply, Request, Upload, checksum};

/// Sessions that may end on the way, because the firmware was busy with its flash for longer than
/// it waits for a host, or was reset.
const SESSIONS: usize = 3;

/// Uploads an image whose schema hash is `schema` and has it checked; it takes over at the next
/// step. `progress` hears how many bytes are there. Returns how many were there at the beginning.
pub fn upload(
    session: &mut Session,
    image: &[u8],
    schema: u32,
    progress: &mut dyn FnMut(usize),
) -> Result<usize, LinkError> {
    let mut resumed_at = None;
    let mut sessions = 1;
    loop {
        match attempt(session, image, schema, &mut resumed_at, progress) {
            Err(LinkError::Refused(Refusal::NoSession)) if sessions < SESSIONS => {
                session.greet()?;
                sessions += 1;
            }
            outcome => return outcome.map(|()| resumed_at.unwrap_or(0)),
        }
    }
}

fn attempt(
    session: &mut Session,
    image: &[u8],
    schema: u32,
    resumed_at: &mut Option<usize>,
    progress: &mut dyn FnMut(usize),
) -> Result<(), LinkError> {
    let length = u32::try_from(image.len()).unwrap_or(u32::MAX);
    let mut received = step(session, Upload::Begin { length, checksum: checksum(image), schema })?;
    resumed_at.get_or_insert(received as usize);
    progress(received as usize);
    while let Some(rest) = image.get(received as usize..).filter(|rest| !rest.is_empty()) {
        let bytes = &rest[..rest.len().min(CHUNK)];
        received = step(session, Upload::Chunk { offset: received, bytes })?;
        progress(received as usize);
    }
    step(session, Upload::Commit).map(|_| ())
}

fn step(session: &mut Session, step: Upload<'_>) -> Result<u32, LinkError> {
    match session.ask(&Request::Upload(step))? {
        Reply::Received(received) => Ok(received),
        other => Err(LinkError::out_of_place(&other)),
    }
}
