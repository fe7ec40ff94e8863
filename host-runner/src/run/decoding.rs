//! What was asked for with `--draft` and `--gate`: ways to decode that do not take every token through all layers, one
//! step after the other.

use crate::llm::{Deeper, Gate, Speculation};
use std::fmt;
use std::str::FromStr;

/// Most tokens that may be drafted in a round.
const MAX_DRAFTS: u32 = 64;
/// Tokens drafted in a round where nobody says how many.
const USUAL_DRAFTS: u32 = 4;
/// Tokens of a sequence that may wait to be finished; see `llm gate`.
const MAX_PENDING: u32 = 16;

/// How the answers of a batch are decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Decoding {
    /// Each token through all layers of the setting.
    #[default]
    Plain,
    /// Half of the model's layers draft, all layers of the setting check. The texts are those of `Plain`.
    Draft(Drafts),
    /// A token leaves at half or three quarters of the model's layers where its entropy is below so many nats; keys and
    /// values stay exact.
    Gate(f32),
}

/// How many tokens are drafted in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drafts {
    /// So many, in every round.
    Always(u32),
    /// Four, as long as that costs less than plain decoding.
    WhileItPays,
}

/// What `--draft` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DraftChoice(pub Option<Drafts>);

/// What `--gate` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GateChoice(pub Option<f32>);

impl FromStr for DraftChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self(None)),
            "auto" => Ok(Self(Some(Drafts::WhileItPays))),
            _ => match text.parse() {
                Ok(count) if (1..=MAX_DRAFTS).contains(&count) => Ok(Self(Some(Drafts::Always(count)))),
                _ => Err(format!("give the tokens of a round, 1 to {MAX_DRAFTS}, or `auto`, or `off`")),
            },
        }
    }
}

impl FromStr for GateChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self(None)),
            _ => match text.parse::<f32>() {
                Ok(nats) if nats.is_finite() && nats >= 0.0 => Ok(Self(Some(nats))),
                _ => Err("give an entropy in nats, 0 or more, or `off`".to_owned()),
            },
        }
    }
}

/// As it stands in the header of a record.
impl fmt::Display for Decoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => f.write_str("plain"),
            Self::Draft(Drafts::Always(count)) => write!(f, "draft {count}"),
            Self::Draft(Drafts::WhileItPays) => f.write_str("draft auto"),
            Self::Gate(nats) => write!(f, "gate {nats}"),
        }
    }
}

impl Decoding {
    /// How to draft with a model of so many layers; `None` without drafts.
    pub(super) fn speculation(self, model_layers: u32) -> Option<Speculation> {
        let Self::Draft(drafts) = self else { return None };
        let (draft_tokens, always) = match drafts {
            Drafts::Always(count) => (count, true),
            Drafts::WhileItPays => (USUAL_DRAFTS, false),
        };
        Some(Speculation { draft_layers: (model_layers / 2).max(1), draft_tokens, always })
    }

    /// The gate for a batch that runs `layers` of a model's layers; `None` without one, and where all that runs is below
    /// the first probe.
    pub(super) fn gate(self, model_layers: u32, layers: u32) -> Option<Gate> {
        let Self::Gate(threshold) = self else { return None };
        let first = (model_layers / 2).max(1);
        let second = Some(model_layers * 3 / 4).filter(|second| (first + 1..layers).contains(second));
        (first < layers).then_some(Gate { first, second, threshold, max_pending: MAX_PENDING, deeper: Deeper::Resumed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_understood_or_refused() {
        assert_eq!("4".parse(), Ok(DraftChoice(Some(Drafts::Always(4)))));
        assert_eq!("auto".parse(), Ok(DraftChoice(Some(Drafts::WhileItPays))));
        assert_eq!(("off".parse(), "off".parse()), (Ok(DraftChoice(None)), Ok(GateChoice(None))));
        for text in ["", "0", "65", "-1", "4.5", "on"] {
            assert!(text.parse::<DraftChoice>().is_err(), "{text}");
        }
        assert_eq!("0.1".parse(), Ok(GateChoice(Some(0.1))));
        for text in ["", "-0.1", "nan", "inf", "on"] {
            assert!(text.parse::<GateChoice>().is_err(), "{text}");
        }
    }

    #[test]
    fn probes_lie_below_what_runs() {
        let gate = |layers| Decoding::Gate(0.1).gate(16, layers).map(|gate| (gate.first, gate.second));
        assert_eq!(gate(16), Some((8, Some(12))));
        assert_eq!(gate(13), Some((8, Some(12))));
        assert_eq!(gate(12), Some((8, None)));
        assert_eq!(gate(8), None);
        assert_eq!(Decoding::Gate(0.1).gate(1, 1), None);
        assert_eq!(Decoding::Plain.gate(16, 16), None);
    }
}
