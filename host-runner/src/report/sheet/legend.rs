//! What the layers of a panel are called, beside their look in small.

use super::ink::{Align, Ink, Place, dashed, fitting, text, text_width};
use super::panel::{Layer, Panel, Shape};
use super::style::{INK, Style};

const SMALL: u32 = 12;
/// Height of a line.
pub const LINE_HEIGHT: f64 = 17.0;

/// What the legend of a panel names.
#[must_use]
pub fn keys(panel: &Panel) -> Vec<&Layer> {
    let named: Vec<&Layer> = panel.layers.iter().filter(|layer| layer.name.is_some()).collect();
    if named.len() > 1 { named } else { vec![] }
}

/// Lays out a legend from a place on, in as many lines as its room asks for.
#[must_use]
pub fn lay_keys(keys: &[&Layer], (left, top): Place, room: f64) -> (Vec<Ink>, u32) {
    let mut inks = Vec::new();
    let (mut x, mut lines) = (left, u32::from(!keys.is_empty()));
    for layer in keys {
        let name = fitting(layer.name.as_deref().unwrap_or_default(), SMALL, room - 40.0);
        let width = 34.0 + text_width(&name, SMALL) + 14.0;
        if x > left && x + width > left + room {
            x = left;
            lines += 1;
        }
        let y = top + LINE_HEIGHT * f64::from(lines - 1);
        inks.extend(swatch(layer, (x, y)));
        inks.push(text((x + 34.0, y), &name, SMALL, INK, Align::Start));
        x += width;
    }
    (inks, lines)
}

/// The look of a layer in small.
fn swatch(layer: &Layer, (x, y): Place) -> Vec<Ink> {
    let style = Style::of(layer.style);
    let line = |width| {
        let pieces = dashed(&[(x, y), (x + 28.0, y)], style.dashes);
        pieces.into_iter().map(move |points| Ink::Path { points, colour: style.colour, width })
    };
    let mark = |colour, radius| Ink::Mark { at: (x + 14.0, y), marker: style.marker, radius, colour };
    match &layer.shape {
        Shape::Line(_) | Shape::Steps(_) => line(2).collect(),
        Shape::Marked(_) => line(2).chain([mark(style.colour, 4.0)]).collect(),
        Shape::Pale(_) => vec![mark(style.tint(0.55), 3.0)],
        Shape::Bars { .. } => {
            vec![Ink::Fill { from: (x + 8.0, y - 5.0), to: (x + 24.0, y + 5.0), colour: style.colour }]
        }
        _ => vec![mark(style.colour, 4.0)],
    }
}
