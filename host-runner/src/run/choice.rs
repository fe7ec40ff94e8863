//! The governors by name, as typed after `--governor`.

use controller_core::action::{Action, ActionSpace, Knob};
use controller_core::governor::{Fixed, Governor, Learned, LearnedError, Situation, TwoRule};
use controller_core::policy::{Policy, PolicyImage};
use controller_core::units::MilliCelsius;
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

/// Why a governor cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// Not a name.
    #[error(
        "there is no governor '{0}'; use learned, max, min, two-rule or fixed:P,D,B,L (for instance fixed:7,6,32,16)"
    )]
    Unknown(String),
    /// `fixed` with wrong numbers.
    #[error("'{0}' is not a fixed setting; write fixed:P,D,B,L or fixed:P,D,B,L,FAN with whole numbers")]
    Numbers(String),
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
        let Some(numbers) = text.strip_prefix("fixed:") else {
            return match text {
                "learned" => Ok(Self::Learned),
                "max" => Ok(Self::Max),
                "min" => Ok(Self::Min),
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

impl Choice {
    /// The fixed action meant, on a board.
    fn fixed_action(&self, actions: &ActionSpace) -> Result<Action, ChoiceError> {
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
    /// A thermostat.
    TwoRule(TwoRule),
    /// A policy; boxed, since it is much larger than the others.
    Learned(Box<Learned<'a>>),
}

impl Governor for AnyGovernor<'_> {
    fn decide(&mut self, situation: &Situation<'_>) -> Action {
        match self {
            Self::Fixed(governor) => governor.decide(situation),
            Self::TwoRule(governor) => governor.decide(situation),
            Self::Learned(governor) => governor.decide(situation),
        }
    }

    fn observation(&self) -> &[i16] {
        match self {
            Self::Fixed(governor) => governor.observation(),
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
        for name in ["learned", "max", "min", "two-rule", "fixed:7,6,32,16", "fixed:0,10,1,9,255"] {
            assert_eq!(name.parse::<Choice>().unwrap().to_string(), name);
        }
        assert_eq!("fixed:7,6,32,16".parse::<Choice>().unwrap(), PUBLISHED_BEST);
        for name in
            ["", "fast", "fixed", "fixed:", "fixed:1,2,3", "fixed:a,b,c,d", "fixed:300,1,1,1", "fixed:1,2,3,4,5,6"]
        {
            assert!(name.parse::<Choice>().is_err(), "{name}");
        }
    }

    #[test]
    fn values_must_exist_on_the_board() {
        let actions = ActionSpace {
            prefill_khz: [1, 2].into_iter().collect(),
            decode_khz: [1, 2].into_iter().collect(),
            batch: [1, 8].into_iter().collect(),
            depth: [16].into_iter().collect(),
            fan_pwm: [0].into_iter().collect(),
        };
        let build = |name: &str| name.parse::<Choice>().unwrap().build(&actions, Path::new("x"), &[]);
        assert!(build("fixed:1,0,8,16").is_ok());
        let message = build("fixed:1,0,7,16").unwrap_err().to_string();
        assert_eq!(message, "this board has no batch 7; it has 1, 8");
        assert!(build("fixed:2,0,8,16").unwrap_err().to_string().contains("0 to 1"));
        assert!(matches!(build("learned"), Err(ChoiceError::Image { .. })));
    }
}
