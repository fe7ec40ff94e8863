//! Residual plots: one panel a part, each residual a point over its row.

use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::path::Path;
use std::sync::Once;

/// The font of all figures (licence beside it).
static FONT: &[u8] = include_bytes!("../../assets/DejaVuSans-subset.ttf");

const WIDTH: u32 = 1100;
const PANEL_HEIGHT: u32 = 220;
const TITLE_HEIGHT: u32 = 44;
/// Okabe and Ito's blue; points need one colour only.
const POINT: RGBColor = RGBColor(0, 114, 178);

/// One panel of residuals.
#[derive(Clone, Debug)]
pub struct Residuals {
    /// What and in which unit.
    pub label: String,
    /// In the order of the rows.
    pub values: Vec<f64>,
    /// Twice the standard deviation, drawn as dashes.
    pub two_sd: f64,
}

/// Draws panels of residuals over the row into a PNG.
///
/// # Errors
/// What the drawing says, as text.
pub fn draw(path: &Path, title: &str, panels: &[Residuals]) -> Result<(), String> {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // Fails only for bytes that are no font, and these are part of the program.
        let _ = register_font("sans-serif", FontStyle::Normal, FONT);
    });
    let count = u32::try_from(panels.len()).unwrap_or(1).max(1);
    let root = BitMapBackend::new(path, (WIDTH, TITLE_HEIGHT + PANEL_HEIGHT * count)).into_drawing_area();
    let failed = |error: &dyn std::fmt::Display| format!("cannot draw {}: {error}", path.display());
    root.fill(&WHITE).map_err(|error| failed(&error))?;
    let (head, body) = root.split_vertically(TITLE_HEIGHT);
    head.draw_text(title, &("sans-serif", 18).into_text_style(&root), (20, 12)).map_err(|error| failed(&error))?;
    let areas = body.split_evenly((panels.len().max(1), 1));
    for (place, (area, panel)) in areas.iter().zip(panels).enumerate() {
        let last = place + 1 == panels.len();
        panel_on(area, panel, last).map_err(|error| failed(&error))?;
    }
    root.present().map_err(|error| failed(&error))
}

fn panel_on<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    panel: &Residuals,
    last: bool,
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let largest = panel.values.iter().fold(panel.two_sd, |top, value| top.max(value.abs())).max(1e-9) * 1.1;
    let end = panel.values.len().max(1) as f64;
    let mut chart = ChartBuilder::on(area)
        .margin_left(12)
        .margin_right(20)
        .margin_bottom(4)
        .x_label_area_size(if last { 40 } else { 22 })
        .y_label_area_size(76)
        .build_cartesian_2d(0.0..end, -largest..largest)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .y_desc(&panel.label)
        .x_desc(if last { "row" } else { "" })
        .label_style(("sans-serif", 13))
        .axis_desc_style(("sans-serif", 14))
        .y_labels(5)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.1}"))
        .draw()?;
    let points = panel.values.iter().enumerate().map(|(row, value)| (row as f64 + 0.5, *value));
    chart.draw_series(points.map(|point| Circle::new(point, 1, POINT.filled())))?;
    for level in [-panel.two_sd, 0.0, panel.two_sd] {
        chart.draw_series(DashedLineSeries::new([(0.0, level), (end, level)], 8, 5, BLACK.stroke_width(1)))?;
    }
    Ok(())
}
