//! Text as bytes: a length, then UTF-8.

use super::{Decode, Encode, Reader, Writer};
use heapless::String;
use heapless::string::StringView;

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

#[cfg(test)]
mod tests {
    use super::first_character;

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
