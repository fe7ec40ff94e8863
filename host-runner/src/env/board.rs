//! What a turn needs of a board, simulated or real.
//!
//! A batch is told to the board in three calls, around the work of the language model:
//!
//! ```text
//! begin_prefill(setting)      a real board pins the prefill clock
//!   llama.cpp reads the prompts
//! begin_decode(setting, ..)   a real board pins the decode clock; a simulated one lives through the prefill
//!   llama.cpp writes the answers
//! end_decode(setting, ..)     a real board closes the phase; a simulated one lives through the decode
//! measure()                   the bill of everything since the last call
//! ```

use controller_core::action::Setting;
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::Instant;
use controller_core::units::MilliRequestsPerSecond;
use firmware_sim::board::SimulatedBoard;
use std::convert::Infallible;

/// A board under the controller.
pub trait Board {
    /// Why the board could not do as it was told.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Seconds since the run began, on the board's monotonic clock.
    fn now_s(&self) -> f64;

    /// The same clock as the controller reads it.
    fn now(&self) -> Instant;

    /// The newest sample of every sensor; what could not be read is a named absence.
    fn telemetry(&mut self, queue: u16, offered_load: MilliRequestsPerSecond) -> Telemetry;

    /// Lets the board wait.
    fn idle(&mut self, seconds: f64) -> Result<(), Self::Error>;

    /// Sets the lowest fan duty (0 to 255) without running anything, as during a hold.
    fn set_fan(&mut self, pwm: u8) -> Result<(), Self::Error>;

    /// A batch starts.
    fn begin_prefill(&mut self, setting: &Setting) -> Result<(), Self::Error>;

    /// Its `sequences` prompts, `prompt_tokens` together, are read; the decode starts.
    fn begin_decode(&mut self, setting: &Setting, sequences: u16, prompt_tokens: u32) -> Result<(), Self::Error>;

    /// The batch is done; `active` holds the number of sequences in each decode step.
    fn end_decode(&mut self, setting: &Setting, active: &[u16]) -> Result<(), Self::Error>;

    /// Like [`Board::end_decode`], for a decode whose runs of the model differ in layers: `active` holds the tokens of
    /// each run, `depths` its layers. A real board has lived through them; a simulated one bills each as a decode step of
    /// so many sequences and layers. That several tokens of one sequence cost what as many sequences do is an
    /// assumption: no log has such runs.
    fn end_runs(&mut self, setting: &Setting, active: &[u16], depths: &[u16]) -> Result<(), Self::Error> {
        let _ = depths;
        self.end_decode(setting, active)
    }

    /// Closes the turn: everything spent since the last call. Requests, tokens, response and
    /// entropy are the engine's to fill in.
    fn measure(&mut self) -> Measurement;

    /// Somebody has measured the power of the turn that was closed last. Where nobody has, its energy is a stand-in, so that it
    /// does not count as free, and must not be learnt from or reported.
    fn energy_is_known(&self) -> bool {
        true
    }

    /// Die temperature, °C: the true one where the board is simulated, else the last one sensed.
    fn die_c(&self) -> Option<f64>;

    /// The board has shut itself down; it does nothing any more.
    fn is_off(&self) -> bool;

    /// Seconds above the temperature limit so far.
    fn above_limit_s(&self) -> f64;

    /// Highest temperature so far, °C.
    fn peak_c(&self) -> f64;

    /// Stops the fan for the rest of the run: the disturbance of the published test.
    fn fail_fan(&mut self) -> Result<(), Self::Error>;
}

impl Board for SimulatedBoard {
    type Error = Infallible;

    fn now_s(&self) -> f64 {
        self.plant().elapsed_s()
    }

    fn now(&self) -> Instant {
        self.now()
    }

    fn telemetry(&mut self, queue: u16, offered_load: MilliRequestsPerSecond) -> Telemetry {
        self.telemetry(queue, offered_load)
    }

    fn idle(&mut self, seconds: f64) -> Result<(), Infallible> {
        self.idle(seconds);
        Ok(())
    }

    fn set_fan(&mut self, pwm: u8) -> Result<(), Infallible> {
        self.set_fan(pwm);
        Ok(())
    }

    fn begin_prefill(&mut self, _setting: &Setting) -> Result<(), Infallible> {
        Ok(())
    }

    fn begin_decode(&mut self, setting: &Setting, sequences: u16, prompt_tokens: u32) -> Result<(), Infallible> {
        self.prefill(setting, sequences, prompt_tokens);
        Ok(())
    }

    fn end_decode(&mut self, setting: &Setting, active: &[u16]) -> Result<(), Infallible> {
        self.decode(setting, active);
        Ok(())
    }

    fn end_runs(&mut self, setting: &Setting, active: &[u16], depths: &[u16]) -> Result<(), Infallible> {
        let mut rest = active;
        for same in depths.chunk_by(|a, b| a == b) {
            let (runs, later) = rest.split_at(same.len().min(rest.len()));
            let depth = same.first().copied().unwrap_or(setting.depth);
            self.decode(&Setting { depth, ..*setting }, runs);
            rest = later;
        }
        Ok(())
    }

    fn measure(&mut self) -> Measurement {
        self.measure()
    }

    fn die_c(&self) -> Option<f64> {
        Some(self.plant().temperature_c())
    }

    fn is_off(&self) -> bool {
        self.is_off()
    }

    fn above_limit_s(&self) -> f64 {
        self.above_limit_s()
    }

    fn peak_c(&self) -> f64 {
        self.peak_c()
    }

    fn fail_fan(&mut self) -> Result<(), Infallible> {
        self.set_fan_working(false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use controller_core::units::KiloHertz;
    use firmware_sim::plant::{Conditions, Profile, latency};

    const SETTING: Setting =
        Setting { prefill: KiloHertz(918_000), decode: KiloHertz(918_000), batch: 4, depth: 16, fan_pwm: 0 };

    fn board() -> SimulatedBoard {
        let quiet = Conditions { noise: false, ..Conditions::default() };
        let mut board = SimulatedBoard::new(&Profile::agx_orin_hf(), quiet);
        // The clock takes effect after a delay.
        board.decode(&SETTING, &[1; 20]);
        board.measure();
        board
    }

    #[test]
    fn runs_at_the_depth_of_the_setting_are_steps() {
        let (mut runs, mut steps) = (board(), board());
        let Ok(()) = runs.end_runs(&SETTING, &[4, 4, 2, 1], &[16; 4]);
        let Ok(()) = steps.end_decode(&SETTING, &[4, 4, 2, 1]);
        assert_eq!(runs.measure(), steps.measure());
    }

    /// A round of two drafts with 6 of 16 layers for two sequences: three runs over two tokens, then ten layers over six.
    #[test]
    fn a_round_of_drafts_is_billed_run_by_run() {
        let profile = Profile::agx_orin_hf();
        let second = |tokens, layers| latency::decode_step_seconds(&profile, 918_000, tokens, layers, 1.0);
        let expected = 3.0 * second(2, 6) + second(6, 10);
        let mut board = board();
        let Ok(()) = board.end_runs(&SETTING, &[2, 2, 2, 6], &[6, 6, 6, 10]);
        let billed = board.measure().decode.micros() as f64 / 1e6;
        assert!((billed - expected).abs() < 1e-5, "{billed} s, not {expected} s");
    }
}
