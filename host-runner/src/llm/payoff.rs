//! Whether drafting pays: what a token costs with it and without.
//!
//! The text is the same either way, so this is a question of time alone and may depend on the clock. A few plain steps
//! are timed, then rounds of drafting; as soon as drafted tokens have turned out dearer over a window of rounds,
//! drafting stops.

use std::collections::VecDeque;
use std::time::Duration;

/// Plain steps timed before the first draft, and again between drafts now and then.
const PLAIN_FIRST: usize = 6;
/// Rounds that must be known before drafting may stop.
const WINDOW: usize = 12;
/// Rounds between two plain steps for comparison.
const REFRESH: u32 = 24;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Plain,
    Draft,
}

/// The costs so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Payoff {
    plain: Window,
    drafted: Window,
    rounds: u32,
    stopped_after: Option<u32>,
}

impl Payoff {
    /// What to do next.
    pub(super) fn next(&self) -> Next {
        let refresh =
            self.rounds.is_multiple_of(REFRESH) && self.plain.seen <= PLAIN_FIRST + (self.rounds / REFRESH) as usize;
        if self.stopped_after.is_some() || self.plain.seen < PLAIN_FIRST || (self.rounds > 0 && refresh) {
            Next::Plain
        } else {
            Next::Draft
        }
    }

    /// A plain step gave `tokens` tokens.
    pub(super) fn plain(&mut self, cost: Duration, tokens: usize) {
        self.plain.add(cost, tokens);
    }

    /// A round of drafting gave `tokens` tokens.
    pub(super) fn round(&mut self, cost: Duration, tokens: usize) {
        self.drafted.add(cost, tokens);
        self.rounds += 1;
        if self.drafted.costs.len() == WINDOW && self.gain().is_some_and(|gain| gain < 1.0) {
            self.stopped_after = Some(self.rounds);
        }
    }

    /// Time of a plain token over that of a drafted one; above 1 drafting pays.
    pub(super) fn gain(&self) -> Option<f64> {
        Some(self.plain.per_token()? / self.drafted.per_token()?)
    }

    /// Rounds after which drafting was given up.
    pub(super) fn stopped_after(&self) -> Option<u32> {
        self.stopped_after
    }
}

/// The last few costs.
#[derive(Debug, Clone, Default)]
struct Window {
    /// Nanoseconds and tokens.
    costs: VecDeque<(f64, f64)>,
    /// All that ever came.
    seen: usize,
}

impl Window {
    fn add(&mut self, cost: Duration, tokens: usize) {
        if self.costs.len() == WINDOW {
            self.costs.pop_front();
        }
        self.costs.push_back((cost.as_secs_f64() * 1e9, tokens as f64));
        self.seen += 1;
    }

    /// Nanoseconds per token. Rounds differ in tokens, so sums are divided; the dearest quarter, in which the machine did
    /// something else, does not count.
    fn per_token(&self) -> Option<f64> {
        let mut costs: Vec<_> = self.costs.iter().copied().collect();
        costs.sort_by(|a, b| a.0.total_cmp(&b.0));
        costs.truncate(costs.len().div_ceil(4) * 3);
        let tokens: f64 = costs.iter().map(|cost| cost.1).sum();
        (tokens > 0.0).then(|| costs.iter().map(|cost| cost.0).sum::<f64>() / tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets it work for `steps` steps on a machine where a plain token takes 100 µs and a round `round_us`.
    fn work(steps: usize, round_us: u64, tokens: usize) -> (Payoff, usize) {
        let (mut payoff, mut drafts) = (Payoff::default(), 0);
        for _ in 0..steps {
            match payoff.next() {
                Next::Plain => payoff.plain(Duration::from_micros(100), 1),
                Next::Draft => {
                    payoff.round(Duration::from_micros(round_us), tokens);
                    drafts += 1;
                }
            }
        }
        (payoff, drafts)
    }

    #[test]
    fn drafting_goes_on_while_it_pays() {
        let (payoff, drafts) = work(400, 200, 3);
        assert_eq!(payoff.stopped_after(), None);
        assert!((payoff.gain().unwrap() - 1.5).abs() < 1e-9);
        assert!(drafts > 370, "{drafts} of 400 steps");
        assert!(payoff.plain.seen > PLAIN_FIRST, "the comparison is kept fresh");
    }

    #[test]
    fn drafting_stops_when_it_does_not() {
        let (payoff, drafts) = work(400, 200, 1);
        assert_eq!((payoff.stopped_after(), drafts), (Some(12), WINDOW));
        assert!((payoff.gain().unwrap() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn one_slow_round_decides_nothing() {
        let mut payoff = Payoff::default();
        (0..PLAIN_FIRST).for_each(|_| payoff.plain(Duration::from_micros(100), 1));
        for round in 0..100 {
            payoff.round(Duration::from_micros(if round % 10 == 0 { 50_000 } else { 200 }), 3);
        }
        assert_eq!(payoff.stopped_after(), None);
    }
}
