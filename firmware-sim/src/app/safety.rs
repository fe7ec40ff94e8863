//! Whether the host is trusted, as a table: the application asks it, and the picture in
//! `docs/firmware.md` is drawn from it.

use controller_core::protocol::Safety;

/// What may change the safety state. A reset leads to [`Safety::Boot`] from anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A host greets with a session number that was not used lately.
    Greeting,
    /// The open session was silent for [`super::HOST_TIMEOUT`].
    Silence,
}

/// A change of the safety state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Transition {
    /// In this state ...
    pub from: Safety,
    /// ... this ...
    pub cause: Cause,
    /// ... leads to this state.
    pub to: Safety,
}

/// All changes there are. What is not in here changes nothing.
pub const TRANSITIONS: [Transition; 4] = [
    Transition { from: Safety::Boot, cause: Cause::Greeting, to: Safety::InSession },
    Transition { from: Safety::InSession, cause: Cause::Greeting, to: Safety::InSession },
    Transition { from: Safety::InSession, cause: Cause::Silence, to: Safety::HostSilent },
    Transition { from: Safety::HostSilent, cause: Cause::Greeting, to: Safety::InSession },
];

/// The state after `cause` in the state `from`.
#[must_use]
pub fn next(from: Safety, cause: Cause) -> Safety {
    TRANSITIONS
        .iter()
        .find(|transition| transition.from == from && transition.cause == cause)
        .map_or(from, |transition| transition.to)
}

/// Whether the safety outputs are active in a state.
#[must_use]
pub const fn is_protecting(state: Safety) -> bool {
    match state {
        Safety::Boot | Safety::HostSilent => true,
        Safety::InSession => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_way_out_for_each_cause_and_only_a_greeting_makes_the_outputs_quiet() {
        for (number, one) in TRANSITIONS.iter().enumerate() {
            let same = |other: &&Transition| (other.from, other.cause) == (one.from, one.cause);
            assert_eq!(TRANSITIONS.iter().filter(same).count(), 1, "{number}");
            assert!(is_protecting(one.to) || one.cause == Cause::Greeting, "{number}");
        }
        assert_eq!(next(Safety::Boot, Cause::Silence), Safety::Boot);
        assert_eq!(next(Safety::HostSilent, Cause::Silence), Safety::HostSilent);
    }
}
