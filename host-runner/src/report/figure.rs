//! Figures of lines over a shared time axis: a [`Sheet`] of one column.

use super::sheet::axis::Axis;
use super::sheet::panel::{self, Rule, Shape};
use super::sheet::{Sheet, SheetError};
use std::path::Path;

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
    /// Lines; those of all panels have the same names.
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

impl Figure {
    /// Draws the figure into a PNG or SVG file, which exists whole or not at all.
    pub fn draw(&self, path: &Path) -> Result<(), SheetError> {
        self.sheet().draw(path)
    }

    /// The same as a sheet.
    #[must_use]
    pub fn sheet(&self) -> Sheet {
        let points = self.panels.iter().flat_map(|panel| &panel.lines).flat_map(|line| &line.points);
        let end = points.map(|(time, _)| *time).fold(1.0, f64::max);
        let panel = |lines: &Panel| {
            let time = Axis::new(&self.time_label).within(0.0, end);
            let mut panel = panel::Panel::new(&lines.label, time, Axis::new(""));
            for line in &lines.lines {
                let points = line.points.clone();
                panel = panel.with(&line.name, if lines.steps { Shape::Steps(points) } else { Shape::Line(points) });
            }
            if let Some((value, name)) = &lines.limit {
                panel = panel.ruled(Rule::Across(*value, name.clone()));
            }
            match &self.mark {
                Some((moment, name)) => panel.ruled(Rule::At(*moment, name.clone())),
                None => panel,
            }
        };
        Sheet {
            title: self.title.clone(),
            shared_legend: true,
            panel_size: (1072, 190),
            panels: self.panels.iter().map(panel).collect(),
            ..Sheet::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_without_lines_and_marks_are_drawn_too() {
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
        super::super::sheet::assert_readable(&figure.sheet());
        let folder = tempfile::tempdir().unwrap();
        figure.draw(&folder.path().join("figure.png")).unwrap();
    }
}
