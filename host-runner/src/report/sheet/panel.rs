//! Panels and what is in them.

use super::axis::Axis;

/// One panel: two axes, layers of data, rules across.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// Data, the first at the back.
    pub layers: Vec<Layer>,
    /// Limits and moments.
    pub rules: Vec<Rule>,
    /// What is said where there is nothing to show.
    pub without_data: String,
}

/// Data in a panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Name in the legend, if it is to be named.
    pub name: Option<String>,
    /// Number of its [`Style`](super::style::Style).
    pub style: usize,
    /// What is drawn.
    pub shape: Shape,
}

/// How data are drawn.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A line through points, in their order.
    Line(Vec<(f64, f64)>),
    /// Each value holds until the next point.
    Steps(Vec<(f64, f64)>),
    /// A line through few points, each with a marker.
    Marked(Vec<(f64, f64)>),
    /// A pale small dot at each point: what a moving average is taken of.
    Pale(Vec<(f64, f64)>),
    /// A marker at each point.
    Dots(Vec<(f64, f64)>),
    /// A dot at each point whose lightness shows a third value, with its scale beside the panel.
    Shaded {
        /// Points and values.
        points: Vec<(f64, f64, f64)>,
        /// What the values are, with the unit.
        label: String,
    },
    /// Bars from zero; of several layers of bars in a panel each has its place beside the others.
    Bars {
        /// Centre, height and half width of an interval; not a number: no bar, no interval.
        bars: Vec<(f64, f64, f64)>,
        /// The heights are written above.
        written: bool,
    },
    /// A table of values, rows from the bottom; lightness shows the value.
    Heat {
        /// Values by row and column; not a number: no value.
        rows: Vec<Vec<f64>>,
        /// The values are written into the cells.
        written: bool,
    },
    /// Text beside points.
    Names(Vec<(f64, f64, String)>),
}

/// A line across a panel, with its name.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// At a height: a limit.
    Across(f64, String),
    /// At a place: an event.
    At(f64, String),
}

impl Panel {
    /// An empty panel.
    #[must_use]
    pub fn new(title: &str, x: Axis, y: Axis) -> Self {
        Self {
            title: title.to_owned(),
            x,
            y,
            layers: vec![],
            rules: vec![],
            without_data: "no values in this file".to_owned(),
        }
    }

    /// With one more layer, in the style of its place among the named ones.
    #[must_use]
    pub fn with(mut self, name: &str, shape: Shape) -> Self {
        let style = self.next_style();
        self.layers.push(Layer { name: Some(name.to_owned()), style, shape });
        self
    }

    /// Pale dots share the style of the line that is drawn over them.
    fn next_style(&self) -> usize {
        let own = |layer: &&Layer| layer.name.is_some() && !matches!(layer.shape, Shape::Pale(_));
        self.layers.iter().filter(own).count()
    }

    /// With one more layer that the legend does not name.
    #[must_use]
    pub fn with_unnamed(mut self, style: usize, shape: Shape) -> Self {
        self.layers.push(Layer { name: None, style, shape });
        self
    }

    /// With raw points in pale, and their moving average over them where there are more than ten.
    #[must_use]
    pub fn with_mean(self, name: &str, points: &[(f64, f64)], window: usize) -> Self {
        let points: Vec<(f64, f64)> = points.iter().copied().filter(|(_, y)| y.is_finite()).collect();
        if points.len() <= 10 || window < 2 {
            return self.with(name, Shape::Marked(points));
        }
        let mean = moving_average(&points, window);
        self.with("single values", Shape::Pale(points)).with(name, Shape::Line(mean))
    }

