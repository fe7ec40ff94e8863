//! Lines that follow the controller: a strobe for an oscilloscope, and a relay for a fan without PWM.
//!
//! ```text
//! strobe   ___/~~~~~~~~~~~~~\_/~~~~~~~~~~~~~~~~~~~\___
//!             prefill        ^ clock changed: decode  end of the batch
//! ```

use embedded_hal::digital::OutputPin;

/// Shows when a batch runs, with a notch where the decode clock has been set.
#[derive(Debug)]
pub struct Strobe<P>(P);

impl<P: OutputPin> Strobe<P> {
    /// A strobe on a line that is low.
    pub const fn new(pin: P) -> Self {
        Self(pin)
    }

    /// The prefill clock is set; the batch begins.
    pub fn begin(&mut self) -> Result<(), P::Error> {
        self.0.set_high()
    }

    /// The decode clock is set.
    pub fn notch(&mut self) -> Result<(), P::Error> {
        self.0.set_low()?;
        self.0.set_high()
    }

    /// The batch is done.
    pub fn end(&mut self) -> Result<(), P::Error> {
        self.0.set_low()
    }
}

/// Switches a fan without PWM: high is on. Pull the line up, so that it is on as well when nobody drives it.
#[derive(Debug)]
pub struct FanRelay<P>(P);

impl<P: OutputPin> FanRelay<P> {
    /// A relay, switched on.
    pub fn new(mut pin: P) -> Result<Self, P::Error> {
        pin.set_high()?;
        Ok(Self(pin))
    }

    /// Follows the duty that was asked for: anything but 0 is on, and so is a board of unknown temperature.
    pub fn follow(&mut self, pwm: u8, temperature_is_known: bool) -> Result<(), P::Error> {
        if pwm > 0 || !temperature_is_known { self.0.set_high() } else { self.0.set_low() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal::digital::ErrorType;
    use std::convert::Infallible;

    /// Writes down every level it is given.
    struct Pin<'a>(&'a mut String);

    impl ErrorType for Pin<'_> {
        type Error = Infallible;
    }

    impl OutputPin for Pin<'_> {
        fn set_low(&mut self) -> Result<(), Infallible> {
            self.0.push('_');
            Ok(())
        }

        fn set_high(&mut self) -> Result<(), Infallible> {
            self.0.push('~');
            Ok(())
        }
    }

    #[test]
    fn a_batch_is_a_pulse_with_a_notch() {
        let mut levels = String::new();
        let mut strobe = Strobe::new(Pin(&mut levels));
        for _ in 0..2 {
            let Ok(()) = strobe.begin();
            let Ok(()) = strobe.notch();
            let Ok(()) = strobe.end();
        }
        assert_eq!(levels, "~_~_~_~_");
    }

    #[test]
    fn a_relay_is_on_unless_it_is_told_and_may_be_off() {
        let mut levels = String::new();
        let Ok(mut relay) = FanRelay::new(Pin(&mut levels));
        for (pwm, known) in [(0, true), (1, true), (0, false), (0, true)] {
            let Ok(()) = relay.follow(pwm, known);
        }
        assert_eq!(levels, "~_~~_");
    }
}
