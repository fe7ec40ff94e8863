//! A panel laid out in pixels.

use super::ink::{Align, Ink, fitting, text, text_width};
use super::legend::{LINE_HEIGHT, keys, lay_keys};
use super::panel::{Panel, Shape};
use super::plot::{Plot, SMALL, WIDEST_LABEL};
use super::style::{GREY, INK};

/// Height of a title's letters.
const MEDIUM: u32 = 14;
/// Room for the title.
const TITLE_HEIGHT: f64 = 22.0;
/// Room for the scale of lightness beside a panel.
const SCALE_WIDTH: f64 = 64.0;

/// A rectangle: left, top, right, bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    /// Left edge.
    pub left: f64,
    /// Upper edge.
    pub top: f64,
    /// Right edge.
    pub right: f64,
    /// Lower edge.
    pub bottom: f64,
}

/// Width of the labels of the vertical axis of a panel in this frame.
#[must_use]
pub fn labels_width(panel: &Panel, outer: Frame, legend: bool) -> f64 {
    if !panel.has_data() {
        return 0.0;
    }
    let (_, top) = heading(panel, outer, legend);
    let (_, ticks) = upright(panel, outer.bottom - top);
    ticks.iter().map(|(_, label)| text_width(label, SMALL)).fold(0.0, f64::max).min(WIDEST_LABEL)
}

/// The legend of a panel, if it names its own layers, and the upper edge of what is below.
fn heading(panel: &Panel, outer: Frame, legend: bool) -> (Vec<Ink>, f64) {
    let keys = if legend { keys(panel) } else { vec![] };
    let room = outer.right - outer.left - 12.0;
    let (inks, lines) = lay_keys(&keys, (outer.left + 8.0, outer.top + TITLE_HEIGHT + 8.0), room);
    (inks, outer.top + TITLE_HEIGHT + LINE_HEIGHT * f64::from(lines) + 4.0)
}

/// Span and ticks of the vertical axis over so many pixels.
fn upright(panel: &Panel, height: f64) -> ((f64, f64), Vec<(f64, String)>) {
    let (_, ys) = panel.extent();
    let span = panel.y.span(ys.into_iter());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful")]
    let count = (height / 32.0).clamp(2.0, 6.0) as usize;
    (span, panel.y.ticks(span, count))
}

/// Lays out a panel inside a frame, with so much room for the labels of the vertical axis; `legend`: it names its own layers.
#[must_use]
pub fn paint(panel: &Panel, outer: Frame, labels: f64, legend: bool) -> Vec<Ink> {
    let mut inks = vec![text((outer.left + 6.0, outer.top + 11.0), &panel.title, MEDIUM, INK, Align::Start)];
    let (legend, top) = heading(panel, outer, legend);
    inks.extend(legend);
    if !panel.has_data() {
        let middle = (f64::midpoint(outer.left, outer.right), f64::midpoint(top, outer.bottom));
        inks.push(text(middle, &panel.without_data, SMALL, GREY, Align::Middle));
        return inks;
    }
    let (xs, _) = panel.extent();
    let x_span = panel.x.span(xs.into_iter());
    let (y_span, y_ticks) = upright(panel, outer.bottom - top);
    let shaded = panel.layers.iter().any(|layer| matches!(layer.shape, Shape::Shaded { .. }));
    let inner = Frame {
        left: outer.left + labels + 34.0,
        top: top + 4.0,
        right: outer.right - if shaded { SCALE_WIDTH } else { 14.0 },
        bottom: outer.bottom - 42.0,
    };
    let plot = Plot { panel, inner, x_span, y_span };
    plot.mesh(&y_ticks, &mut inks);
    let groups = panel.layers.iter().filter(|layer| matches!(layer.shape, Shape::Bars { .. })).count();
    let mut group = 0;
    for layer in &panel.layers {
        plot.layer(layer, (group, groups), &mut inks);
        group += usize::from(matches!(layer.shape, Shape::Bars { .. }));
    }
    plot.rules(&mut inks);
    let label_at = (outer.left + 9.0, f64::midpoint(inner.top, inner.bottom));
    inks.push(Ink::Text {
        at: label_at,
        text: fitting(&panel.y.label, SMALL, inner.bottom - inner.top + 30.0),
        size: SMALL,
        colour: INK,
        align: Align::Middle,
        upright: true,
    });
    let label_at = (f64::midpoint(inner.left, inner.right), outer.bottom - 9.0);
    inks.push(text(label_at, &panel.x.label, SMALL, INK, Align::Middle));
    inks
}
