//! Colours, dashes and markers: told apart by colour-blind people, and in grey.

/// Red, green, blue.
pub type Colour = (u8, u8, u8);

/// Text and axes.
pub const INK: Colour = (25, 25, 25);
/// Secondary text, marks in time.
pub const GREY: Colour = (95, 95, 95);
/// Lines behind the data.
pub const MESH: Colour = (226, 226, 226);

/// The palette of Okabe and Ito (2008), grey for its yellow, dark ones first so that they also differ in grey.
const PALETTE: [Colour; 8] = [
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (0, 0, 0),
    (230, 159, 0),
    (86, 180, 233),
    (150, 150, 150),
];

/// Drawn and free pixels in turn; empty for a whole line.
const DASHES: [&[f64]; 8] = [
    &[],
    &[9.0, 4.0],
    &[2.5, 3.0],
    &[10.0, 3.0, 2.5, 3.0],
    &[16.0, 5.0],
    &[5.0, 6.0],
    &[10.0, 3.0, 2.5, 3.0, 2.5, 3.0],
    &[2.5, 7.0],
];

/// A sign at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// Filled circle.
    Disc,
    /// Filled square.
    Square,
    /// Filled triangle.
    Triangle,
    /// Two crossing strokes.
    Cross,
}

const MARKERS: [Marker; 4] = [Marker::Disc, Marker::Square, Marker::Triangle, Marker::Cross];

/// How one series looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// Its colour.
    pub colour: Colour,
    /// Its dashes.
    pub dashes: &'static [f64],
    /// Its marker.
    pub marker: Marker,
}

impl Style {
    /// Of the series with this number; 64 different ones, then from the start.
    #[must_use]
    pub fn of(number: usize) -> Self {
        // Colour, dashes and marker change together; after eight series the dashes shift by one.
        let turn = number / PALETTE.len();
        Self {
            colour: PALETTE[number % PALETTE.len()],
            dashes: DASHES[(number + turn) % DASHES.len()],
            marker: MARKERS[(number + turn) % MARKERS.len()],
        }
    }

    /// Its colour, this share of the way to white.
    #[must_use]
    pub fn tint(&self, share: f64) -> Colour {
        blend(self.colour, (255, 255, 255), share)
    }
}

/// From dark blue over grey to yellow, rising in lightness all the way (after cividis: Nuñez, Anderton, Renslow, 2018).
const SEQUENCE: [Colour; 5] = [(0, 34, 78), (63, 77, 107), (124, 123, 120), (187, 175, 113), (254, 232, 56)];

/// Colour of a share 0..=1 of a range.
#[must_use]
pub fn sequential(share: f64) -> Colour {
    let place = share.clamp(0.0, 1.0) * (SEQUENCE.len() - 1) as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 4")]
    let from = (place as usize).min(SEQUENCE.len() - 2);
    blend(SEQUENCE[from], SEQUENCE[from + 1], place - from as f64)
}

/// Black or white, whichever is read better on a colour.
#[must_use]
pub fn readable_on(colour: Colour) -> Colour {
    if lightness(colour) > 0.5 { (0, 0, 0) } else { (255, 255, 255) }
}

/// Perceived lightness, 0..=1 (weights of ITU-R BT.601).
fn lightness((red, green, blue): Colour) -> f64 {
    (0.299 * f64::from(red) + 0.587 * f64::from(green) + 0.114 * f64::from(blue)) / 255.0
}

fn blend(from: Colour, to: Colour, share: f64) -> Colour {
    let mix = |from: u8, to: u8| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two bytes")]
        let byte = (f64::from(from) + (f64::from(to) - f64::from(from)) * share).round() as u8;
        byte
    };
    (mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_of_the_first_series_have_the_same_dashes() {
        for a in 0..8 {
            for b in 0..a {
                let (a, b) = (Style::of(a), Style::of(b));
                assert_ne!(a.dashes, b.dashes);
            }
        }
    }

    #[test]
    fn the_sequence_rises_in_lightness() {
        let steps: Vec<f64> = (0..=20).map(|i| lightness(sequential(f64::from(i) / 20.0))).collect();
        assert!(steps.windows(2).all(|pair| pair[1] > pair[0]), "{steps:?}");
    }
}
