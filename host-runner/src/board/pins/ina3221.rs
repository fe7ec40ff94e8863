//! Texas Instruments INA3221 over I2C, for carrier boards whose kernel has no driver bound to it.
//!
//! It is only read: its averaging and its over-current limits belong to the board. Registers and scales
//! are from the data sheet (SBOS576B): bus voltage 8 mV, shunt voltage 40 µV a step, both left-justified by
//! three bits. A bus address with a driver bound to it (`/sys/bus/i2c/drivers/ina3221`) answers EBUSY here,
//! as it should: then hwmon has the rails.

use super::super::telemetry::{Average, Channel, Meter, Quantity, Role};
use controller_core::telemetry::Absence;
use embedded_hal::i2c::I2c;
use linux_embedded_hal::I2cdev;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

/// Channels of the chip.
pub const CHANNELS: u8 = 3;

const CONFIGURATION: u8 = 0x00;
const MANUFACTURER: u8 = 0xFE;
const DIE: u8 = 0xFF;
const TEXAS_INSTRUMENTS: u16 = 0x5449;
const INA3221: u16 = 0x3220;

/// Where a chip is and how it is wired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wiring {
    /// Number of the bus: `/dev/i2c-N`.
    pub bus: u8,
    /// Address on the bus, 0x40 to 0x43.
    pub address: u8,
    /// Channel, from 1.
    pub channel: u8,
    /// Its shunt, mΩ.
    pub shunt_mohm: u16,
}

/// Why a chip cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ina3221Error<E> {
    /// The bus failed.
    #[error("the I2C bus failed: {0:?}; check bus and address with i2cdetect -y -r BUS")]
    Bus(E),
    /// Another chip answers there.
    #[error("the chip at this address is no INA3221 (it says {manufacturer:#06x} {die:#06x}); check bus and address")]
    AnotherChip {
        /// Its manufacturer's number.
        manufacturer: u16,
        /// Its own number.
        die: u16,
    },
    /// The channel does not measure.
    #[error("channel {0} does not measure; its configuration switches it off")]
    Off(
        /// The channel.
        u8,
    ),
}

/// Wiring that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no INA3221; give BUS:ADDRESS:CHANNEL:SHUNT, for instance 7:0x40:1:5 (channel 1 with a shunt of 5 mΩ)"
)]
pub struct UnclearWiring(String);

impl FromStr for Wiring {
    type Err = UnclearWiring;

    fn from_str(text: &str) -> Result<Self, UnclearWiring> {
        let unclear = || UnclearWiring(text.to_owned());
        let [bus, address, channel, shunt] = text.split(':').collect::<Vec<_>>()[..] else { return Err(unclear()) };
        let address =
            address.strip_prefix("0x").and_then(|hex| u8::from_str_radix(hex, 16).ok()).ok_or_else(unclear)?;
        let channel = channel.parse().ok().filter(|channel| (1..=CHANNELS).contains(channel)).ok_or_else(unclear)?;
        let shunt_mohm = shunt.parse().ok().filter(|shunt| *shunt > 0).ok_or_else(unclear)?;
        let wiring = Self { bus: bus.parse().map_err(|_| unclear())?, address, channel, shunt_mohm };
        if (0x40..=0x43).contains(&address) { Ok(wiring) } else { Err(unclear()) }
    }
}

impl fmt::Display for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ina3221 {}-{:04x} channel {}", self.bus, self.address, self.channel)
    }
}

/// One channel of a chip.
#[derive(Debug)]
pub struct Ina3221<B> {
    bus: B,
    wiring: Wiring,
}

impl<B: I2c> Ina3221<B> {
    /// Makes sure that the chip is one and that its channel measures.
    pub fn new(bus: B, wiring: Wiring) -> Result<Self, Ina3221Error<B::Error>> {
        let mut chip = Self { bus, wiring };
        let (manufacturer, die) = (chip.register(MANUFACTURER)?, chip.register(DIE)?);
        if (manufacturer, die) != (TEXAS_INSTRUMENTS, INA3221) {
            return Err(Ina3221Error::AnotherChip { manufacturer, die });
        }
        let configuration = chip.register(CONFIGURATION)?;
        // Bit 14 is channel 1. Modes 0 and 4 are power-down, 5 measures shunts and 6 buses alone.
        let on = configuration >> (15 - wiring.channel) & 1 == 1;
        if on && matches!(configuration & 7, 3 | 7) { Ok(chip) } else { Err(Ina3221Error::Off(wiring.channel)) }
    }

    /// Power of the channel, mW; below zero when the current flows back.
    pub fn power_mw(&mut self) -> Result<i64, Ina3221Error<B::Error>> {
        let first = 2 * self.wiring.channel - 1;
        let shunt_uv = i64::from(signed(self.register(first)?) / 8) * 40;
        let bus_mv = i64::from(signed(self.register(first + 1)?) / 8) * 8;
        // µV / mΩ = mA, mV · mA = µW.
        Ok(bus_mv * shunt_uv / i64::from(self.wiring.shunt_mohm) / 1000)
    }

