//! A new policy image, piece by piece, into the slot that does not decide.

use super::State;
use super::engine::verify;
use super::storage::{Storage, commit, room};
use controller_core::protocol::{EventKind, Upload, UploadRefusal};

/// An upload on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    slot: u8,
    length: u32,
    checksum: u32,
    schema: u32,
    received: u32,
}

impl<S: Storage> State<S> {
    /// Does a step of an upload and returns how many bytes are there.
    pub(super) fn upload(&mut self, step: &Upload<'_>) -> Result<u32, UploadRefusal> {
        match *step {
            Upload::Begin { length, checksum, schema } => self.begin(length, checksum, schema),
            Upload::Chunk { offset, bytes } => self.chunk(offset, bytes),
            Upload::Progress => self.transfer.map(|transfer| transfer.received).ok_or(UploadRefusal::NotBegun),
            Upload::Commit => self.commit(),
            Upload::Abort => {
                self.transfer = None;
                Ok(0)
            }
        }
    }

    fn begin(&mut self, length: u32, checksum: u32, schema: u32) -> Result<u32, UploadRefusal> {
        if let Some(transfer) = self.transfer
            && (transfer.length, transfer.checksum, transfer.schema) == (length, checksum, schema)
        {
            return Ok(transfer.received);
        }
        let slot = u8::from(self.engine.slot() == Some(0));
        let room = u32::try_from(room(&self.storage, slot)).unwrap_or(u32::MAX);
        if length == 0 || length > room {
            return Err(UploadRefusal::Length { room });
        }
        self.transfer = None;
        self.engine.take_over_later(None);
        self.storage.erase(slot).map_err(|_| UploadRefusal::Storage)?;
        self.transfer = Some(Transfer { slot, length, checksum, schema, received: 0 });
        self.happened(EventKind::UploadBegun { length });
        Ok(0)
    }

    fn chunk(&mut self, offset: u32, bytes: &[u8]) -> Result<u32, UploadRefusal> {
        let transfer = self.transfer.ok_or(UploadRefusal::NotBegun)?;
        let out_of_order = UploadRefusal::OutOfOrder { received: transfer.received };
        let end = u32::try_from(bytes.len()).ok().and_then(|count| offset.checked_add(count)).ok_or(out_of_order)?;
        if offset > transfer.received || end > transfer.length {
            return Err(out_of_order);
        }
        // What is there already is not written twice: flash would not take it.
        let known = usize::try_from(transfer.received.abs_diff(offset)).unwrap_or(usize::MAX);
        let news = bytes.get(known..).unwrap_or_default();
        let place = usize::try_from(transfer.received).unwrap_or(usize::MAX);
        if self.storage.write(transfer.slot, place, news).is_err() {
            self.transfer = None;
            return Err(UploadRefusal::Storage);
        }
        let received = transfer.received.max(end);
        self.transfer = Some(Transfer { received, ..transfer });
        Ok(received)
    }

    fn commit(&mut self) -> Result<u32, UploadRefusal> {
        let transfer = self.transfer.ok_or(UploadRefusal::NotBegun)?;
        let Transfer { slot, length, checksum, schema, received } = transfer;
        if received != length {
            return Err(UploadRefusal::Incomplete { received });
        }
        // From here on the upload is over, whatever comes of it.
        self.transfer = None;
        let bytes = usize::try_from(length).ok().and_then(|length| self.storage.slot(slot).get(..length));
        verify(bytes, checksum, Some(schema), self.engine.actions())?;
        commit(&mut self.storage, slot, length, checksum).map_err(|_| UploadRefusal::Storage)?;
        self.engine.take_over_later(Some(slot));
        Ok(received)
    }
}
