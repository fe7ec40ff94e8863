//! Values as bytes, in the form of [postcard 1.x](https://postcard.jamesmunns.com/wire-format):
//! what goes over the line and into the header of a policy image.
//!
//! The postcard crate writes the same bytes, and the tests hold both against each other. Its
//! decoders are code for every field of every type that can fail in the middle; here a
//! [`Reader`] remembers the first failure and goes on with zeros, so that a value is read by
//! straight calls, and asked once at the end whether it stands. That takes a third of the flash,
//! as long as the few functions that every field calls are not inlined there.

use fixed::types::I32F32;
use heapless::string::StringView;
use heapless::vec::VecView;
use heapless::{String, Vec};

/// A value that can be written.
pub trait Encode {
    /// Writes the bytes of the value.
    fn write(&self, to: &mut Writer<'_>);
}

/// A value that can be read.
pub trait Decode<'a>: Sized {
    /// Reads a value. After a failure, which the reader remembers, it is made of zeros.
    fn read(from: &mut Reader<'a>) -> Self;
}

/// Bytes one behind the other in a buffer. A writer that is full goes on counting.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

impl<'b> Writer<'b> {
    /// Begins at the front of a buffer.
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, length: 0 }
    }

    /// Writes the next byte.
    #[inline(never)]
    pub fn push(&mut self, byte: u8) {
        if let Some(place) = self.buffer.get_mut(self.length) {
            *place = byte;
        }
        self.length = self.length.saturating_add(1);
    }

    /// Writes some bytes as they are.
    pub fn append(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.push(*byte);
        }
    }

    /// Writes a number in groups of seven bits, the least significant group first.
    #[inline(never)]
    fn narrow(&mut self, mut number: u32) {
        while number > 0x7F {
            let [low, ..] = number.to_le_bytes();
            self.push(low | 0x80);
            number >>= 7;
        }
        let [low, ..] = number.to_le_bytes();
        self.push(low);
    }

    /// The same for up to 64 bits, which a 32-bit machine does in twice the steps.
    #[inline(never)]
    fn wide(&mut self, mut number: u64) {
        while number > 0x7F {
            let [low, ..] = number.to_le_bytes();
            self.push(low | 0x80);
            number >>= 7;
        }
        let [low, ..] = number.to_le_bytes();
        self.push(low);
    }

    /// A length, which is below 2^32 for all that fits a frame or an image.
    fn count(&mut self, length: usize) {
        self.narrow(u32::try_from(length).unwrap_or(u32::MAX));
    }

    /// Bytes written, those included that did not fit.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// What was written; `None` when it did not fit.
    #[must_use]
    pub fn finish(self) -> Option<&'b mut [u8]> {
        self.buffer.get_mut(..self.length)
    }
}

/// The value that these bytes, all of them, stand for.
#[must_use]
pub fn from_bytes<'a, T: Decode<'a>>(bytes: &'a [u8]) -> Option<T> {
    let mut reader = Reader::new(bytes);
    let value = T::read(&mut reader);
    reader.is_done().then_some(value)
}

/// Bytes on their way to a value.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    failed: bool,
}

impl<'a> Reader<'a> {
    /// Begins at the front of some bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, failed: false }
    }

    /// Whether all bytes were read and what was read stands.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        !self.failed && self.rest.is_empty()
    }

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

impl Encode for u8 {
    fn write(&self, to: &mut Writer<'_>) {
        to.push(*self);
    }
}

impl Decode<'_> for u8 {
    fn read(from: &mut Reader<'_>) -> Self {
        from.byte()
    }
}

impl Encode for bool {
    fn write(&self, to: &mut Writer<'_>) {
        to.push(u8::from(*self));
    }
}

impl Decode<'_> for bool {
    fn read(from: &mut Reader<'_>) -> Self {
        let byte = from.byte();
        if byte > 1 {
            from.fail();
        }
        byte == 1
    }
}

impl Encode for u16 {
    fn write(&self, to: &mut Writer<'_>) {
        to.narrow((*self).into());
    }
}

impl Decode<'_> for u16 {
    #[inline(never)]
    fn read(from: &mut Reader<'_>) -> Self {
        Self::try_from(from.narrow(Self::BITS)).unwrap_or(0)
    }
}

impl Encode for u32 {
    fn write(&self, to: &mut Writer<'_>) {
        to.narrow(*self);
    }
}

impl Decode<'_> for u32 {
    fn read(from: &mut Reader<'_>) -> Self {
        from.variant()
    }
}

impl Encode for u64 {
    fn write(&self, to: &mut Writer<'_>) {
        to.wide(*self);
    }
}

impl Decode<'_> for u64 {
    fn read(from: &mut Reader<'_>) -> Self {
        from.wide()
    }
}

