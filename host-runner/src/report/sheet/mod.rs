//! Figures: a sheet of panels with a title and the conditions under which its numbers came about, as PNG or SVG, without
//! system fonts.
//!
//! | module | role |
//! |---|---|
//! | [`panel`] | panels, the shapes in them, moving averages |
//! | [`axis`] | spans and ticks |
//! | [`style`] | colours, dashes, markers |
//! | [`paint`] | a panel laid out in pixels |
//! | [`plot`] | the data inside its frame |
//! | [`legend`] | the names of its layers |
//! | [`ink`] | what is drawn, and onto what |
//! | [`raster`] | PNG |
//!
//! ```
//! use host_runner::report::sheet::Sheet;
//! use host_runner::report::sheet::axis::Axis;
//! use host_runner::report::sheet::panel::{Panel, Rule, Shape};
//!
//! let points = (0..100).map(|i| (f64::from(i), f64::from(i % 7))).collect::<Vec<_>>();
//! let panel = Panel::new("Latency", Axis::new("step"), Axis::new("s"))
//!     .with_mean("mean of 10", &points, 10)
//!     .ruled(Rule::Across(5.0, "limit".into()));
//! let sheet = Sheet { title: "Training".into(), conditions: "simulated, seed 1".into(), panels: vec![panel], ..Sheet::default() };
//! assert!(sheet.svg().unwrap().starts_with("<svg"));
//! ```

pub mod axis;
pub mod ink;
pub mod legend;
pub mod paint;
pub mod panel;
pub mod plot;
pub mod raster;
pub mod style;

use crate::atomic_file::AtomicFile;
use ink::{Align, FONT, Ink, fitting, text, text_width};
use legend::{keys, lay_keys};
use paint::Frame;
use panel::Panel;
use plotters::prelude::*;
use std::path::Path;
use style::{GREY, INK};

const MARGIN: f64 = 14.0;
const LARGE: u32 = 19;
const SMALL: u32 = 12;
/// Height of a line of the conditions, and of a line of the shared legend.
const LINE: f64 = 17.0;

/// A figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Sheet {
    /// What it shows.
    pub title: String,
    /// Under which conditions: board, seed, simulated or logged, file.
    pub conditions: String,
    /// Panels beside each other.
    pub columns: usize,
    /// Width and height of a panel, pixels.
    pub panel_size: (u32, u32),
    /// One legend above all panels, for panels whose layers have the same names.
    pub shared_legend: bool,
    /// Panels, row by row.
    pub panels: Vec<Panel>,
}

impl Default for Sheet {
    fn default() -> Self {
        Self {
            title: String::new(),
            conditions: String::new(),
            columns: 1,
            panel_size: (1100, 210),
            shared_legend: false,
            panels: vec![],
        }
    }
}

/// Why a figure could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// The file's name says no kind of figure.
    #[error("{0} is neither PNG nor SVG; let the name of the figure end in .png or .svg")]
    Kind(String),
    /// Drawing or writing failed.
    #[error("cannot draw {path}: {reason}")]
    Draw {
        /// The file.
        path: String,
        /// The cause.
        reason: String,
    },
}

impl Sheet {
    /// Draws into a file, PNG or SVG by its name, which exists whole or not at all.
    pub fn draw(&self, path: &Path) -> Result<(), SheetError> {
        let failed = |reason: String| SheetError::Draw { path: path.display().to_string(), reason };
        let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_lowercase);
        match extension.as_deref() {
            Some("svg") => {
                let svg = self.svg().map_err(failed)?;
                AtomicFile::write(path, svg.as_bytes()).map_err(|error| failed(error.to_string()))
            }
            Some("png") => {
                let (inks, size) = self.inks();
                let png = raster::png(&inks, size).map_err(failed)?;
                AtomicFile::write(path, &png).map_err(|error| failed(error.to_string()))
            }
            _ => Err(SheetError::Kind(path.display().to_string())),
        }
    }

    /// The figure as SVG, with its font inside.
    pub fn svg(&self) -> Result<String, String> {
        let (inks, size) = self.inks();
        let mut svg = String::new();
        ink::draw(&inks, &SVGBackend::with_string(&mut svg, size).into_drawing_area())?;
        // Viewers without this font would set the labels in another, wider one.
        let font = format!(
            "<style>@font-face{{font-family:\"figure\";src:url(data:font/ttf;base64,{})}}text{{font-family:\"figure\",\
             sans-serif}}</style>",
            base64(FONT)
        );
        let after = svg.find('>').map_or(0, |end| end + 1);
        svg.insert_str(after, &font);
        Ok(svg)
    }

    /// Everything on the sheet, and its size.
    #[must_use]
    pub fn inks(&self) -> (Vec<Ink>, (u32, u32)) {
        let columns = self.columns.max(1);
        let rows = self.panels.len().div_ceil(columns);
        let (wide, high) = (f64::from(self.panel_size.0), f64::from(self.panel_size.1));
        let width = wide * columns as f64 + 2.0 * MARGIN;
        let room = width - 2.0 * MARGIN - 12.0;
        let left = MARGIN + 6.0;
        let mut y = MARGIN + 10.0;
        let mut inks = vec![text((left, y), &fitting(&self.title, LARGE, room), LARGE, INK, Align::Start)];
        y += 7.0;
        for line in wrapped(&self.conditions, room) {
            y += LINE;
            inks.push(text((left, y), &line, SMALL, GREY, Align::Start));
        }
        if self.shared_legend {
            let shared = self.panels.iter().map(keys).max_by_key(Vec::len).unwrap_or_default();
            let (legend, lines) = lay_keys(&shared, (left, y + LINE + 4.0), room);
            inks.extend(legend);
            y += LINE * f64::from(lines) + 4.0;
        }
        y += 14.0;
        let framed = self.panels.iter().enumerate().map(|(number, panel)| {
            let (row, column) = ((number / columns) as f64, (number % columns) as f64);
            let (left, top) = (MARGIN + column * wide, y + row * high);
            (panel, Frame { left, top, right: left + wide, bottom: top + high })
        });
        let framed: Vec<(&Panel, Frame)> = framed.collect();
        let legend = !self.shared_legend;
        for (number, (panel, frame)) in framed.iter().enumerate() {
            // Panels below each other over one and the same axis are read together: they begin at the same place.
            let column = framed.iter().skip(number % columns).step_by(columns).filter(|(other, _)| other.x == panel.x);
            let labels = column.map(|(other, place)| paint::labels_width(other, *place, legend)).fold(0.0, f64::max);
            inks.extend(paint::paint(panel, *frame, labels, legend));
        }
        let height = y + rows as f64 * high + MARGIN / 2.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousand pixels")]
        let size = (width.ceil() as u32, height.ceil() as u32);
        (inks, size)
    }
}

