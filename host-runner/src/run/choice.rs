//! The governors by name, as typed after `--governor`.

use controller_core::action::{Action, ActionSpace, Knob};
use controller_core::governor::{Fixed, Governor, Learned, LearnedError, Ondemand, Situation, TwoRule};
use controller_core::policy::{Policy, PolicyImage};
use controller_core::units::{KiloHertz, MilliCelsius};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// `learned`: the policy image.
    Learned,
    /// `max`: highest clocks, largest batch, full depth.
    Max,
    /// `min`: lowest clocks, batch 1, full depth.
    Min,
    /// `ondemand`: clocks by load, as Linux does it.
    Ondemand,
    /// `race-to-idle`: like `max`, with the fan full.
    RaceToIdle,
    /// `capped:MHZ`: like `max`, with both clocks at most so high.
    Capped {
        /// Highest clock, MHz.
        mhz: u32,
    },
    /// `two-rule`: a thermostat between the published best setting and the lowest clocks.
    TwoRule,
    /// `fixed:P,D,B,L[,FAN]`: clock indices, batch, layers, fan duty.
    Fixed {
        /// Index of the prefill clock.
        prefill: u8,
        /// Index of the decode clock.
        decode: u8,
        /// Batch size.
        batch: u16,
        /// Decoder layers.
        depth: u16,
        /// Lowest fan duty.
        fan_pwm: u8,
    },
}

/// The published study's best static setting.
pub const PUBLISHED_BEST: Choice = Choice::Fixed { prefill: 7, decode: 6, batch: 32, depth: 16, fan_pwm: 0 };

/// The GPU clocks, in MHz, that the power modes 50W, 30W and 15W of an AGX Orin module allow
/// (`nvpmodel_p3701_0000.conf`, L4T). These modes also gate GPU cores (30W four of eight, 15W five)
/// and cap CPU and memory, which the simulated board does not know: a cap is the clock of the mode
/// and nothing else of it.
pub const AGX_ORIN_MODES_MHZ: [u32; 3] = [816, 612, 408];

/// Every governor without parameters of its own, the published best setting and the clocks of the
/// power modes: what `--compare all` runs.
#[must_use]
pub fn all() -> Vec<Choice> {
    let named = [
        Choice::Learned,
        PUBLISHED_BEST,
        Choice::Max,
        Choice::RaceToIdle,
        Choice::Ondemand,
        Choice::TwoRule,
        Choice::Min,
    ];
    named.into_iter().chain(AGX_ORIN_MODES_MHZ.map(|mhz| Choice::Capped { mhz })).collect()
}

/// Why a governor cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// Not a name.
    #[error(
        "there is no governor '{0}'; use learned, max, min, ondemand, race-to-idle, two-rule, capped:MHZ (for instance \
         capped:612) or fixed:P,D,B,L (for instance fixed:7,6,32,16)"
    )]
    Unknown(String),
    /// `fixed` with wrong numbers.
    #[error("'{0}' is not a fixed setting; write fixed:P,D,B,L or fixed:P,D,B,L,FAN with whole numbers")]
    Numbers(String),
    /// `capped` without a clock.
    #[error("'{0}' is not a clock cap; write capped:MHZ with a whole number, for instance capped:612")]
    Cap(String),
    /// A cap below every clock.
    #[error("no clock of this board is as low as {mhz} MHz; the lowest for both phases is {lowest} MHz")]
    CapTooLow {
        /// The cap.
        mhz: u32,
        /// What there is.
        lowest: u32,
    },
    /// A value that the board does not have.
    #[error("this board has no {knob} {value}; it has {allowed}")]
    NotOnBoard {
        /// The knob.
        knob: Knob,
        /// The value.
        value: u32,
        /// What there is.
        allowed: String,
    },
    /// The image cannot be read.
    #[error("cannot read the policy image {path}: {source}; `energyllm freeze` writes one")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The image is refused.
    #[error("the policy image {path} is refused: {source}")]
    Image {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: controller_core::policy::ImageError,
    },
    /// The image is for another board.
    #[error("the policy image {path} does not fit: {source}")]
    OtherBoard {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: LearnedError,
    },
}

impl FromStr for Choice {
    type Err = ChoiceError;