/// Zigzag: 0, -1, 1, -2, 2 ... so that small numbers of either sign are short.
impl Encode for i16 {
    fn write(&self, to: &mut Writer<'_>) {
        to.narrow(((*self << 1) ^ (*self >> 15)).cast_unsigned().into());
    }
}

impl Decode<'_> for i16 {
    fn read(from: &mut Reader<'_>) -> Self {
        let folded = u16::read(from);
        ((folded >> 1) ^ (folded & 1).wrapping_neg()).cast_signed()
    }
}

impl Encode for i32 {
    fn write(&self, to: &mut Writer<'_>) {
        to.narrow(((*self << 1) ^ (*self >> 31)).cast_unsigned());
    }
}

impl Decode<'_> for i32 {
    #[inline(never)]
    fn read(from: &mut Reader<'_>) -> Self {
        let folded = u32::read(from);
        ((folded >> 1) ^ (folded & 1).wrapping_neg()).cast_signed()
    }
}

/// All 64 bits as a signed integer.
impl Encode for I32F32 {
    fn write(&self, to: &mut Writer<'_>) {
        let bits = self.to_bits();
        to.wide(((bits << 1) ^ (bits >> 63)).cast_unsigned());
    }
}

impl Decode<'_> for I32F32 {
    fn read(from: &mut Reader<'_>) -> Self {
        let folded = from.wide();
        Self::from_bits(((folded >> 1) ^ (folded & 1).wrapping_neg()).cast_signed())
    }
}

impl<T: Encode> Encode for &T {
    fn write(&self, to: &mut Writer<'_>) {
        (**self).write(to);
    }
}

impl<T: Encode> Encode for Option<T> {
    fn write(&self, to: &mut Writer<'_>) {
        to.push(u8::from(self.is_some()));
        if let Some(value) = self {
            value.write(to);
        }
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Option<T> {
    fn read(from: &mut Reader<'a>) -> Self {
        bool::read(from).then(|| T::read(from))
    }
}

impl<A: Encode, B: Encode> Encode for (A, B) {
    fn write(&self, to: &mut Writer<'_>) {
        self.0.write(to);
        self.1.write(to);
    }
}

impl<'a, A: Decode<'a>, B: Decode<'a>> Decode<'a> for (A, B) {
    fn read(from: &mut Reader<'a>) -> Self {
        (A::read(from), B::read(from))
    }
}

impl Encode for &[u8] {
    fn write(&self, to: &mut Writer<'_>) {
        to.count(self.len());
        to.append(self);
    }
}

impl<'a> Decode<'a> for &'a [u8] {
    fn read(from: &mut Reader<'a>) -> Self {
        let length = from.length(usize::MAX);
        from.bytes(length)
    }
}

impl<T: Encode, const N: usize> Encode for Vec<T, N> {
    fn write(&self, to: &mut Writer<'_>) {
        to.count(self.len());
        self.iter().for_each(|element| element.write(to));
    }
}

impl<'a, T: Decode<'a>, const N: usize> Decode<'a> for Vec<T, N> {
    fn read(from: &mut Reader<'a>) -> Self {
        let mut elements = Self::new();
        read_elements(from, elements.as_mut_view());
        elements
    }
}

/// One function for lists of every capacity.
#[inline(never)]
fn read_elements<'a, T: Decode<'a>>(from: &mut Reader<'a>, elements: &mut VecView<T>) {
    for _ in 0..from.length(elements.capacity()) {
        if elements.push(T::read(from)).is_err() {
            from.fail();
        }
    }
}

impl<const N: usize> Encode for String<N> {
    fn write(&self, to: &mut Writer<'_>) {
        self.as_bytes().write(to);
    }
}

impl<const N: usize> Decode<'_> for String<N> {
    fn read(from: &mut Reader<'_>) -> Self {
        let mut text = Self::new();
        read_text(from, text.as_mut_view());
        text
    }
}

/// One function for texts of every capacity.
#[inline(never)]
fn read_text(from: &mut Reader<'_>, text: &mut StringView) {
    let mut rest = <&[u8]>::read(from);
    while !rest.is_empty() {
        let first = first_character(rest).filter(|(character, _)| text.push(*character).is_ok());
        let Some((_, behind)) = first else {
            text.clear();
            return from.fail();
        };
        rest = behind;
    }
}

