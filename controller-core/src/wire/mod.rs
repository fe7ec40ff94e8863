//! Values as bytes, in the form of [postcard 1.x](https://postcard.jamesmunns.com/wire-format):
//! what goes over the line and into the header of a policy image.
//!
//! The postcard crate writes the same bytes, and the tests hold both against each other. Its
//! decoders are code for every field of every type that can fail in the middle; here a
//! [`Reader`] remembers the first failure and goes on with zeros, so that a value is read by
//! straight calls, and asked once at the end whether it stands. That takes a third of the flash,
//! as long as the few functions that every field calls are not inlined there.

mod reader;
mod text;
mod values;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

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

/// The value that these bytes, all of them, stand for.
#[must_use]
pub fn from_bytes<'a, T: Decode<'a>>(bytes: &'a [u8]) -> Option<T> {
    let mut reader = Reader::new(bytes);
    let value = T::read(&mut reader);
    reader.is_done().then_some(value)
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
    use fixed::types::I32F32;
    use heapless::{String, Vec};
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
}
