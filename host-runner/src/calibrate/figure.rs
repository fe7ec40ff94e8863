//! Residual plots: one panel a part, each residual a point over its row.

use crate::report::sheet::axis::Axis;
use crate::report::sheet::panel::{Panel, Rule, Shape};
use crate::report::sheet::{Sheet, SheetError};
use std::path::Path;

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

/// Draws panels of residuals over the row into a PNG or SVG file.
pub fn draw(path: &Path, title: &str, conditions: &str, panels: &[Residuals]) -> Result<(), SheetError> {
    let panels = panels.iter().map(panel).collect();
    Sheet { title: title.to_owned(), conditions: conditions.to_owned(), panels, ..Sheet::default() }.draw(path)
}

fn panel(residuals: &Residuals) -> Panel {
    let points = residuals.values.iter().enumerate().map(|(row, value)| (row as f64 + 0.5, *value)).collect();
    let edge = |level: f64| Rule::Across(level, String::new());
    Panel::new(&residuals.label, Axis::new("row"), Axis::new(""))
        .with_unnamed(0, Shape::Pale(points))
        .ruled(edge(-residuals.two_sd))
        .ruled(edge(0.0))
        .ruled(edge(residuals.two_sd))
}