/// The first character of UTF-8 text and what follows. `core::str::from_utf8` is made for long texts
/// and takes three times the flash.
#[inline(never)]
fn first_character(bytes: &[u8]) -> Option<(char, &[u8])> {
    let (&lead, mut rest) = bytes.split_first()?;
    let length = lead.leading_ones(); // 0 for a character of one byte
    let mut code = u32::from(lead) & (0x7F >> length);
    for _ in 1..length {
        let (&byte, behind) = rest.split_first().filter(|(byte, _)| byte.leading_ones() == 1)?;
        code = code << 6 | u32::from(byte & 0x3F);
        rest = behind;
    }
    // Neither a surrogate nor beyond Unicode, and in no more bytes than it needs.
    let character =
        char::from_u32(code).filter(|character| length != 1 && character.len_utf8() == length.max(1) as usize)?;
    Some((character, rest))
}

/// Says which fields of a structure, or which variants of an enum under which numbers, are bytes
/// in which order.
macro_rules! wire {
    (struct $name:ty { $($field:tt),+ $(,)? }) => {
        impl<'a> $crate::wire::Encode for $name {
            fn write(&self, to: &mut $crate::wire::Writer<'_>) {
                $($crate::wire::Encode::write(&self.$field, to);)+
            }
        }

        impl<'a> $crate::wire::Decode<'a> for $name {
            fn read(from: &mut $crate::wire::Reader<'a>) -> Self {
                Self { $($field: $crate::wire::Decode::read(from)),+ }
            }
        }
    };
    (enum $name:ty $([$parameter:ident])? {
        $($(#[$only:meta])? $number:literal => $variant:ident $(($inner:ident))? $({ $($field:ident),+ })?),+ $(,)?
    }) => {
        impl<'a $(, $parameter: $crate::wire::Encode)?> $crate::wire::Encode for $name {
            fn write(&self, to: &mut $crate::wire::Writer<'_>) {
                // The number in one place for all variants, most of which are nothing else.
                to.push(match self {
                    $($(#[$only])? Self::$variant { .. } => $number,)+
                });
                match self {
                    $($(#[$only])? Self::$variant $(($inner))? $({ $($field),+ })? => {
                        $($crate::wire::Encode::write($inner, to);)?
                        $($($crate::wire::Encode::write($field, to);)+)?
                    })+
                }
            }
        }

        impl<'a $(, $parameter: $crate::wire::Decode<'a>)?> $crate::wire::Decode<'a> for $name {
            fn read(from: &mut $crate::wire::Reader<'a>) -> Self {
                match from.variant() {
                    $($(#[$only])? $number => Self::$variant
                        $(({ let $inner = $crate::wire::Decode::read(from); $inner }))?
                        $({ $($field: $crate::wire::Decode::read(from)),+ })?,)+
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

    fn written(value: &impl Encode) -> std::vec::Vec<u8> {
        let mut buffer = [0; 256];
        let mut writer = Writer::new(&mut buffer);
        value.write(&mut writer);
        writer.finish().unwrap().to_vec()
    }

    type Everything<'a> = ((u8, bool), ((u16, u32), ((u64, i32), (Option<i16>, (&'a [u8], (Vec<u16, 3>, String<5>))))));

    fn theirs<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
        postcard::take_from_bytes(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
    }

    fn agree<'a, T: Encode + Decode<'a> + Deserialize<'a> + Serialize + PartialEq + core::fmt::Debug>(bytes: &'a [u8]) {
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
        fn a_full_writer_goes_on_counting(number in any::<u64>(), room in 0usize..12) {
            let (all, mut buffer) = (written(&number), [0; 12]);
            let mut writer = Writer::new(&mut buffer[..room]);
            number.write(&mut writer);
            prop_assert_eq!(writer.length(), all.len());
            prop_assert_eq!(writer.finish().map(|bytes| bytes.to_vec()), (all.len() <= room).then_some(all));
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

    /// Every first and second byte, with tails at the edges of what may follow.
    #[test]
    #[cfg_attr(miri, ignore = "a million texts")]
    fn text_is_what_the_standard_library_takes_for_text() {
        const EDGES: [u8; 4] = [0x7F, 0x80, 0xBF, 0xC0];
        for start in 0..=u16::MAX {
            let [first, second] = start.to_be_bytes();
            for (third, fourth) in EDGES.iter().flat_map(|third| EDGES.map(|fourth| (*third, fourth))) {
                let bytes = [first, second, third, fourth];
                let expected = (1..=4).find_map(|length| core::str::from_utf8(&bytes[..length]).ok());
                let found = first_character(&bytes).map(|(character, rest)| (character, 4 - rest.len()));
                assert_eq!(found, expected.and_then(|text| Some((text.chars().next()?, text.len()))), "{bytes:02x?}");
            }
            let bytes = [first, second];
            let found = first_character(&bytes[..1]).map(|(character, _)| character);
            assert_eq!(found, first.is_ascii().then_some(char::from(first)), "cut short");
        }
    }
}
