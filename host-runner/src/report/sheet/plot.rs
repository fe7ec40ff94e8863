//! The data of a panel: mesh, layers and rules inside its frame.

use super::axis::{Scale, plain};
use super::ink::{Align, Ink, Place, dashed, fitting, text, text_width};
use super::paint::Frame;
use super::panel::{Layer, Panel, Rule, Shape, pitch};
use super::style::{GREY, INK, MESH, Style, readable_on, sequential};

/// Height of the letters of ticks and labels.
pub const SMALL: u32 = 12;
/// Widest label of a tick; longer names are cut.
pub const WIDEST_LABEL: f64 = 132.0;

/// A panel with its mapping to pixels.
pub struct Plot<'a> {
    /// What is drawn.
    pub panel: &'a Panel,
    /// Where its data lie.
    pub inner: Frame,
    /// Span of the horizontal axis.
    pub x_span: (f64, f64),
    /// Span of the vertical axis.
    pub y_span: (f64, f64),
}

impl Plot<'_> {
    fn x(&self, value: f64) -> f64 {
        let share = (self.panel.x.place(value) - self.x_span.0) / (self.x_span.1 - self.x_span.0);
        self.inner.left + share.clamp(-0.001, 1.001) * (self.inner.right - self.inner.left)
    }

    fn y(&self, value: f64) -> f64 {
        let share = (self.panel.y.place(value) - self.y_span.0) / (self.y_span.1 - self.y_span.0);
        self.inner.bottom - share.clamp(0.0, 1.0) * (self.inner.bottom - self.inner.top)
    }

    /// Places of points; those without one are left out.
    fn places(&self, points: &[(f64, f64)]) -> Vec<Place> {
        let placed = points.iter().map(|(x, y)| (self.x(*x), self.y(*y)));
        placed.filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
    }

    /// Grid lines, ticks and their labels.
    pub fn mesh(&self, y_ticks: &[(f64, String)], inks: &mut Vec<Ink>) {
        let Frame { left, top, right, bottom } = self.inner;
        let heat = self.panel.layers.iter().any(|layer| matches!(layer.shape, Shape::Heat { .. }));
        // A tick holds a place of the scale, not a value: it is mapped as it is.
        let share = |tick: f64, (low, high): (f64, f64)| (tick - low) / (high - low);
        let mut free_below = f64::INFINITY;
        for (tick, label) in y_ticks {
            let y = bottom - share(*tick, self.y_span) * (bottom - top);
            if !heat {
                inks.push(Ink::Path { points: vec![(left, y), (right, y)], colour: MESH, width: 1 });
            }
            // Ticks rise; a label that would touch the one below it is left out.
            if y < free_below {
                let label = fitting(label, SMALL, WIDEST_LABEL);
                inks.push(text((left - 6.0, y), &label, SMALL, INK, Align::End));
                free_below = y - 12.5;
            }
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful")]
        let count = ((right - left) / 70.0).clamp(2.0, 8.0) as usize;
        let ticks = self.panel.x.ticks(self.x_span, count);
        let room = (right - left) / ticks.len().max(1) as f64;
        let named = matches!(self.panel.x.scale, Scale::Names(_));
        let widest = ticks.iter().map(|(_, label)| text_width(label, SMALL)).fold(0.0, f64::max);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a handful")]
        let every = ((widest.min(WIDEST_LABEL) + 6.0) / room).ceil().max(1.0) as usize;
        let short_names = named && every <= 2 && ticks.len() <= 8;
        // Names that do not fit beside each other take turns on two lines, where the axis has no name that is in their way.
        let two_lines = named && every == 2 && !short_names && self.panel.x.label.is_empty();
        for (number, (tick, label)) in ticks.iter().enumerate() {
            let x = left + share(*tick, self.x_span) * (right - left);
            if !heat && !named {
                inks.push(Ink::Path { points: vec![(x, top), (x, bottom)], colour: MESH, width: 1 });
            }
            if short_names || two_lines || number.is_multiple_of(every) {
                let room = if short_names { room - 4.0 } else { room * every as f64 - 4.0 };
                let label = fitting(label, SMALL, room.max(widest.min(room)));
                let below = if two_lines && !number.is_multiple_of(2) { 24.0 } else { 11.0 };
                inks.push(text((x, bottom + below), &label, SMALL, INK, Align::Middle));
            }
        }
        let frame = vec![(left, top), (left, bottom), (right, bottom)];
        inks.push(Ink::Path { points: frame, colour: INK, width: 1 });
    }

    /// One layer; of bars, `group` is the number of the layer among so many.
    pub fn layer(&self, layer: &Layer, (group, groups): (usize, usize), inks: &mut Vec<Ink>) {
        let style = Style::of(layer.style);
        let mark = |at: Place, radius: f64, colour| Ink::Mark { at, marker: style.marker, radius, colour };
        match &layer.shape {
            Shape::Line(points) => line(&self.places(points), style, inks),
            Shape::Steps(points) => line(&self.places(&stairs(points)), style, inks),
            Shape::Marked(points) => {
                let places = self.places(points);
                line(&places, style, inks);
                inks.extend(places.into_iter().map(|at| mark(at, 4.0, style.colour)));
            }
            Shape::Pale(points) => {
                let places = thinned(self.places(points));
                let at =
                    |at| Ink::Mark { at, marker: super::style::Marker::Disc, radius: 1.5, colour: style.tint(0.6) };
                inks.extend(places.into_iter().map(at));
            }
            Shape::Dots(points) => {
                inks.extend(self.places(points).into_iter().map(|at| mark(at, 4.0, style.colour)));
            }
            Shape::Shaded { points, label } => self.shaded(points, label, inks),
            Shape::Bars { bars, written } => self.bars(bars, *written, style, (group, groups), inks),
            Shape::Heat { rows, written } => self.heat(rows, *written, inks),
            Shape::Names(names) => {
                for (x, y, name) in names {
                    let (x, y) = (self.x(*x), self.y(*y) - 10.0);
                    let right = x + 6.0 + text_width(name, SMALL) > self.inner.right;
                    let (x, align) = if right { (x - 6.0, Align::End) } else { (x + 6.0, Align::Start) };
                    inks.push(text((x, y.max(self.inner.top + 6.0)), name, SMALL, INK, align));
                }
            }
        }
    }

    fn shaded(&self, points: &[(f64, f64, f64)], label: &str, inks: &mut Vec<Ink>) {
        let values = points.iter().map(|(_, _, value)| *value).filter(|value| value.is_finite());
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        let width = (high - low).max(1e-12);
        for (x, y, value) in points {
            let at = (self.x(*x), self.y(*y));
            if at.0.is_finite() && at.1.is_finite() && value.is_finite() {
                let colour = sequential((value - low) / width);
                inks.push(Ink::Mark { at, marker: super::style::Marker::Disc, radius: 2.6, colour });
            }
        }
        if low > high {
            return;
        }
        let Frame { top, right, bottom, .. } = self.inner;
        let (left, height) = (right + 8.0, bottom - top);
        for step in 0..24 {
            let y = |step: u32| bottom - height * f64::from(step) / 24.0;
            let colour = sequential((f64::from(step) + 0.5) / 24.0);
            inks.push(Ink::Fill { from: (left, y(step + 1)), to: (left + 10.0, y(step)), colour });
        }
        inks.push(text((left + 13.0, bottom - 4.0), &plain(low), SMALL, INK, Align::Start));
        inks.push(text((left + 13.0, top + 4.0), &plain(high), SMALL, INK, Align::Start));
        inks.push(Ink::Text {
            at: (left + 22.0, f64::midpoint(top, bottom)),
            text: fitting(label, SMALL, height - 40.0),
            size: SMALL,
            colour: INK,
            align: Align::Middle,
            upright: true,
        });
    }

    fn bars(
        &self,
        bars: &[(f64, f64, f64)],
        written: bool,
        style: Style,
        (group, groups): (usize, usize),
        inks: &mut Vec<Ink>,
    ) {
        let unit = (self.inner.right - self.inner.left) / (self.x_span.1 - self.x_span.0);
        let width = (pitch(bars) * unit * 0.82 / groups.max(1) as f64).max(1.0);
        // A logarithmic axis has no zero: bars stand on its lower end.
        let zero = if self.panel.y.scale == Scale::Log { self.inner.bottom } else { self.y(0.0) };
        for (x, height, half) in bars.iter().filter(|(_, height, _)| height.is_finite()) {
            let middle = self.x(*x) + (group as f64 - (groups as f64 - 1.0) / 2.0) * width;
            let y = self.y(*height);
            let (from, to) = ((middle - width / 2.0, y.min(zero)), (middle + width / 2.0, y.max(zero)));
            inks.push(Ink::Fill { from, to, colour: style.tint(0.12) });
            if half.is_finite() && *half > 0.0 {
                let ends = vec![(middle, self.y(height - half)), (middle, self.y(height + half))];
                inks.push(Ink::Path { points: ends, colour: INK, width: 1 });
            }
            let label = plain(*height);
            if written && text_width(&label, SMALL) <= width * 1.3 {
                let y = if *height < 0.0 { y + 8.0 } else { y - 8.0 };
                let y = y.clamp(self.inner.top - 6.0, self.inner.bottom - 6.0);
                inks.push(text((middle, y), &label, SMALL, INK, Align::Middle));
            }
        }
    }

    fn heat(&self, rows: &[Vec<f64>], written: bool, inks: &mut Vec<Ink>) {
        let values = rows.iter().flatten().copied().filter(|value| value.is_finite());
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        for (row, values) in (0..).map(|n: u32| f64::from(n)).zip(rows) {
            for (column, value) in (0..).map(|n: u32| f64::from(n)).zip(values) {
                if !value.is_finite() {
                    continue;
                }
                let colour = sequential((value - low) / (high - low).max(1e-12));
                let from = (self.x(column - 0.5), self.y(row + 0.5));
                let to = (self.x(column + 0.5), self.y(row - 0.5));
                inks.push(Ink::Fill { from, to, colour });
                let label = format!("{value:.2}");
                let fits = text_width(&label, 10) < to.0 - from.0 - 1.0 && to.1 - from.1 >= 10.0;
                if written && fits {
                    let middle = (f64::midpoint(from.0, to.0), f64::midpoint(from.1, to.1));
                    inks.push(text(middle, &label, 10, readable_on(colour), Align::Middle));
                }
            }
        }
    }

    /// Lines across the panel, with their names.
    pub fn rules(&self, inks: &mut Vec<Ink>) {
        let Frame { left, top, right, bottom } = self.inner;
        for rule in &self.panel.rules {
            let (ends, at, name, align) = match rule {
                Rule::Across(value, name) => {
                    let y = self.y(*value);
                    // Under the line where there is no room above it.
                    let beside = if y - top < 16.0 { y + 10.0 } else { y - 9.0 };
                    (vec![(left, y), (right, y)], (left + 4.0, beside), name, Align::Start)
                }
                Rule::At(value, name) => {
                    let x = self.x(*value);
                    let (beside, align) = if x + text_width(name, SMALL) + 8.0 > right {
                        (x - 4.0, Align::End)
                    } else {
                        (x + 4.0, Align::Start)
                    };
                    (vec![(x, top), (x, bottom)], (beside, top + 7.0), name, align)
                }
            };
            let pieces = dashed(&ends, &[6.0, 4.0]);
            inks.extend(pieces.into_iter().map(|points| Ink::Path { points, colour: GREY, width: 1 }));
            // A name is read over data as well.
            let long = text_width(name, SMALL);
            let from = if align == Align::End { at.0 - long } else { at.0 };
            let (from, to) = ((from - 2.0, at.1 - 6.0), (from + long + 2.0, at.1 + 7.0));
            inks.push(Ink::Fill { from, to, colour: (255, 255, 255) });
            inks.push(text(at, name, SMALL, GREY, align));
        }
    }
}

