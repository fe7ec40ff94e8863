//! The last reply: sent as fast as the line takes it, and sent again when it is asked for.

use super::ports::Line;
use controller_core::protocol::{REPLY_FRAME, Reply, Tag, encode};
use controller_core::record::StepRecord;

/// A frame on its way.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    frame: [u8; REPLY_FRAME],
    length: usize,
    sent: usize,
    tag: Option<Tag>,
}

impl Outbox {
    pub(super) const fn new() -> Self {
        Self { frame: [0; REPLY_FRAME], length: 0, sent: 0, tag: None }
    }

    /// Sends a reply instead of what was there.
    pub(super) fn put(&mut self, tag: Tag, reply: &Reply<&StepRecord>) {
        // Every reply fits: `the_largest_messages_fit` in the tests of the protocol.
        self.length = encode(tag, reply, &mut self.frame).map_or(0, <[u8]>::len);
        self.sent = 0;
        self.tag = Some(tag);
    }

    /// Sends the reply with this tag again; false when it is not there any more.
    pub(super) fn repeat(&mut self, tag: Tag) -> bool {
        let same = self.tag == Some(tag);
        if same {
            self.sent = 0;
        }
        same
    }

    /// Hands the line as many bytes as it takes without waiting.
    pub(super) fn flush(&mut self, line: &mut impl Line) {
        while let Some(rest) = self.frame.get(self.sent..self.length).filter(|rest| !rest.is_empty()) {
            if !line.write_ready().unwrap_or(false) {
                return;
            }
            match line.write(rest) {
                Ok(written) if written > 0 => self.sent = self.sent.saturating_add(written),
                _ => return,
            }
        }
    }
}