/// Lines of words that keep a width.
fn wrapped(text: &str, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if text_width(&format!("{line} {word}"), SMALL) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let sign = SIGNS[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place > group.len() { '=' } else { char::from(sign) });
        }
    }
    text
}

/// No two labels of a figure overlap, and none leaves it. For the tests of every figure.
#[cfg(test)]
pub(crate) fn assert_readable(sheet: &Sheet) {
    let (inks, (width, height)) = sheet.inks();
    let boxes: Vec<(String, [f64; 4])> = inks
        .iter()
        .filter_map(|ink| {
            let Ink::Text { at: (x, y), text, size, align, upright, .. } = ink else { return None };
            if text.is_empty() {
                return None;
            }
            let (long, half) = (text_width(text, *size), f64::from(*size) * 0.4);
            let start = match align {
                Align::Start => 0.0,
                Align::Middle => -long / 2.0,
                Align::End => -long,
            };
            let place = if *upright {
                [x - half, y + start, x + half, y + start + long]
            } else {
                [x + start, y - half, x + start + long, y + half]
            };
            Some((text.clone(), place))
        })
        .collect();
    for (number, (name, a)) in boxes.iter().enumerate() {
        assert!(
            a[0] >= 0.0 && a[1] >= 0.0 && a[2] <= f64::from(width) && a[3] <= f64::from(height),
            "'{name}' leaves the sheet {width} x {height}: {a:?}"
        );
        for (other, b) in &boxes[number + 1..] {
            let apart = a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
            assert!(apart, "'{name}' {a:?} overlaps '{other}' {b:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::axis::Axis;
    use super::panel::{Rule, Shape};
    use super::*;

    fn sheet() -> Sheet {
        let points: Vec<(f64, f64)> = (0..500).map(|i| (f64::from(i), f64::from(i % 50))).collect();
        let panel = Panel::new("A panel", Axis::new("step"), Axis::new("s"))
            .with_mean("mean of 40", &points, 40)
            .with("other", Shape::Line(points))
            .ruled(Rule::Across(30.0, "limit".into()))
            .ruled(Rule::At(250.0, "fan off".into()));
        let empty = Panel::new("Nothing", Axis::new("step"), Axis::new("s"));
        Sheet {
            title: "A sheet".into(),
            conditions: "simulated board, seed 1".into(),
            columns: 2,
            panel_size: (420, 220),
            panels: vec![panel.clone(), empty, panel],
            ..Sheet::default()
        }
    }

    #[test]
    fn sheets_are_readable_with_own_and_with_shared_legend() {
        assert_readable(&sheet());
        assert_readable(&Sheet { shared_legend: true, ..sheet() });
    }

    #[test]
    fn bars_stay_inside_their_panel() {
        for places in [vec![3.0], vec![0.0, 10.0], vec![1.0, 8.0, 32.0]] {
            let bars = places.iter().map(|x| (*x, 1.0, f64::NAN)).collect::<Vec<_>>();
            let panel = Panel::new("Bars", Axis::new("clock"), Axis::new("reward"))
                .with("one", Shape::Bars { bars: bars.clone(), written: false })
                .with("other", Shape::Bars { bars, written: false });
            let (inks, _) = Sheet { panel_size: (400, 200), panels: vec![panel], ..Sheet::default() }.inks();
            let fills = inks
                .iter()
                .filter_map(|ink| if let Ink::Fill { from, to, .. } = ink { Some((from.0, to.0)) } else { None });
            let fills: Vec<(f64, f64)> = fills.skip(2).collect();
            assert_eq!(fills.len(), 2 * places.len());
            assert!(
                fills.iter().all(|(left, right)| MARGIN < *left && left < right && *right < 400.0 + MARGIN),
                "{fills:?}"
            );
        }
    }

    #[test]
    fn files_are_what_their_names_say() {
        let folder = tempfile::tempdir().unwrap();
        let png = folder.path().join("new/figure.png");
        sheet().draw(&png).unwrap();
        let bytes = std::fs::read(&png).unwrap();
        assert_eq!(&bytes[1..4], b"PNG");
        let side = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((side(16), side(20)), sheet().inks().1);
        let svg = folder.path().join("figure.svg");
        sheet().draw(&svg).unwrap();
        let text = std::fs::read_to_string(&svg).unwrap();
        assert!(text.contains("A sheet") && text.contains("font/ttf;base64,AAEAAA"), "{}", &text[..300]);
        assert!(matches!(sheet().draw(&folder.path().join("figure.gif")), Err(SheetError::Kind(_))));
    }

    #[test]
    fn base64_of_the_standard_examples() {
        // RFC 4648, section 10.
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