    fn from_str(text: &str) -> Result<Self, ChoiceError> {
        if let Some(mhz) = text.strip_prefix("capped:") {
            let mhz = mhz.trim().parse().map_err(|_| ChoiceError::Cap(text.to_owned()))?;
            return Ok(Self::Capped { mhz });
        }
        let Some(numbers) = text.strip_prefix("fixed:") else {
            return match text {
                "learned" => Ok(Self::Learned),
                "max" => Ok(Self::Max),
                "min" => Ok(Self::Min),
                "ondemand" => Ok(Self::Ondemand),
                "race-to-idle" => Ok(Self::RaceToIdle),
                "two-rule" => Ok(Self::TwoRule),
                _ => Err(ChoiceError::Unknown(text.to_owned())),
            };
        };
        let wrong = || ChoiceError::Numbers(text.to_owned());
        let values: Vec<u16> =
            numbers.split(',').map(|n| n.trim().parse()).collect::<Result<_, _>>().map_err(|_| wrong())?;
        let byte = |n: u16| u8::try_from(n).map_err(|_| wrong());
        match *values.as_slice() {
            [prefill, decode, batch, depth] => {
                Ok(Self::Fixed { prefill: byte(prefill)?, decode: byte(decode)?, batch, depth, fan_pwm: 0 })
            }
            [prefill, decode, batch, depth, fan] => {
                Ok(Self::Fixed { prefill: byte(prefill)?, decode: byte(decode)?, batch, depth, fan_pwm: byte(fan)? })
            }
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Learned => f.write_str("learned"),
            Self::Max => f.write_str("max"),
            Self::Min => f.write_str("min"),
            Self::Ondemand => f.write_str("ondemand"),
            Self::RaceToIdle => f.write_str("race-to-idle"),
            Self::Capped { mhz } => write!(f, "capped:{mhz}"),
            Self::TwoRule => f.write_str("two-rule"),
            Self::Fixed { prefill, decode, batch, depth, fan_pwm: 0 } => {
                write!(f, "fixed:{prefill},{decode},{batch},{depth}")
            }
            Self::Fixed { prefill, decode, batch, depth, fan_pwm } => {
                write!(f, "fixed:{prefill},{decode},{batch},{depth},{fan_pwm}")
            }
        }
    }
}

/// Position of a value in a knob's list.
fn position<T: PartialEq + Copy + std::fmt::Display + Into<u32>>(
    values: &[T],
    wanted: T,
    knob: Knob,
) -> Result<u8, ChoiceError> {
    let found = values.iter().position(|value| *value == wanted).and_then(|index| u8::try_from(index).ok());
    found.ok_or_else(|| ChoiceError::NotOnBoard {
        knob,
        value: wanted.into(),
        allowed: values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    })
}

/// The highest clocks that a cap in MHz allows; 1300.5 MHz counts as 1300.
fn capped(actions: &ActionSpace, mhz: u32) -> Result<Fixed, ChoiceError> {
    let lowest = actions.prefill_khz.first().max(actions.decode_khz.first()).map_or(0, |khz| khz / 1000);
    let cap = KiloHertz(mhz.saturating_mul(1000).saturating_add(999));
    Fixed::capped(actions, cap).ok_or(ChoiceError::CapTooLow { mhz, lowest })
}

impl Choice {
    /// The fixed action meant, on a board.
    pub(crate) fn fixed_action(&self, actions: &ActionSpace) -> Result<Action, ChoiceError> {
        let Self::Fixed { prefill, decode, batch, depth, fan_pwm } = *self else { return Ok(actions.fastest()) };
        let index = |knob, index: u8| {
            let last = actions.last(knob);
            let missing = || ChoiceError::NotOnBoard { knob, value: index.into(), allowed: format!("0 to {last}") };
            if index <= last { Ok(index) } else { Err(missing()) }
        };
        Ok(Action {
            prefill: index(Knob::Prefill, prefill)?,
            decode: index(Knob::Decode, decode)?,
            batch: position(&actions.batch, batch, Knob::Batch)?,
            depth: position(&actions.depth, depth, Knob::Depth)?,
            fan: position(&actions.fan_pwm, fan_pwm, Knob::Fan)?,
        })
    }

