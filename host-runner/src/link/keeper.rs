//! Keeps the firmware in charge of a run: heartbeats while a batch runs, the loss of the link, and
//! the way back.
//!
//! ```text
//!            no answer, line cut, or reset                    final refusal
//!   Up ─────────────────────────────────────▶ Down ─────────────────────────────▶ Excluded
//!   ▲                                          │ back-off, greeting,
//!   └──────────────────────────────────────────┘ the turns that it missed
//! ```
//!
//! Every half of a turn goes through [`Keeper::tell`] with the answer of the host's own controller,
//! which has the same policy, limits and memory. While the link is up the firmware is asked too,
//! and both must agree. While it is down the run goes on under the host's own supervisor. Whoever
//! comes back is told the turns that it missed ([`super::journal`]) before it decides again, so the
//! decisions of a run are the same whatever happens to the line.
//!
//! A thread of its own sends heartbeats, since a batch may take longer than the firmware waits for
//! its host. It must not vouch for a program that hangs: it stops when the main loop has not been
//! heard of for [`Assignment::longest_batch`], and then the dead man's switch does its work.

use super::LinkError;
use super::events::{LinkEvent, LinkReport};
use super::journal::Half;
use super::session::Session;
use super::upload::upload;
use super::wire::Opener;
use controller_core::protocol::{Configuration, InCharge, Refusal, Reply, checksum};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two heartbeats: a quarter of the silence that the firmware allows.
pub const HEARTBEAT: Duration = Duration::from_millis(250);

/// Time from the loss of the link to the first attempt to get it back; then twice as long each
/// time, until [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest time between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What the firmware is to do.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The policy image.
    pub image: Vec<u8>,
    /// Its schema hash.
    pub schema: u32,
    /// The board.
    pub configuration: Configuration,
    /// How long the main loop may be silent before it counts as hanging.
    pub longest_batch: Duration,
}

/// How far a firmware has come that is not there.
#[derive(Clone, Copy)]
struct Known {
    /// Halves of turns that it has answered.
    halves: usize,
    /// The one behind them was sent and not answered: nobody knows whether it was done.
    in_doubt: bool,
}

enum Connection {
    /// The firmware knows everything in the journal.
    Up(Box<Session>),
    /// It is not there. `None`: it has to begin from nothing.
    Down { known: Option<Known> },
    /// It is not wanted any more.
    Excluded,
}

struct State {
    connection: Connection,
    journal: Vec<Half>,
    events: Vec<LinkEvent>,
    report: LinkReport,
    /// Until when the main loop counts as alive.
    vouched_until: Instant,
    /// It was found silent, and heartbeats are stopped.
    hanging: bool,
    stop: bool,
}

struct Shared {
    assignment: Assignment,
    state: Mutex<State>,
    changed: Condvar,
}

