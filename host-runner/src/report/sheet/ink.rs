//! What is on a sheet, in pixels, before it becomes a file: the layout can be checked without looking at an image, and both
//! kinds of file show the same.

use super::style::{Colour, Marker};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};
use std::sync::Once;

/// DejaVu Sans, cut down to the signs that figures use (licence beside it).
pub static FONT: &[u8] = include_bytes!("../../../assets/DejaVuSans-subset.ttf");

/// A place on the sheet, pixels from the upper left corner.
pub type Place = (f64, f64);

/// Where a text stands to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// Ends there.
    End,
}

/// One thing that is drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum Ink {
    /// A line.
    Path {
        /// Its corners.
        points: Vec<Place>,
        /// Its colour.
        colour: Colour,
        /// Its width.
        width: u32,
    },
    /// A filled rectangle.
    Fill {
        /// One corner.
        from: Place,
        /// The opposite one.
        to: Place,
        /// Its colour.
        colour: Colour,
    },
    /// A sign.
    Mark {
        /// Its middle.
        at: Place,
        /// Which.
        marker: Marker,
        /// Half its size.
        radius: f64,
        /// Its colour.
        colour: Colour,
    },
    /// A line of text.
    Text {
        /// Its place: the middle of its height.
        at: Place,
        /// What it says.
        text: String,
        /// Height of the letters.
        size: u32,
        /// Its colour.
        colour: Colour,
        /// How it stands to its place.
        align: Align,
        /// It reads upwards.
        upright: bool,
    },
}

impl Ink {
    /// The same, this many times as large.
    #[must_use]
    pub fn scaled(&self, times: u32) -> Self {
        let larger = |(x, y): &Place| (x * f64::from(times), y * f64::from(times));
        match self.clone() {
            Self::Path { points, colour, width } => {
                Self::Path { points: points.iter().map(larger).collect(), colour, width: width * times }
            }
            Self::Fill { from, to, colour } => Self::Fill { from: larger(&from), to: larger(&to), colour },
            Self::Mark { at, marker, radius, colour } => {
                Self::Mark { at: larger(&at), marker, radius: radius * f64::from(times), colour }
            }
            Self::Text { at, text, size, colour, align, upright } => {
                Self::Text { at: larger(&at), text, size: size * times, colour, align, upright }
            }
        }
    }
}

/// Width of a text.
#[must_use]
pub fn text_width(text: &str, size: u32) -> f64 {
    register();
    ("sans-serif", size).into_font().box_size(text).map_or(0.0, |(width, _)| f64::from(width))
}

/// A text.
#[must_use]
pub fn text(at: Place, text: &str, size: u32, colour: Colour, align: Align) -> Ink {
    Ink::Text { at, text: text.to_owned(), size, colour, align, upright: false }
}

/// A text cut to a width, with two points where something is missing.
#[must_use]
pub fn fitting(text: &str, size: u32, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let mut short: String = text.to_owned();
    while !short.is_empty() && text_width(&format!("{short}.."), size) > width {
        short.pop();
    }
    format!("{}..", short.trim_end())
}

fn register() {
    static REGISTERED: Once = Once::new();
    // Fails only for bytes that are no font, and these are part of the program.
    REGISTERED.call_once(|| drop(register_font("sans-serif", FontStyle::Normal, FONT)));
}

/// Cuts a line into dashes.
#[must_use]
pub fn dashed(points: &[Place], dashes: &[f64]) -> Vec<Vec<Place>> {
    if dashes.is_empty() {
        return vec![points.to_vec()];
    }
    let (mut pieces, mut piece) = (Vec::new(), Vec::new());
    let (mut turn, mut left) = (0, dashes[0]);
    for pair in points.windows(2) {
        let ((mut x, mut y), (to_x, to_y)) = (pair[0], pair[1]);
        loop {
            let length = (to_x - x).hypot(to_y - y);
            let drawn = turn % 2 == 0;
            if drawn && piece.is_empty() {
                piece.push((x, y));
            }
            if length < left {
                left -= length;
                if drawn {
                    piece.push((to_x, to_y));
                }
                break;
            }
            (x, y) = (x + (to_x - x) * left / length, y + (to_y - y) * left / length);
            if drawn {
                piece.push((x, y));
                pieces.push(std::mem::take(&mut piece));
            }
            turn += 1;
            left = dashes[turn % dashes.len()];
        }
    }
    if piece.len() > 1 {
        pieces.push(piece);
    }
    pieces
}