    /// Makes the governor. `image` holds the bytes of `policy` and is read for `learned` only.
    pub fn build<'a>(
        &self,
        actions: &ActionSpace,
        policy: &Path,
        image: &'a [u8],
    ) -> Result<AnyGovernor<'a>, ChoiceError> {
        Ok(match self {
            Self::Max => AnyGovernor::Fixed(Fixed::max(actions)),
            Self::Min => AnyGovernor::Fixed(Fixed::min(actions)),
            Self::Fixed { .. } => AnyGovernor::Fixed(Fixed(self.fixed_action(actions)?)),
            Self::Ondemand => AnyGovernor::Ondemand(Ondemand),
            Self::RaceToIdle => AnyGovernor::Fixed(Fixed::race_to_idle(actions)),
            Self::Capped { mhz } => AnyGovernor::Fixed(capped(actions, *mhz)?),
            Self::TwoRule => AnyGovernor::TwoRule(TwoRule::new(
                PUBLISHED_BEST.fixed_action(actions)?,
                Action { prefill: 0, decode: 0, fan: actions.last(Knob::Fan), ..actions.fastest() },
                MilliCelsius::from_degrees(80),
                MilliCelsius::from_degrees(76),
            )),
            Self::Learned => {
                let refused = |source| ChoiceError::Image { path: policy.into(), source };
                let image = PolicyImage::new_checked(image).map_err(refused)?;
                let learned = Learned::new(Policy::new(image).map_err(refused)?, actions);
                let learned = learned.map_err(|source| ChoiceError::OtherBoard { path: policy.into(), source })?;
                AnyGovernor::Learned(Box::new(learned))
            }
        })
    }
}

/// Any governor that can be named.
#[derive(Clone, Debug)]
pub enum AnyGovernor<'a> {
    /// One action.
    Fixed(Fixed),
    /// Clocks by load.
    Ondemand(Ondemand),
    /// A thermostat.
    TwoRule(TwoRule),
    /// A policy; boxed, since it is much larger than the others.
    Learned(Box<Learned<'a>>),
}

impl Governor for AnyGovernor<'_> {
    fn decide(&mut self, situation: &Situation<'_>) -> Action {
        match self {
            Self::Fixed(governor) => governor.decide(situation),
            Self::Ondemand(governor) => governor.decide(situation),
            Self::TwoRule(governor) => governor.decide(situation),
            Self::Learned(governor) => governor.decide(situation),
        }
    }

    fn observation(&self) -> &[i16] {
        match self {
            Self::Fixed(governor) => governor.observation(),
            Self::Ondemand(governor) => governor.observation(),
            Self::TwoRule(governor) => governor.observation(),
            Self::Learned(governor) => governor.observation(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let fixed = ["fixed:7,6,32,16", "fixed:0,10,1,9,255"];
        let named = ["learned", "max", "min", "ondemand", "race-to-idle", "two-rule", "capped:612"];
        for name in named.into_iter().chain(fixed) {
            assert_eq!(name.parse::<Choice>().unwrap().to_string(), name);
        }
        for choice in all() {
            assert_eq!(choice.to_string().parse::<Choice>().unwrap(), choice);
        }
        assert_eq!("fixed:7,6,32,16".parse::<Choice>().unwrap(), PUBLISHED_BEST);
        for name in ["", "fast", "fixed", "capped", "Ondemand"] {
            assert!(matches!(name.parse::<Choice>(), Err(ChoiceError::Unknown(_))), "{name}");
        }
        for name in ["fixed:", "fixed:1,2,3", "fixed:a,b,c,d", "fixed:300,1,1,1", "fixed:1,2,3,4,5,6"] {
            assert!(matches!(name.parse::<Choice>(), Err(ChoiceError::Numbers(_))), "{name}");
        }
        for name in ["capped:", "capped:-1", "capped:30W", "capped:99999999999"] {
            assert!(matches!(name.parse::<Choice>(), Err(ChoiceError::Cap(_))), "{name}");
        }
    }

    #[test]
    fn values_must_exist_on_the_board() {
        let actions = ActionSpace {
            prefill_khz: [306_000, 1_300_500].into_iter().collect(),
            decode_khz: [408_000, 1_300_500].into_iter().collect(),
            batch: [1, 8].into_iter().collect(),
            depth: [16].into_iter().collect(),
            fan_pwm: [0].into_iter().collect(),
        };
        let build = |name: &str| name.parse::<Choice>().unwrap().build(&actions, Path::new("x"), &[]);
        assert!(build("fixed:1,0,8,16").is_ok());
        let message = build("fixed:1,0,7,16").unwrap_err().to_string();
        assert_eq!(message, "this board has no batch 7; it has 1, 8");
        assert!(build("fixed:2,0,8,16").unwrap_err().to_string().contains("0 to 1"));
        assert!(build("capped:408").is_ok() && build("capped:1300").is_ok());
        let message = build("capped:407").unwrap_err().to_string();
        assert_eq!(message, "no clock of this board is as low as 407 MHz; the lowest for both phases is 408 MHz");
        assert!(matches!(build("learned"), Err(ChoiceError::Image { .. })));
    }
}
