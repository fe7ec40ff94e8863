//! Figures as PNG, without system fonts: panels of lines over a shared time axis.

use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Once;

/// DejaVu Sans, cut down to the signs that figures use (licence beside it).
static FONT: &[u8] = include_bytes!("../../assets/DejaVuSans-subset.ttf");

/// Colours that colour-blind people tell apart (Okabe and Ito, 2008; grey for their yellow), dark ones first so that
/// they also differ in grey.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(150, 150, 150),
];

/// One line of a panel.
#[derive(Clone, Debug)]
pub struct Line {
    /// Name in the legend.
    pub name: String,
    /// Points: time in seconds and value.
    pub points: Vec<(f64, f64)>,
}

/// One panel.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Label of the vertical axis, with the unit.
    pub label: String,
    /// Lines, at most eight.
    pub lines: Vec<Line>,
    /// A horizontal line with its name, for a limit.
    pub limit: Option<(f64, String)>,
    /// Values hold until the next point, as settings do.
    pub steps: bool,
}

/// A figure.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Title: what and under which conditions.
    pub title: String,
    /// Label of the shared horizontal axis.
    pub time_label: String,
    /// Panels, top to bottom.
    pub panels: Vec<Panel>,
    /// A moment to mark in every panel, with its name.
    pub mark: Option<(f64, String)>,
}

const WIDTH: u32 = 1100;
const PANEL_HEIGHT: u32 = 190;
const TITLE_HEIGHT: u32 = 44;

/// Why a figure could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw {path}: {reason}")]
pub struct FigureError {
    path: String,
    reason: String,
}

impl Figure {
    /// Draws the figure into a PNG file, which exists whole or not at all.
    pub fn draw(&self, path: &Path) -> Result<(), FigureError> {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(|| {
            // Fails only for bytes that are no font, and these are part of the program.
            let _ = register_font("sans-serif", FontStyle::Normal, FONT);
        });
        let panels = u32::try_from(self.panels.len()).unwrap_or(1).max(1);
        let failed = |reason: String| FigureError { path: path.display().to_string(), reason };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let readable = std::fs::Permissions::from_mode(0o644);
        let file =
            tempfile::Builder::new().prefix(".partial-").suffix(".png").permissions(readable).tempfile_in(folder);
        let file = file.map_err(|error| failed(error.to_string()))?;
        let root = BitMapBackend::new(file.path(), (WIDTH, TITLE_HEIGHT + PANEL_HEIGHT * panels)).into_drawing_area();
        self.draw_on(&root).map_err(|error| failed(error.to_string()))?;
        drop(root);
        file.persist(path).map_err(|error| failed(error.to_string()))?;
        Ok(())
    }

    fn draw_on<B: DrawingBackend>(
        &self,
        root: &DrawingArea<B, plotters::coord::Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        root.fill(&WHITE)?;
        let (title, body) = root.split_vertically(TITLE_HEIGHT);
        title.draw_text(&self.title, &("sans-serif", 18).into_text_style(root), (20, 12))?;
        let end = self.points().map(|(t, _)| t).fold(1.0, f64::max);
        let areas = body.split_evenly((self.panels.len(), 1));
        for (number, (area, panel)) in areas.iter().zip(&self.panels).enumerate() {
            let last = number + 1 == self.panels.len();
            self.draw_panel(area, panel, end, number == 0, last)?;
        }
        root.present()
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| line.points.iter().copied())
    }

    fn draw_panel<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, plotters::coord::Shift>,
        panel: &Panel,
        end: f64,
        first: bool,
        last: bool,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let (low, high) = panel.span();
        let mut chart = ChartBuilder::on(area)
            .margin_left(12)
            .margin_right(20)
            .margin_bottom(4)
            .x_label_area_size(if last { 40 } else { 22 })
            .y_label_area_size(76)
            .build_cartesian_2d(0.0..end, low..high)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .y_desc(&panel.label)
            .x_desc(if last { self.time_label.as_str() } else { "" })
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 14))
            .y_labels(5)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| short(*y))
            .draw()?;
        if let Some((moment, name)) = &self.mark {
            let grey = RGBColor(90, 90, 90);
            chart.draw_series([PathElement::new(vec![(*moment, low), (*moment, high)], grey)])?;
            let label = Text::new(
                name.clone(),
                (*moment + end * 0.005, high - (high - low) * 0.04),
                ("sans-serif", 13).into_font().color(&grey),
            );
            chart.draw_series([label])?;
        }
        if let Some((value, name)) = &panel.limit {
            let dashes = DashedLineSeries::new([(0.0, *value), (end, *value)], 8, 5, BLACK.stroke_width(1));
            chart.draw_series(dashes)?.label(name).legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BLACK));
        }
        for (line, colour) in panel.lines.iter().zip(COLOURS) {
            let points = if panel.steps { stairs(&line.points) } else { line.points.clone() };
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
        }
        // The lines of all panels have the same names and colours: one legend is enough.
        if first {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .background_style(WHITE.mix(0.85))
                .label_font(("sans-serif", 13))
                .draw()?;
        }
        Ok(())
    }
}

/// As few decimals as the size of a number needs.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 20.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl Panel {
    /// Vertical span with a margin, never empty.
    fn span(&self) -> (f64, f64) {
        let values = self.lines.iter().flat_map(|line| line.points.iter().map(|(_, v)| *v));
        let values = values.chain(self.limit.as_ref().map(|(value, _)| *value)).filter(|v| v.is_finite());
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return (0.0, 1.0);
        }
        let margin = ((high - low) * 0.12).max(high.abs() * 0.02).max(1e-6);
        (low - margin, high + margin)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_a_png_of_the_right_size() {
        let line = |name: &str, f: fn(f64) -> f64| Line {
            name: name.into(),
            points: (0..100).map(|i| (f64::from(i), f(f64::from(i)))).collect(),
        };
        let panel = |steps| Panel {
            label: "°C".into(),
            lines: vec![line("a", f64::sqrt), line("b", |x| -x)],
            limit: Some((5.0, "limit".into())),
            steps,
        };
        let empty = Panel { label: "nothing".into(), lines: vec![], limit: None, steps: false };
        let figure = Figure {
            title: "simulated board".into(),
            time_label: "s".into(),
            panels: vec![panel(true), panel(false), empty],
            mark: Some((50.0, "fan off".into())),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("figure.png");
        figure.draw(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[1..4], b"PNG");
        let side = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!((side(16), side(20)), (WIDTH, TITLE_HEIGHT + 3 * PANEL_HEIGHT));
    }

    #[test]
    fn stairs_hold_values() {
        assert_eq!(stairs(&[(0.0, 1.0), (2.0, 3.0)]), [(0.0, 1.0), (2.0, 1.0), (2.0, 3.0)]);
    }
}
