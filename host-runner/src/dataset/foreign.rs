//! Decoders of other people that may panic on damaged input, although they return errors for most of it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs a decoder; `None` when it panicked, about which nothing is printed.
///
/// What it was building when it panicked must not be used.
pub fn decode<T>(act: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                usual(panic);
            }
        }));
    });
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(act));
    QUIET.set(false);
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_answer() {
        assert_eq!(decode(|| 7), Some(7));
        assert_eq!(decode(|| [1, 2, 3].iter().position(|n| *n == 4).unwrap()), None);
        assert!(catch_unwind(|| panic!("elsewhere panics stay what they are")).is_err());
    }
}
