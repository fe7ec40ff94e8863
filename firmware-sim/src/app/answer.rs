//! What is answered to each request.

use super::State;
use super::safety::{Cause, next};
use super::storage::{Mark, Storage};
use controller_core::protocol::{
    EventKind, Identity, LinkCounters, Order, Received, Refusal, Reply, Request, Safety, Status,
};
use controller_core::record::StepRecord;

/// Version of this firmware.
const FIRMWARE: &str = env!("CARGO_PKG_VERSION");

impl<S: Storage> State<S> {
    /// The answer to a request that arrived unharmed; `None` when the last reply serves again, or
    /// nobody waits for one.
    pub(super) fn answer(&mut self, received: Received<Request<'_>>) -> Option<Reply<&StepRecord>> {
        let Received { tag, order, message } = received;
        let refused = |refusal| Some(Reply::Refused(refusal));
        if matches!(message, Request::Hello) != (order == Order::Greeting) {
            return refused(Refusal::NotAGreeting);
        }
        let in_session = self.safety == Safety::InSession;
        let open = in_session && self.sessions.last() == Some(&Some(tag.session));
        match order {
            Order::Greeting if open => {
                self.heard_at = self.now;
                None
            }
            Order::Greeting if !self.sessions.contains(&Some(tag.session)) => {
                self.open_session(tag.session);
                Some(Reply::Hello(self.identity()))
            }
            // An old greeting, or a frame of an old session: whoever sent it does not wait for an
            // answer any more, and the last reply of the open session must stay where it is.
            Order::Greeting | Order::Foreign if in_session => None,
            Order::Greeting | Order::Foreign => refused(Refusal::NoSession),
            Order::Late => None,
            _ if !open => refused(Refusal::NoSession),
            Order::Repeated => {
                self.heard_at = self.now;
                None
            }
            Order::Next => {
                self.heard_at = self.now;
                Some(self.serve(message).unwrap_or_else(Reply::Refused))
            }
        }
    }

    fn open_session(&mut self, session: u16) {
        let [_, second, third, newest] = self.sessions;
        self.sessions = [second, third, newest, Some(session)];
        self.safety = next(self.safety, Cause::Greeting);
        self.heard_at = self.now;
        self.happened(EventKind::SessionOpened { session });
    }

    /// Does what a request of the session asks for.
    fn serve(&mut self, request: Request<'_>) -> Result<Reply<&StepRecord>, Refusal> {
        Ok(match request {
            Request::Hello => return Err(Refusal::NotAGreeting),
            Request::Heartbeat => Reply::Status(self.status()),
            Request::Configure(configuration) => {
                self.configure(configuration)?;
                Reply::Acknowledged
            }
            Request::Telemetry { now, telemetry } => Reply::Decision(self.step(now, &telemetry)?),
            Request::Measurement(measurement) => {
                Reply::Settled(self.engine.settle(measurement).ok_or(Refusal::NoTurn)?)
            }
            Request::Upload(upload) => Reply::Received(self.upload(&upload).map_err(Refusal::Upload)?),
            Request::ReadEvents { from } => Reply::Events { events: self.log.read(from), next: self.log.next() },
        })
    }

    fn status(&self) -> Status {
        Status {
            uptime_ms: self.uptime_ms(),
            safety: self.safety,
            in_charge: self.engine.in_charge(),
            supervisor: self.engine.supervisor(),
            replacements: self.engine.replacements(),
            link: LinkCounters::default(), // the decoder knows
            timing: self.timing,
            next_event: self.log.next(),
        }
    }

    fn identity(&self) -> Identity {
        let mark = self.engine.slot().and_then(|slot| Mark::read(&self.storage, slot));
        Identity {
            firmware: FIRMWARE.try_into().unwrap_or_default(),
            in_charge: self.engine.in_charge(),
            schema: self.engine.schema(),
            image: mark.map_or(0, |mark| mark.checksum),
            configured: self.engine.is_configured(),
        }
    }
}
