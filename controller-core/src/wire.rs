//! Values as bytes, in the form of [postcard 1.x](https://postcard.jamesmunns.com/wire-format):
//! what goes over the line and into the header of a policy image.
//!
//! The postcard crate writes the same bytes, and the tests hold both against each other. Its
//! decoders are code for every field of every type that can fail in the middle; here a
//! [`Reader`] remembers the first failure and goes on with zeros, so that a value is read by
//! straight calls, and asked once at the end whether it stands. That takes a third of the flash,
//! as long as the few functions that every field calls are not inlined there.

use fixed::types::I32F32;
use heapless::{String, Vec};

/// Where bytes go.
pub trait Sink {
    /// Takes the next byte. A sink that is full remembers that for whoever made it.
    fn push(&mut self, byte: u8);
}

/// A value that can be written and read.
pub trait Wire<'a>: Sized {
    /// Writes the bytes of the value.
    fn write(&self, to: &mut dyn Sink);

    /// Reads a value. After a failure, which the reader remembers, it is made of zeros.
    fn read(from: &mut Reader<'a>) -> Self;
}

/// The value that these bytes, all of them, stand for.
#[must_use]
pub fn from_bytes<'a, T: Wire<'a>>(bytes: &'a [u8]) -> Option<T> {
    let mut reader = Reader { rest: bytes, failed: false };
    let value = T::read(&mut reader);
    (!reader.failed && reader.rest.is_empty()).then_some(value)
}

/// Bytes on their way to a value.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> Reader<'a> {
    /// Declares that the bytes stand for no value; from now on all that is read is zero.
    #[cold]
    #[inline(never)]
    pub const fn fail(&mut self) {
        self.failed = true;
        self.rest = &[];
    }

    #[inline(never)]
    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.rest.split_first() else {
            self.fail();
            return 0;
        };
        self.rest = rest;
        *byte
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let Some((bytes, rest)) = self.rest.split_at_checked(count) else {
            self.fail();
            return &[];
        };
        self.rest = rest;
        bytes
    }

    /// A number of at most 32 bits in groups of seven, the least significant group first.
    #[inline(never)]
    fn narrow(&mut self, bits: u32) -> u32 {
        let (mut number, mut shift) = (0, 0);
        while shift < bits {
            let byte = self.byte();
            let group = u32::from(byte & 0x7F);
            if group.leading_zeros() + bits < u32::BITS + shift {
                break; // more than so many bits
            }
            number |= group << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
        self.fail();
        0
    }

    /// The same for up to 64 bits, which a 32-bit machine does in twice the steps.
    #[inline(never)]
    fn wide(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        while shift < u64::BITS {
            let byte = self.byte();
            let group = u64::from(byte & 0x7F);
            if group.leading_zeros() < shift {
                break;
            }
            number |= group << shift;
            if byte < 0x80 {
                return number;
            }
            shift += 7;
        }
        self.fail();
        0
    }

    /// The number of a variant.
    #[inline(never)]
    pub fn variant(&mut self) -> u32 {
        self.narrow(u32::BITS)
    }

    fn length(&mut self, most: usize) -> usize {
        let length = self.variant() as usize;
        if length > most {
            self.fail();
            return 0;
        }
        length
    }
}

/// Writes a number in groups of seven bits, the least significant group first.
#[inline(never)]
pub fn write_number(mut number: u64, to: &mut dyn Sink) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return to.push(low & 0x7F);
        }
        to.push(low | 0x80);
    }
}

impl Wire<'_> for u8 {
    fn write(&self, to: &mut dyn Sink) {
        to.push(*self);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        from.byte()
    }
}

impl Wire<'_> for bool {
    fn write(&self, to: &mut dyn Sink) {
        to.push(u8::from(*self));
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let byte = from.byte();
        if byte > 1 {
            from.fail();
        }
        byte == 1
    }
}

impl Wire<'_> for u16 {
    fn write(&self, to: &mut dyn Sink) {
        write_number((*self).into(), to);
    }

    #[inline(never)]
    fn read(from: &mut Reader<'_>) -> Self {
        Self::try_from(from.narrow(Self::BITS)).unwrap_or(0)
    }
}

impl Wire<'_> for u32 {
    fn write(&self, to: &mut dyn Sink) {
        write_number((*self).into(), to);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        from.narrow(Self::BITS)
    }
}

impl Wire<'_> for u64 {
    fn write(&self, to: &mut dyn Sink) {
        write_number(*self, to);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        from.wide()
    }
}

/// Zigzag: 0, -1, 1, -2, 2 ... so that small numbers of either sign are short.
impl Wire<'_> for i16 {
    fn write(&self, to: &mut dyn Sink) {
        write_number(((*self << 1) ^ (*self >> 15)).cast_unsigned().into(), to);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let folded = u16::read(from);
        ((folded >> 1) ^ (folded & 1).wrapping_neg()).cast_signed()
    }
}

impl Wire<'_> for i32 {
    fn write(&self, to: &mut dyn Sink) {
        write_number(((*self << 1) ^ (*self >> 31)).cast_unsigned().into(), to);
    }

    #[inline(never)]
    fn read(from: &mut Reader<'_>) -> Self {
        let folded = u32::read(from);
        ((folded >> 1) ^ (folded & 1).wrapping_neg()).cast_signed()
    }
}

/// All 64 bits as a signed integer.
impl Wire<'_> for I32F32 {
    fn write(&self, to: &mut dyn Sink) {
        let bits = self.to_bits();
        write_number(((bits << 1) ^ (bits >> 63)).cast_unsigned(), to);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let folded = from.wide();
        Self::from_bits(((folded >> 1) ^ (folded & 1).wrapping_neg()).cast_signed())
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Option<T> {
    fn write(&self, to: &mut dyn Sink) {
        to.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.write(to);
        }
    }

    fn read(from: &mut Reader<'a>) -> Self {
        bool::read(from).then(|| T::read(from))
    }
}

