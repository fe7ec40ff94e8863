//! Where the decisions of a run are made: in this process, or by the firmware.

use crate::link::address::{Address, UnknownAddress};
use crate::link::events::LinkEvent;
use controller_core::action::{ActionSpace, Decision};
use controller_core::control::Controller;
use controller_core::governor::Governor;
use controller_core::record::StepRecord;
use controller_core::telemetry::{Measurement, Telemetry};
use controller_core::time::Instant;
use std::fmt;
use std::str::FromStr;

/// Decides the turns of a run and keeps their accounts.
pub trait Control {
    /// Decides what the board does next.
    fn step(&mut self, now: Instant, telemetry: &Telemetry) -> anyhow::Result<Decision>;

    /// Takes in what the open turn cost.
    fn settle(&mut self, measurement: Measurement) -> anyhow::Result<StepRecord>;

    /// The values of every knob.
    fn actions(&self) -> &ActionSpace;

    /// How often the governor was measured to be worse than the static setting and replaced by it.
    fn replacements(&mut self) -> anyhow::Result<u32>;

    /// What happened to the link to the controller since it was asked last, where there is a link.
    fn events(&mut self) -> Vec<LinkEvent> {
        Vec::new()
    }
}

impl<G: Governor> Control for Controller<G> {
    fn step(&mut self, now: Instant, telemetry: &Telemetry) -> anyhow::Result<Decision> {
        Ok(Self::step(self, now, telemetry))
    }

    fn settle(&mut self, measurement: Measurement) -> anyhow::Result<StepRecord> {
        Ok(Self::settle(self, measurement).expect("a turn is open after a step").clone())
    }

    fn actions(&self) -> &ActionSpace {
        Self::actions(self)
    }

    fn replacements(&mut self) -> anyhow::Result<u32> {
        Ok(self.supervisor().replacements())
    }
}

/// What was asked for with `--controller`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// `inproc`: a controller in this process.
    #[default]
    InProcess,
    /// `firmware`: the firmware's application in this process, over a line inside it.
    Firmware,
    /// `qemu`: the firmware on an emulated Cortex-M4.
    Qemu,
    /// A link: the firmware at the other end of it.
    Link(Address),
}

/// Not a place.
#[derive(Debug, thiserror::Error)]
#[error("there is no controller '{place}'; use inproc, firmware, qemu or a link: {link}")]
pub struct UnknownPlace {
    place: String,
    link: UnknownAddress,
}

impl FromStr for Place {
    type Err = UnknownPlace;

    fn from_str(text: &str) -> Result<Self, UnknownPlace> {
        match text {
            "inproc" => Ok(Self::InProcess),
            "firmware" => Ok(Self::Firmware),
            "qemu" => Ok(Self::Qemu),
            _ => text.parse().map(Self::Link).map_err(|link| UnknownPlace { place: text.to_owned(), link }),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProcess => f.write_str("inproc"),
            Self::Firmware => f.write_str("firmware"),
            Self::Qemu => f.write_str("qemu"),
            Self::Link(address) => address.fmt(f),
        }
    }
}