/// Draws everything, in order.
pub fn draw<B: DrawingBackend>(inks: &[Ink], root: &DrawingArea<B, Shift>) -> Result<(), String> {
    register();
    root.fill(&WHITE).map_err(|error| error.to_string())?;
    for ink in inks {
        draw_one(ink, root).map_err(|error| error.to_string())?;
    }
    root.present().map_err(|error| error.to_string())
}

fn draw_one<B: DrawingBackend>(
    ink: &Ink,
    root: &DrawingArea<B, Shift>,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    match ink {
        Ink::Path { points, colour, width } => {
            let points: Vec<(i32, i32)> = points.iter().map(pixel).collect();
            root.draw(&PathElement::new(points, rgb(*colour).stroke_width(*width)))
        }
        Ink::Fill { from, to, colour } => root.draw(&Rectangle::new([pixel(from), pixel(to)], rgb(*colour).filled())),
        Ink::Mark { at, marker, radius, colour } => {
            let (x, y) = *at;
            let colour = rgb(*colour);
            let corner = |dx: f64, dy: f64| pixel(&(x + dx * radius, y + dy * radius));
            match marker {
                Marker::Disc => root.draw(&Circle::new(pixel(at), whole(*radius), colour.filled())),
                Marker::Square => root.draw(&Rectangle::new([corner(-0.9, -0.9), corner(0.9, 0.9)], colour.filled())),
                Marker::Triangle => root
                    .draw(&Polygon::new(vec![corner(0.0, -1.2), corner(1.1, 0.9), corner(-1.1, 0.9)], colour.filled())),
                Marker::Cross => {
                    let stroke = colour.stroke_width(2);
                    root.draw(&PathElement::new(vec![corner(-1.0, -1.0), corner(1.0, 1.0)], stroke))?;
                    root.draw(&PathElement::new(vec![corner(-1.0, 1.0), corner(1.0, -1.0)], stroke))
                }
            }
        }
        Ink::Text { at, text, size, colour, align, upright } => {
            let horizontal = match align {
                Align::Start => HPos::Left,
                Align::Middle => HPos::Center,
                Align::End => HPos::Right,
            };
            let mut font = ("sans-serif", *size).into_font();
            if *upright {
                font = font.transform(FontTransform::Rotate270);
            }
            let style = font.color(&rgb(*colour)).pos(Pos::new(horizontal, VPos::Center));
            root.draw(&Text::new(text.clone(), pixel(at), style))
        }
    }
}

fn rgb((red, green, blue): Colour) -> RGBColor {
    RGBColor(red, green, blue)
}

#[expect(clippy::cast_possible_truncation, reason = "places on a sheet of some thousand pixels")]
fn whole(value: f64) -> i32 {
    value.round() as i32
}

fn pixel((x, y): &Place) -> (i32, i32) {
    (whole(*x), whole(*y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_have_their_lengths_around_corners() {
        let pieces = dashed(&[(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)], &[6.0, 2.0]);
        let length = |piece: &Vec<Place>| -> f64 {
            piece.windows(2).map(|pair| (pair[1].0 - pair[0].0).hypot(pair[1].1 - pair[0].1)).sum()
        };
        assert_eq!(pieces.iter().map(length).map(f64::round).collect::<Vec<_>>(), [6.0, 6.0, 4.0]);
        assert_eq!(pieces[1], [(8.0, 0.0), (10.0, 0.0), (10.0, 4.0)]);
        assert_eq!(dashed(&[(0.0, 0.0), (1.0, 1.0)], &[]), [vec![(0.0, 0.0), (1.0, 1.0)]]);
    }

    #[test]
    fn long_texts_are_cut_to_their_room() {
        assert_eq!(fitting("short", 12, 200.0), "short");
        let cut = fitting("a very long name of something", 12, 80.0);
        assert!(cut.ends_with("..") && text_width(&cut, 12) <= 80.0, "{cut}");
    }
}