impl<'a, A: Wire<'a>, B: Wire<'a>> Wire<'a> for (A, B) {
    fn write(&self, to: &mut dyn Sink) {
        self.0.write(to);
        self.1.write(to);
    }

    fn read(from: &mut Reader<'a>) -> Self {
        (A::read(from), B::read(from))
    }
}

impl<'a> Wire<'a> for &'a [u8] {
    fn write(&self, to: &mut dyn Sink) {
        write_number(self.len() as u64, to);
        self.iter().for_each(|byte| to.push(*byte));
    }

    fn read(from: &mut Reader<'a>) -> Self {
        let length = from.length(usize::MAX);
        from.bytes(length)
    }
}

impl<'a, T: Wire<'a>, const N: usize> Wire<'a> for Vec<T, N> {
    fn write(&self, to: &mut dyn Sink) {
        write_number(self.len() as u64, to);
        self.iter().for_each(|element| element.write(to));
    }

    fn read(from: &mut Reader<'a>) -> Self {
        let mut elements = Self::new();
        for _ in 0..from.length(N) {
            if elements.push(T::read(from)).is_err() {
                from.fail();
            }
        }
        elements
    }
}

impl<const N: usize> Wire<'_> for String<N> {
    fn write(&self, to: &mut dyn Sink) {
        self.as_bytes().write(to);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let bytes = <&[u8]>::read(from);
        core::str::from_utf8(bytes).ok().and_then(|text| text.try_into().ok()).unwrap_or_else(|| {
            from.fail();
            Self::new()
        })
    }
}

/// Says which fields of a structure, or which variants of an enum under which numbers, are bytes
/// in which order.
macro_rules! wire {
    (struct $name:ty { $($field:tt),+ $(,)? }) => {
        impl<'a> $crate::wire::Wire<'a> for $name {
            fn write(&self, to: &mut dyn $crate::wire::Sink) {
                $(self.$field.write(to);)+
            }

            fn read(from: &mut $crate::wire::Reader<'a>) -> Self {
                Self { $($field: $crate::wire::Wire::read(from)),+ }
            }
        }
    };
    (enum $name:ty {
        $($number:literal => $variant:ident $(($inner:ident))? $({ $($field:ident),+ })?),+ $(,)?
    }) => {
        impl<'a> $crate::wire::Wire<'a> for $name {
            fn write(&self, to: &mut dyn $crate::wire::Sink) {
                match self {
                    $(Self::$variant $(($inner))? $({ $($field),+ })? => {
                        to.push($number);
                        $($inner.write(to);)?
                        $($($field.write(to);)+)?
                    })+
                }
            }

            fn read(from: &mut $crate::wire::Reader<'a>) -> Self {
                match from.variant() {
                    $($number => Self::$variant
                        $(({ let $inner = $crate::wire::Wire::read(from); $inner }))?
                        $({ $($field: $crate::wire::Wire::read(from)),+ })?,)+
                    _ => {
                        // All that is read from now on is zero, and every enum has a variant 0.
                        from.fail();
                        Self::read(from)
                    }
                }
            }
        }
    };
}

pub(crate) use wire;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    struct Bytes(std::vec::Vec<u8>);

    impl Sink for Bytes {
        fn push(&mut self, byte: u8) {
            self.0.push(byte);
        }
    }

    fn written<'a>(value: &impl Wire<'a>) -> std::vec::Vec<u8> {
        let mut bytes = Bytes(std::vec::Vec::new());
        value.write(&mut bytes);
        bytes.0
    }

    type Everything<'a> = ((u8, bool), ((u16, u32), ((u64, i32), (Option<i16>, (&'a [u8], (Vec<u16, 3>, String<5>))))));

    fn theirs<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
        postcard::take_from_bytes(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
    }

    fn agree<'a, T: Wire<'a> + Deserialize<'a> + Serialize + PartialEq + core::fmt::Debug>(bytes: &'a [u8]) {
        let value = from_bytes::<T>(bytes);
        assert_eq!(value, theirs(bytes), "{bytes:?}");
        if let Some(value) = value {
            assert_eq!(written(&value), postcard::to_slice(&value, &mut [0; 256]).unwrap().to_vec());
        }
    }

    /// Bytes that are often the beginning of a long number, a flag or a length.
    fn likely() -> impl Strategy<Value = u8> {
        prop_oneof![0u8..4, Just(0xFF), Just(0x80), any::<u8>()]
    }

    proptest! {
        /// The postcard crate makes the same of the same bytes, numbers that are too long included.
        #[test]
        fn postcard_reads_and_writes_the_same(bytes in proptest::collection::vec(likely(), 0..24)) {
            agree::<u16>(&bytes);
            agree::<u32>(&bytes);
            agree::<u64>(&bytes);
            agree::<i16>(&bytes);
            agree::<i32>(&bytes);
            agree::<I32F32>(&bytes);
            agree::<Option<bool>>(&bytes);
            agree::<Vec<u16, 3>>(&bytes);
            agree::<String<5>>(&bytes);
            agree::<&[u8]>(&bytes);
            agree::<Everything>(&bytes);
        }

        #[test]
        fn numbers_of_every_size_come_back(number in any::<u64>(), shift in 0u32..64) {
            let number = number >> shift;
            prop_assert_eq!(from_bytes(&written(&number)), Some(number));
            agree::<u64>(&written(&number));
            agree::<u32>(&written(&number));
            agree::<i32>(&written(&number));
        }
    }
}
