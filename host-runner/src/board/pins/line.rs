//! One output line of the board.
//!
//! The character device is everywhere; sysfs (`JetPack` 4 and 5) is for systems whose containers pass
//! nothing else. The kernel releases a line when its holder dies, so design the circuit for a floating pin.
//! The pin multiplexer must have it as GPIO: a line that can be set while its pin does not move means it
//! has not.

use embedded_hal::digital::{ErrorKind, ErrorType, OutputPin, PinState};
use linux_embedded_hal::gpio_cdev::{self, LineRequestFlags};
use linux_embedded_hal::{CdevPin, SysfsPin};
use std::fmt;
use std::str::FromStr;

/// Which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineName {
    /// By its name in the device tree, such as `PQ.06`: safest, the same on every carrier of a module.
    Name(String),
    /// By chip label and offset, such as `tegra234-gpio:106`. Labels stay, numbers of chips do not.
    Offset {
        /// Label of the chip.
        chip: String,
        /// Line of the chip.
        offset: u32,
    },
    /// By the global number of sysfs, such as `sysfs:454`. It changes with the kernel.
    Sysfs(u64),
}

/// Why a line cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It was not understood.
    #[error("'{0}' names no line; use a name (PQ.06), a chip and an offset (tegra234-gpio:106) or sysfs:NUMBER")]
    Unclear(String),
    /// No chip has it.
    #[error("no GPIO chip has the line {0}; `gpioinfo` lists all")]
    Absent(LineName),
    /// The character device said no.
    #[error("the line cannot be used: {0}; `gpioinfo` says who holds it, and the group gpio may open it")]
    Chip(#[from] gpio_cdev::errors::Error),
    /// sysfs said no.
    #[error("the line cannot be used: {0}; JetPack 6 and later have no GPIO in sysfs, use the name of the line")]
    Sysfs(String),
}

impl fmt::Display for LineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Offset { chip, offset } => write!(f, "{chip}:{offset}"),
            Self::Sysfs(number) => write!(f, "sysfs:{number}"),
        }
    }
}

impl FromStr for LineName {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let unclear = || LineError::Unclear(text.to_owned());
        match text.rsplit_once(':') {
            None if text.is_empty() => Err(unclear()),
            None => Ok(Self::Name(text.to_owned())),
            Some(("sysfs", number)) => number.parse().map(Self::Sysfs).map_err(|_| unclear()),
            Some((chip, offset)) if !chip.is_empty() => {
                let offset = offset.parse().map_err(|_| unclear())?;
                Ok(Self::Offset { chip: chip.to_owned(), offset })
            }
            Some(_) => Err(unclear()),
        }
    }
}

/// An output line, low at first.
pub enum Line {
    /// Through the character device.
    Device(CdevPin),
    /// Through sysfs.
    Sysfs(SysfsPin),
}

impl Line {
    /// Takes a line as an output.
    pub fn open(name: &LineName) -> Result<Self, LineError> {
        if let LineName::Sysfs(number) = name {
            let failed = |error: linux_embedded_hal::sysfs_gpio::Error| LineError::Sysfs(error.to_string());
            let pin = SysfsPin::new(*number);
            pin.export().map_err(failed)?;
            return Ok(Self::Sysfs(pin.into_output_pin(PinState::Low).map_err(failed)?));
        }
        let line = find(name)?.ok_or_else(|| LineError::Absent(name.clone()))?;
        let handle = line.request(LineRequestFlags::OUTPUT, 0, "energyllm")?;
        Ok(Self::Device(CdevPin::new(handle)?))
    }
}

fn find(name: &LineName) -> Result<Option<gpio_cdev::Line>, LineError> {
    for chip in gpio_cdev::chips()? {
        let mut chip = chip?;
        match name {
            LineName::Offset { chip: label, offset } if chip.label() == label => {
                return Ok(Some(chip.get_line(*offset)?));
            }
            LineName::Name(wanted) => {
                for line in chip.lines() {
                    if line.info()?.name() == Some(wanted) {
                        return Ok(Some(line));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device(_) => "Line::Device",
            Self::Sysfs(_) => "Line::Sysfs",
        })
    }
}

/// A line that could not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSet;

impl embedded_hal::digital::Error for NotSet {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl ErrorType for Line {
    type Error = NotSet;
}

impl OutputPin for Line {
    fn set_low(&mut self) -> Result<(), NotSet> {
        match self {
            Self::Device(pin) => pin.set_low().map_err(|_| NotSet),
            Self::Sysfs(pin) => pin.set_low().map_err(|_| NotSet),
        }
    }

    fn set_high(&mut self) -> Result<(), NotSet> {
        match self {
            Self::Device(pin) => pin.set_high().map_err(|_| NotSet),
            Self::Sysfs(pin) => pin.set_high().map_err(|_| NotSet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_named_in_three_ways() {
        let line = |text: &str| text.parse::<LineName>();
        assert_eq!(line("PQ.06").unwrap(), LineName::Name("PQ.06".into()));
        assert_eq!(line("tegra234-gpio:106").unwrap(), LineName::Offset { chip: "tegra234-gpio".into(), offset: 106 });
        assert_eq!(line("sysfs:454").unwrap(), LineName::Sysfs(454));
        for text in ["", ":4", "sysfs:x", "tegra234-gpio:PQ", "a:-1"] {
            assert!(line(text).unwrap_err().to_string().contains("PQ.06"), "{text}");
        }
        for text in ["PQ.06", "tegra234-gpio:106", "sysfs:454"] {
            assert_eq!(line(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_line_that_no_chip_has_is_named() {
        let error = Line::open(&LineName::Name("no such line".into())).unwrap_err();
        assert!(error.to_string().contains("gpioinfo"), "{error}");
    }
}
