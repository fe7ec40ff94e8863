//! Physical quantities as integers in the native units of Linux sysfs, one type each.

use crate::wire::wire;
use serde::{Deserialize, Serialize};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($repr:ty), $suffix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $repr);

        wire!(struct $name { 0 });

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, concat!("{} ", $suffix), self.0)
            }
        }
    };
}

quantity!(
    /// Temperature in thousandths of a degree Celsius, the unit of `/sys/class/thermal/*/temp`.
    MilliCelsius(i32),
    "m°C"
);
quantity!(
    /// Electrical power in milliwatts.
    MilliWatts(u32),
    "mW"
);
quantity!(
    /// Energy in microjoules; `u64` holds 584 years at 1 kW.
    MicroJoules(u64),
    "µJ"
);
quantity!(
    /// Clock in kilohertz.
    KiloHertz(u32),
    "kHz"
);
quantity!(
    /// Entropy of a next-token distribution in thousandths of a nat.
    MilliNats(u32),
    "mnat"
);
quantity!(
    /// Rate of requests in thousandths of a request per second.
    MilliRequestsPerSecond(u32),
    "mreq/s"
);

impl MilliCelsius {
    /// Whole degrees Celsius, as people write limits.
    #[must_use]
    pub const fn from_degrees(degrees: i16) -> Self {
        Self(degrees as i32 * 1000)
    }
}

impl MicroJoules {
    /// Sum that stays at the top instead of wrapping.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn quantities_print_their_unit() {
        assert_eq!(MilliCelsius::from_degrees(-5).to_string(), "-5000 m°C");
        assert_eq!(MicroJoules(7).to_string(), "7 µJ");
    }

    #[test]
    fn energy_saturates() {
        assert_eq!(MicroJoules(u64::MAX).saturating_add(MicroJoules(1)), MicroJoules(u64::MAX));
    }
}
