//! Any value of any message, drawn through serde, so that these tests know no list of fields.

use controller_core::rng::Pcg32;
use serde::de::value::{Error, U32Deserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, SeqAccess};
use serde::de::{VariantAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};

/// Bytes for borrowed slices to point at, a zero here and there.
static POOL: &[u8] = b"\0\0policy image\0of some bytes\0\0\0and some more, and more, and more\0";

/// Where values come from.
struct Source<'s> {
    rng: Pcg32,
    /// Numbers of most bytes and lists of these lengths; else random numbers, small ones and the
    /// ends of each type among them, and short lists.
    largest: Option<&'s mut dyn Iterator<Item = usize>>,
}

impl Source<'_> {
    fn number(&mut self, smallest: i128, largest: i128) -> i128 {
        if self.largest.is_some() {
            return if smallest < 0 { smallest } else { largest };
        }
        let wide = i128::from(self.rng.next_u32()) << 32 | i128::from(self.rng.next_u32());
        match self.rng.below(4) {
            0 => i128::from(self.rng.below(4)).min(largest),
            1 => [smallest, largest, 0][self.rng.below(3) as usize],
            _ => smallest + wide % (largest - smallest + 1),
        }
    }

    fn length(&mut self) -> usize {
        match &mut self.largest {
            Some(lengths) => lengths.next().expect("a length for every list"),
            None => self.rng.below(7) as usize,
        }
    }
}

/// A random value; the same seed gives the same value.
pub fn random<'de, T: Deserialize<'de>>(seed: u64) -> T {
    let mut source = Source { rng: Pcg32::new(seed), largest: None };
    T::deserialize(Generator(&mut source)).expect("lists of up to six elements fit everywhere")
}

/// A value of the largest numbers, its lists of these lengths, its variants random.
pub fn large<T: DeserializeOwned>(seed: u64, lengths: &[usize]) -> T {
    let mut source = Source { rng: Pcg32::new(seed), largest: Some(&mut lengths.iter().copied()) };
    T::deserialize(Generator(&mut source)).expect("the lengths fit")
}

struct Generator<'g, 's>(&'g mut Source<'s>);

macro_rules! integers {
    ($($method:ident $visit:ident $type:ident),*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let number = self.0.number(i128::from($type::MIN), i128::from($type::MAX));
            visitor.$visit($type::try_from(number).expect("drawn from the range"))
        }
    )*};
}

impl<'de> Deserializer<'de> for Generator<'_, '_> {
    type Error = Error;

    integers!(deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i16 visit_i16 i16, deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64);

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.0.rng.below(2) == 1)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let length = self.0.length();
        visitor.visit_borrowed_str(&"0.1.0-rc.1+build"[..length])
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let length = self.0.number(0, POOL.len() as i128);
        visitor.visit_borrowed_bytes(&POOL[..usize::try_from(length).expect("small")])
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.rng.below(3) > 0 { visitor.visit_some(self) } else { visitor.visit_none() }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let length = self.0.length();
        visitor.visit_seq(Elements { source: self.0, left: length })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Elements { source: self.0, left: length })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let variant = self.0.rng.below(u32::try_from(variants.len()).expect("few"));
        visitor.visit_enum(Variant { source: self.0, variant })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        unreachable!("postcard describes nothing, so every type must say what it is")
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    forward_to_deserialize_any! {
        i8 i128 u128 f32 f64 char string byte_buf unit unit_struct tuple_struct map identifier ignored_any
    }
}

struct Elements<'g, 's> {
    source: &'g mut Source<'s>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Elements<'_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(Generator(self.source)).map(Some)
    }
}

struct Variant<'g, 's> {
    source: &'g mut Source<'s>,
    variant: u32,
}

impl<'de, 'g, 's> EnumAccess<'de> for Variant<'g, 's> {
    type Error = Error;
    type Variant = Generator<'g, 's>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self::Variant), Error> {
        let index: U32Deserializer<Error> = self.variant.into_deserializer();
        Ok((seed.deserialize(index)?, Generator(self.source)))
    }
}

impl<'de> VariantAccess<'de> for Generator<'_, '_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.deserialize_tuple(fields.len(), visitor)
    }
}