fn line(places: &[Place], style: Style, inks: &mut Vec<Ink>) {
    let pieces = dashed(&thinned(places.to_vec()), style.dashes);
    let pieces = pieces.into_iter().filter(|points| points.len() > 1);
    inks.extend(pieces.map(|points| Ink::Path { points, colour: style.colour, width: 2 }));
}

/// Each value holds until the next point.
fn stairs(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut out = Vec::with_capacity(points.len() * 2);
    for pair in points.windows(2) {
        out.push(pair[0]);
        out.push((pair[1].0, pair[0].1));
    }
    out.extend(points.last());
    out
}

/// Of many points in one column of pixels the first, lowest, highest and last: the picture stays the same.
fn thinned(places: Vec<Place>) -> Vec<Place> {
    if places.len() < 400 {
        return places;
    }
    let mut kept: Vec<Place> = Vec::new();
    for column in places.chunk_by(|a, b| (a.0.round() - b.0.round()).abs() < 0.5) {
        let lowest = (0..column.len()).min_by(|a, b| column[*a].1.total_cmp(&column[*b].1)).unwrap_or(0);
        let highest = (0..column.len()).max_by(|a, b| column[*a].1.total_cmp(&column[*b].1)).unwrap_or(0);
        let mut order = [0, lowest, highest, column.len() - 1];
        order.sort_unstable();
        let mut last = None;
        for index in order {
            if last != Some(index) {
                kept.push(column[index]);
                last = Some(index);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stairs_hold_values() {
        assert_eq!(stairs(&[(0.0, 1.0), (2.0, 3.0)]), [(0.0, 1.0), (2.0, 1.0), (2.0, 3.0)]);
    }

    #[test]
    fn thinning_keeps_peaks() {
        let places: Vec<Place> = (0..1000).map(|i| (f64::from(i) / 100.0, if i == 503 { 9.0 } else { 0.0 })).collect();
        let kept = thinned(places);
        assert!(kept.len() < 60 && kept.iter().any(|(_, y)| *y > 8.0), "{}", kept.len());
    }
}