    /// With a rule.
    #[must_use]
    pub fn ruled(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Saying this where there is no data.
    #[must_use]
    pub fn or(mut self, without_data: &str) -> Self {
        without_data.clone_into(&mut self.without_data);
        self
    }

    /// Every point that an axis has to span, rules included.
    pub(crate) fn extent(&self) -> (Vec<f64>, Vec<f64>) {
        let mut xs = Vec::new();
        let mut ys = Vec::new();
        for layer in &self.layers {
            match &layer.shape {
                Shape::Line(points)
                | Shape::Steps(points)
                | Shape::Marked(points)
                | Shape::Pale(points)
                | Shape::Dots(points) => {
                    xs.extend(points.iter().map(|(x, _)| *x));
                    ys.extend(points.iter().map(|(_, y)| *y));
                }
                Shape::Shaded { points, .. } => {
                    xs.extend(points.iter().map(|(x, _, _)| *x));
                    ys.extend(points.iter().map(|(_, y, _)| *y));
                }
                Shape::Bars { bars, .. } => {
                    let half = pitch(bars) / 2.0;
                    xs.extend(bars.iter().flat_map(|(x, _, _)| [x - half, x + half]));
                    let ends = |(_, y, half): &(f64, f64, f64)| [0.0, *y, y + half, y - half];
                    ys.extend(bars.iter().flat_map(ends));
                }
                Shape::Heat { .. } | Shape::Names(_) => {}
            }
        }
        for rule in &self.rules {
            match rule {
                Rule::Across(y, _) => ys.push(*y),
                Rule::At(x, _) => xs.push(*x),
            }
        }
        (xs, ys)
    }

    /// Whether any layer has something to show.
    pub(super) fn has_data(&self) -> bool {
        self.layers.iter().any(|layer| match &layer.shape {
            Shape::Line(points)
            | Shape::Steps(points)
            | Shape::Marked(points)
            | Shape::Pale(points)
            | Shape::Dots(points) => points.iter().any(|(_, y)| y.is_finite()),
            Shape::Shaded { points, .. } => !points.is_empty(),
            Shape::Bars { bars, .. } => bars.iter().any(|(_, y, _)| y.is_finite()),
            Shape::Heat { rows, .. } => rows.iter().flatten().any(|value| value.is_finite()),
            Shape::Names(names) => !names.is_empty(),
        })
    }
}

/// Distance of two bars: the least that any two have, 1 for a single one.
pub(super) fn pitch(bars: &[(f64, f64, f64)]) -> f64 {
    let gaps = bars.windows(2).map(|pair| (pair[1].0 - pair[0].0).abs()).filter(|gap| *gap > 0.0);
    gaps.min_by(f64::total_cmp).filter(|gap| gap.is_finite()).unwrap_or(1.0)
}

/// Trailing moving average over whole windows, each at the place of its last point.
#[must_use]
pub fn moving_average(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let window = window.clamp(1, points.len().max(1));
    let mean = |slice: &[(f64, f64)]| slice.iter().map(|(_, y)| y).sum::<f64>() / slice.len() as f64;
    points.windows(window).filter_map(|slice| Some((slice.last()?.0, mean(slice)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_window_trails_and_is_whole() {
        let points: Vec<(f64, f64)> = (0..5).map(|i| (f64::from(i), f64::from(i * i))).collect();
        assert_eq!(moving_average(&points, 3), [(2.0, 5.0 / 3.0), (3.0, 14.0 / 3.0), (4.0, 29.0 / 3.0)]);
        assert_eq!(moving_average(&points, 1), points);
        assert_eq!(moving_average(&[], 4), []);
    }

    proptest! {
        #[test]
        fn an_average_stays_between_its_values(ys in proptest::collection::vec(-1e3..1e3, 1..60), window in 1usize..70) {
            let points: Vec<(f64, f64)> = (0..).map(|i: u32| f64::from(i)).zip(ys.iter().copied()).collect();
            let mean = moving_average(&points, window);
            prop_assert_eq!(mean.len(), points.len() + 1 - window.min(points.len()));
            let low = ys.iter().copied().fold(f64::INFINITY, f64::min);
            let high = ys.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(mean.iter().all(|(_, y)| (low - 1e-9..=high + 1e-9).contains(y)));
        }
    }
}
