//! Numbers, options, pairs and lists as bytes.

use super::{Decode, Encode, Reader, Writer};
use fixed::types::I32F32;
use heapless::Vec;
use heapless::vec::VecView;

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
