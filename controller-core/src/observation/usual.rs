//! What is usual: means over the requests of some minutes.

use crate::division::quotient;
use crate::telemetry::Measurement;
use crate::time::Duration;

/// Requests that the means reach back to: enough that neither the length of an answer nor a queue by chance shows, and that a
/// burst every minute does.
const REQUESTS: u16 = 256;

/// Requests that the expected response counts for.
const EXPECTED: u16 = 16;

/// Means over all requests so far, later over about the last [`REQUESTS`], in 256ths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usual {
    /// Requests so far, at most [`REQUESTS`].
    requests: u16,
    /// Tokens of an answer.
    pub answer: u32,
    /// Time from one answer to the next, milliseconds.
    pub span: u32,
    /// Longest response of a batch, thousandths of the limit.
    pub response: u32,
    /// The highest of these, falling to their mean.
    pub peak: u32,
    /// Time of a batch, thousandths of the limit.
    pub batch: u32,
}

impl Default for Usual {
    /// What is expected of the first requests: responses at the limit, for which two batches are answered in turn. A board that
    /// has answered one request, which waited for nobody, knows nothing of its load yet.
    fn default() -> Self {
        Self { requests: 0, answer: 20 << 8, span: 1000 << 8, response: 1000 << 8, peak: 1000 << 8, batch: 500 << 8 }
    }
}

impl Usual {
    /// Moved towards a batch's numbers, the further the more answers it has.
    pub fn after(&self, measurement: &Measurement, response_limit: Duration) -> Self {
        let Measurement { requests, generated_tokens, idle, prefill, decode, response, .. } = *measurement;
        let busy = Duration::from_micros(prefill.micros().saturating_add(decode.micros()));
        let turn_ms = u32::try_from(quotient(busy.micros().saturating_add(idle.micros()), 1000)).unwrap_or(u32::MAX);
        let each = |sum: u32| sum.min(u32::MAX >> 8) * 256 / u32::from(requests.max(1));
        let so_far = self.requests.saturating_add(requests).min(REQUESTS);
        // Share of this batch in a mean, Q16.
        let share = |among: u16| {
            let among = u32::from(among.clamp(1, REQUESTS));
            i64::from((u32::from(requests).min(among) << 16) / among)
        };
        let (alone, with_expected) = (share(so_far), share(so_far.saturating_add(EXPECTED)));
        let response = share_of(response_limit, response) << 8;
        let mean_response = towards(self.response, response, with_expected);
        Self {
            requests: so_far,
            answer: towards(self.answer, each(generated_tokens), alone),
            span: towards(self.span, each(turn_ms), alone),
            response: mean_response,
            peak: towards(self.peak, mean_response, with_expected).max(response),
            batch: towards(self.batch, share_of(response_limit, busy) << 8, with_expected),
        }
    }
}

/// A mean moved towards a value by a share, Q16.
#[inline(never)]
fn towards(mean: u32, value: u32, share: i64) -> u32 {
    let step = ((i64::from(value) - i64::from(mean)) * share) >> 16;
    u32::try_from(i64::from(mean) + step).unwrap_or(value)
}

/// Thousandths of a limit, less than 2^24: a 256th of them fits 32 bits.
#[inline(never)]
fn share_of(limit: Duration, time: Duration) -> u32 {
    let share = quotient(time.micros().saturating_mul(1000), limit.micros().max(1));
    u32::try_from(share).unwrap_or(u32::MAX).min(u32::MAX >> 8)
}