    fn register(&mut self, register: u8) -> Result<u16, Ina3221Error<B::Error>> {
        let mut value = [0; 2];
        self.bus.write_read(self.wiring.address, &[register], &mut value).map_err(Ina3221Error::Bus)?;
        Ok(u16::from_be_bytes(value))
    }
}

const fn signed(register: u16) -> i16 {
    i16::from_be_bytes(register.to_be_bytes())
}

/// A channel as the board's total power.
pub struct RailMeter {
    wiring: Wiring,
    channels: [Channel; 1],
    /// `None` while the chip does not answer.
    chip: Mutex<Option<Ina3221<I2cdev>>>,
}

impl RailMeter {
    /// A meter that opens the chip when it is first read, and again when it has failed.
    #[must_use]
    pub fn new(wiring: Wiring) -> Self {
        let channel = Channel {
            name: format!("INA3221_{}", wiring.channel),
            quantity: Quantity::Power,
            role: Role::Total,
            average: Average::Moment,
            place: wiring.to_string(),
        };
        Self { wiring, channels: [channel], chip: Mutex::new(None) }
    }

    fn open(wiring: Wiring) -> Option<Ina3221<I2cdev>> {
        let bus = I2cdev::new(format!("/dev/i2c-{}", wiring.bus));
        let bus = bus.inspect_err(|error| tracing::debug!("{wiring}: {error}")).ok()?;
        Ina3221::new(bus, wiring).inspect_err(|error| tracing::debug!("{wiring}: {error}")).ok()
    }
}

impl Meter for RailMeter {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&self, _: usize) -> Result<i64, Absence> {
        let mut chip = self.chip.lock().unwrap_or_else(PoisonError::into_inner);
        if chip.is_none() {
            *chip = Self::open(self.wiring);
        }
        let power = chip.as_mut().ok_or(Absence::ReadFailed)?.power_mw();
        if power.is_err() {
            *chip = None;
        }
        power.map_err(|_| Absence::ReadFailed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal::i2c::{ErrorKind, ErrorType, NoAcknowledgeSource, Operation};

    const WIRING: Wiring = Wiring { bus: 7, address: 0x40, channel: 2, shunt_mohm: 5 };

    /// A chip as its registers.
    struct Chip {
        registers: Vec<(u8, u16)>,
    }

    impl Chip {
        /// Channel 2: 19,200 mV and 2,000 µV.
        fn new() -> Self {
            let registers =
                [(0x00, 0x7127), (0xFE, 0x5449), (0xFF, 0x3220), (0x03, 50 << 3), (0x04, 2400 << 3)].to_vec();
            Self { registers }
        }

        fn with(mut self, register: u8, value: u16) -> Self {
            self.registers.retain(|(number, _)| *number != register);
            self.registers.push((register, value));
            self
        }
    }

    impl ErrorType for Chip {
        type Error = ErrorKind;
    }

    impl I2c for Chip {
        fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
            let nobody = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
            let [Operation::Write(written), Operation::Read(value)] = operations else {
                return Err(ErrorKind::Other);
            };
            let register = written[0];
            let known = self.registers.iter().find(|(number, _)| address == 0x40 && *number == register);
            value.copy_from_slice(&known.ok_or(nobody)?.1.to_be_bytes());
            Ok(())
        }
    }

    fn power(chip: Chip) -> i64 {
        Ina3221::new(chip, WIRING).unwrap().power_mw().unwrap()
    }

    #[test]
    fn power_is_voltage_times_current() {
        // 2 mV over 5 mΩ are 400 mA.
        assert_eq!(power(Chip::new()), 7680);
        // -80 µV are -16 mA.
        assert_eq!(power(Chip::new().with(0x03, (-2_i16 << 3).cast_unsigned())), -307);
        assert_eq!(power(Chip::new().with(0x04, 0)), 0);
    }

    #[test]
    fn what_is_no_chip_or_does_not_measure_is_told() {
        let refused = |chip: Chip, wiring: Wiring| Ina3221::new(chip, wiring).map(|_| ()).unwrap_err();
        let another = refused(Chip::new().with(0xFF, 0x2260), WIRING);
        assert_eq!(another, Ina3221Error::AnotherChip { manufacturer: 0x5449, die: 0x2260 });
        assert_eq!(refused(Chip::new().with(0x00, 0x5127), WIRING), Ina3221Error::Off(2));
        assert_eq!(refused(Chip::new().with(0x00, 0x7120), WIRING), Ina3221Error::Off(2));
        let nobody = refused(Chip::new(), Wiring { address: 0x41, ..WIRING });
        assert!(nobody.to_string().contains("i2cdetect"), "{nobody}");
    }

    #[test]
    fn wiring_is_read() {
        assert_eq!("7:0x40:2:5".parse(), Ok(WIRING));
        assert_eq!(WIRING.to_string(), "ina3221 7-0040 channel 2");
        for text in ["", "7:0x40:2", "7:64:2:5", "7:0x40:4:5", "7:0x40:0:5", "7:0x40:2:0", "7:0x44:1:5", "x:0x40:1:5"] {
            assert!(text.parse::<Wiring>().is_err(), "{text}");
        }
    }
}