/// The firmware's place in a run.
pub struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Connects, uploads the policy unless it is there, and configures.
    pub fn start(mut opener: Opener, assignment: Assignment) -> Result<Self, LinkError> {
        let mut session = Session::open(opener()?)?;
        assign(&mut session, &assignment)?;
        let state = State {
            connection: Connection::Up(Box::new(session)),
            journal: Vec::new(),
            events: Vec::new(),
            report: LinkReport::default(),
            vouched_until: Instant::now() + assignment.longest_batch,
            hanging: false,
            stop: false,
        };
        let shared = Arc::new(Shared { assignment, state: Mutex::new(state), changed: Condvar::new() });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.keep(opener)
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Tells the firmware half a turn. Its answer, when it is there and agrees with the host's own.
    #[must_use]
    pub fn tell(&self, half: Half) -> Option<Reply> {
        let longest_batch = self.shared.assignment.longest_batch;
        let mut state = self.shared.lock();
        state.vouched_until = Instant::now() + longest_batch;
        if std::mem::take(&mut state.hanging) {
            state.events.push(LinkEvent::HeartbeatsStopped);
        }
        let answer = state.ask(&half);
        if matches!(half, Half::Step { .. }) {
            let report = &mut state.report;
            *(if answer.is_some() { &mut report.by_firmware } else { &mut report.by_host }) += 1;
        }
        state.journal.push(half);
        self.shared.changed.notify_all();
        answer
    }

    /// What happened since it was asked last.
    #[must_use]
    pub fn take_events(&self) -> Vec<LinkEvent> {
        std::mem::take(&mut self.shared.lock().events)
    }

    /// Whether the firmware is in charge now.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.shared.lock().connection, Connection::Up(_))
    }

    /// The accounts so far.
    #[must_use]
    pub fn report(&self) -> LinkReport {
        let state = self.shared.lock();
        let mut report = state.report;
        if let Connection::Up(session) = &state.connection {
            report.traffic.add(session.traffic());
        }
        report
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl State {
    fn ask(&mut self, half: &Half) -> Option<Reply> {
        let Connection::Up(session) = &mut self.connection else { return None };
        let turn = self.journal.len() / 2;
        let answer = match session.ask(&half.request()) {
            // Refused, so it was not done: nothing is lost but time.
            Err(LinkError::Refused(Refusal::NoSession)) => match session.greet() {
                Ok(identity) if identity.configured => {
                    self.events.push(LinkEvent::SessionReopened);
                    session.ask(&half.request())
                }
                Ok(_) => Err(LinkError::Reset),
                Err(error) => Err(error),
            },
            answer => answer,
        };
        match answer {
            Ok(reply) if half.agrees_with(&reply) => return Some(reply),
            Ok(_) => self.lose(&LinkError::Disagrees { turn }, true),
            Err(error) => self.lose(&error, true),
        }
        None
    }

    /// `asked`: half a turn was sent and not answered.
    fn lose(&mut self, error: &LinkError, asked: bool) {
        let begin_anew = matches!(error, LinkError::Reset | LinkError::Disagrees { .. });
        let known = (!begin_anew).then_some(Known { halves: self.journal.len(), in_doubt: asked });
        if let Connection::Up(session) = std::mem::replace(&mut self.connection, Connection::Down { known }) {
            self.report.traffic.add(session.traffic());
        }
        self.report.lost += 1;
        self.events.push(LinkEvent::Lost { why: error.to_string() });
    }

    fn beat(&mut self) {
        let Connection::Up(session) = &mut self.connection else { return };
        if !session.needs_heartbeats() {
            return;
        }
        let outcome = match session.status() {
            Err(LinkError::Refused(Refusal::NoSession)) => {
                session.greet().map(|identity| identity.configured).and_then(|configured| {
                    self.events.push(LinkEvent::SessionReopened);
                    if configured { Ok(()) } else { Err(LinkError::Reset) }
                })
            }
            outcome => outcome.map(|_| ()),
        };
        if let Err(error) = outcome {
            self.lose(&error, false);
        }
    }

    /// What a firmware that has come to `place` must be told next. One in doubt is asked to settle
    /// the turn, which it can do once, and only if it has begun it.
    fn next(&self, place: Known) -> Option<(usize, Half)> {
        let step = matches!(self.journal.get(place.halves), Some(Half::Step { .. }));
        let index = place.halves + usize::from(place.in_doubt && step);
        self.journal.get(index).cloned().map(|half| (index, half))
    }

    fn is_vouched(&self) -> bool {
        Instant::now() < self.vouched_until
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A main loop that panicked is going down; the state is whole at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The thread: heartbeats while the link is up, attempts to get it back while it is down.
    fn keep(&self, mut opener: Opener) {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut state = self.lock();
            if state.stop {
                return;
            }
            match state.connection {
                Connection::Up(_) => {
                    pause = FIRST_PAUSE;
                    let next = Instant::now() + HEARTBEAT;
                    if state.is_vouched() {
                        state.beat();
                    } else {
                        state.hanging = true;
                    }
                    drop(self.wait_until(state, next));
                }
                Connection::Down { mut known } => {
                    drop(self.wait_until(state, Instant::now() + pause));
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    match self.return_to_firmware(&mut opener, &mut known) {
                        Ok(()) => {}
                        Err(error) if error.is_final() => self.exclude(&error),
                        Err(_) => self.lock().connection = Connection::Down { known },
                    }
                }
                Connection::Excluded => drop(self.wait(state, LONGEST_PAUSE)),
            }
        }
    }

    /// Waits, however often something changes, unless it is over.
    fn wait_until<'a>(&'a self, mut state: MutexGuard<'a, State>, until: Instant) -> MutexGuard<'a, State> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.stop {
                return state;
            }
            state = self.wait(state, left);
        }
    }

    fn exclude(&self, error: &LinkError) {
        let mut state = self.lock();
        state.connection = Connection::Excluded;
        state.report.excluded = true;
        state.events.push(LinkEvent::Excluded { why: error.to_string() });
    }

    /// A new connection; what the firmware does not know it is told, while the run goes on.
    fn return_to_firmware(&self, opener: &mut Opener, known: &mut Option<Known>) -> Result<(), LinkError> {
        let mut session = Session::open(opener()?)?;
        let identity = session.identity();
        let mut place = match *known {
            Some(place) if identity.configured && identity.image == checksum(&self.assignment.image) => place,
            _ => {
                *known = None;
                assign(&mut session, &self.assignment)?;
                Known { halves: 0, in_doubt: false }
            }
        };
        let (mut from, mut from_nothing) = (place.halves, known.is_none());
        loop {
            *known = Some(place);
            let state = self.lock();
            if state.stop {
                return Ok(());
            }
            let Some((index, half)) = state.next(place) else {
                match self.hand_over(state, session, place, from) {
                    Some(still_open) => session = still_open,
                    None => return Ok(()),
                }
                continue;
            };
            drop(self.wait_for_main_loop(state));
            let answer = session.ask(&half.request());
            place = match answer {
                Ok(reply) if half.agrees_with(&reply) => Known { halves: index + 1, in_doubt: false },
                // Not done, or the settlement of a turn that was settled before.
                Err(LinkError::Refused(Refusal::NoTurn)) if place.in_doubt => {
                    let settled = index == place.halves;
                    Known { halves: place.halves + usize::from(settled), in_doubt: false }
                }
                Err(error) if !error.is_final() => {
                    *known = Some(Known { in_doubt: true, ..place });
                    return Err(error);
                }
                // Somebody else has spoken with it meanwhile: from the beginning.
                Ok(_) | Err(_) if !from_nothing => {
                    *known = None;
                    session.configure(&self.assignment.configuration)?;
                    (from, from_nothing) = (0, true);
                    Known { halves: 0, in_doubt: false }
                }
                Err(error) => return Err(error),
                Ok(_) if session.status()?.in_charge != InCharge::Policy => return Err(LinkError::NoPolicy),
                Ok(_) => return Err(LinkError::Disagrees { turn: place.halves / 2 }),
            };
        }
    }

    /// Puts the firmware in charge again, if it knows everything. The session comes back when it has
    /// to wait until the open turn is settled, which will show how far it has come.
    fn hand_over<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        mut session: Session,
        place: Known,
        from: usize,
    ) -> Option<Session> {
        if place.in_doubt {
            state = self.wait_for_main_loop(self.wait(state, HEARTBEAT));
            drop(state);
            // Should it be gone again, the next request will say so.
            let _ = session.status();
            return Some(session);
        }
        let turns_told = (place.halves - from).div_ceil(2);
        state.connection = Connection::Up(Box::new(session));
        state.events.push(LinkEvent::Returned { turns_told });
        None
    }

    /// Not even telling what was missed is a sign of life of a program that hangs.
    fn wait_for_main_loop<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while !state.is_vouched() && !state.stop {
            state.hanging = true;
            state = self.wait(state, HEARTBEAT);
        }
        state
    }
}

/// Makes a firmware that knows nothing of the run ready for its first turn.
fn assign(session: &mut Session, assignment: &Assignment) -> Result<(), LinkError> {
    let Assignment { image, schema, configuration, .. } = assignment;
    session.configure(configuration)?;
    let identity = session.identity();
    if (identity.image, identity.schema) == (checksum(image), *schema) {
        // It has the policy already; but does it decide by it on this board?
        return match session.status()?.in_charge {
            InCharge::Policy => Ok(()),
            InCharge::TwoRule => Err(LinkError::NoPolicy),
        };
    }
    upload(session, image, *schema, &mut |_| {}).map(|_| ())
}
