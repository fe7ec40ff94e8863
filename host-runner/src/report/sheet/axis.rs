//! Axes: which values they span, where their ticks are, and what stands beside them.

/// How values are laid out.
#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// In proportion.
    Linear,
    /// By their logarithm; values at or below zero are not shown.
    Log,
    /// Value n belongs to the n-th name.
    Names(Vec<String>),
}

/// One axis of a panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it shows, with the unit.
    pub label: String,
    /// How.
    pub scale: Scale,
    /// Ends that the data do not decide.
    pub range: Option<(f64, f64)>,
    /// Zero is part of the span.
    pub from_zero: bool,
}

impl Axis {
    /// A linear axis over its data.
    #[must_use]
    pub fn new(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Linear, range: None, from_zero: false }
    }

    /// A logarithmic one.
    #[must_use]
    pub fn log(label: &str) -> Self {
        Self { scale: Scale::Log, ..Self::new(label) }
    }

    /// One of names.
    #[must_use]
    pub fn names(label: &str, names: Vec<String>) -> Self {
        Self { scale: Scale::Names(names), ..Self::new(label) }
    }

    /// With fixed ends.
    #[must_use]
    pub fn within(self, low: f64, high: f64) -> Self {
        Self { range: Some((low, high)), ..self }
    }

    /// With zero.
    #[must_use]
    pub fn from_zero(self) -> Self {
        Self { from_zero: true, ..self }
    }

    /// Its span over these values, in the coordinate of the scale, with a margin where the data decide.
    #[must_use]
    pub fn span(&self, values: impl Iterator<Item = f64>) -> (f64, f64) {
        if let Scale::Names(names) = &self.scale {
            return (-0.5, names.len() as f64 - 0.5);
        }
        if let Some((low, high)) = self.range {
            return (self.place(low), self.place(high));
        }
        let zero = self.from_zero.then_some(0.0);
        let places = values.chain(zero).map(|value| self.place(value)).filter(|place| place.is_finite());
        let (low, high) = places.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
        if low > high {
            return (0.0, 1.0);
        }
        let flat = if high.abs() > 0.0 { high.abs() * 0.05 } else { 1.0 };
        // Values that differ by rounding alone are flat as well.
        let margin = if high - low > high.abs() * 1e-9 { (high - low) * 0.06 } else { flat };
        let stands_on_zero = self.from_zero && low >= 0.0;
        (if stands_on_zero { 0.0 } else { low - margin }, high + margin)
    }

    /// Where a value lies, in the coordinate of the scale; not a number where it has no place.
    #[must_use]
    pub fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Log if value > 0.0 => value.log10(),
            Scale::Log => f64::NAN,
            Scale::Linear | Scale::Names(_) => value,
        }
    }

    /// Ticks within a span, at most about `count`, with their labels.
    #[must_use]
    pub fn ticks(&self, (low, high): (f64, f64), count: usize) -> Vec<(f64, String)> {
        match &self.scale {
            Scale::Names(names) => (0..).map(|n: u32| f64::from(n)).zip(names.iter().cloned()).collect(),
            // Less than a decade has too few powers of ten.
            Scale::Log if high - low < 1.0 => {
                let values = Axis::new("").ticks((10f64.powf(low), 10f64.powf(high)), count);
                values
                    .into_iter()
                    .filter(|(value, _)| *value > 0.0)
                    .map(|(value, name)| (value.log10(), name))
                    .collect()
            }
            Scale::Linear => {
                let step = nice_step((high - low) / count.max(1) as f64);
                let first = (low / step - 1e-9).ceil();
                let ticks = (0..).map(|n: u32| (first + f64::from(n)) * step);
                let ticks: Vec<f64> = ticks.take_while(|tick| *tick <= high + step * 1e-9).collect();
                let largest = ticks.iter().fold(0.0f64, |top, tick| top.max(tick.abs()));
                ticks.into_iter().map(|tick| (tick, label(tick, step, largest))).collect()
            }
            Scale::Log => decades(low, high, count),
        }
    }
}

/// The nearest of 1, 2 and 5 times a power of ten.
fn nice_step(rough: f64) -> f64 {
    if !(rough > 0.0 && rough.is_finite()) {
        return 1.0;
    }
    let power = 10f64.powf(rough.log10().floor());
    let nice = [1.0, 2.0, 5.0, 10.0].into_iter().find(|nice| nice * power >= rough * 0.7).unwrap_or(10.0);
    nice * power
}

/// Powers of ten, or 1, 2 and 5 times them where few fit.
fn decades(low: f64, high: f64, count: usize) -> Vec<(f64, String)> {
    let mantissas: &[f64] = if high - low < 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let stride = nice_step((high - low) / count.max(1) as f64).max(1.0);
    let mut ticks = Vec::new();
    let mut power = (low.floor() / stride).floor() * stride;
    while power <= high {
        for mantissa in mantissas {
            let place = power + mantissa.log10();
            if (low - 1e-9..=high + 1e-9).contains(&place) {
                ticks.push((place, plain(mantissa * 10f64.powf(power))));
            }
        }
        power += stride;
    }
    ticks
}

fn label(tick: f64, step: f64, largest: f64) -> String {
    let tick = if tick.abs() < step * 1e-6 { 0.0 } else { tick };
    let (scale, suffix) = match largest {
        size if size >= 2e6 => (1e6, "M"),
        size if size >= 2e4 => (1e3, "k"),
        _ => (1.0, ""),
    };
    if largest < 1e-3 && tick != 0.0 {
        return format!("{tick:.1e}");
    }
    if tick == 0.0 {
        return "0".to_owned();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 8")]
    let decimals = (-(step / scale).log10().floor()).clamp(0.0, 8.0) as usize;
    format!("{:.decimals$}{suffix}", tick / scale)
}

/// A number as short as its size allows, for cells and bars.
#[must_use]
pub fn plain(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "-".to_owned(),
        0.0 => "0".to_owned(),
        size if size >= 1e9 => format!("{value:.1e}"),
        size if size >= 1e7 => format!("{:.0}M", value / 1e6),
        size if size >= 1e6 => format!("{:.1}M", value / 1e6),
        size if size >= 1e5 => format!("{:.0}k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        size if size >= 0.01 => format!("{value:.3}"),
        size if size >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ticks_are_round_and_labelled_alike() {
        let labels = |axis: Axis, span| axis.ticks(span, 5).into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels(Axis::new(""), (0.0, 1.0)), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(Axis::new(""), (0.0, 100_000.0)), ["0", "20k", "40k", "60k", "80k", "100k"]);
        assert_eq!(labels(Axis::log(""), (0.0, 3.0)), ["1.00", "10.0", "100", "1000"]);
        assert_eq!(labels(Axis::log(""), (0.0, 0.08)), ["1.00", "1.05", "1.10", "1.15", "1.20"]);
        assert_eq!(labels(Axis::names("", vec!["a".into(), "b".into()]), (-0.5, 1.5)), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn any_span_has_a_few_ticks_inside_it(low in -1e6..1e6, width in 1e-6..1e7) {
            let (low, high): (f64, f64) = (low, low + width);
            let ticks = Axis::new("").ticks((low, high), 5);
            prop_assert!((2..=9).contains(&ticks.len()), "{ticks:?}");
            let slack = (high - low) * 1e-6;
            prop_assert!(ticks.iter().all(|(tick, _)| (low - slack..=high + slack).contains(tick)));
        }

        #[test]
        fn a_span_holds_its_values(values in proptest::collection::vec(-1e9..1e9, 1..20)) {
            let (low, high) = Axis::new("").span(values.iter().copied());
            prop_assert!(values.iter().all(|value| low <= *value && *value <= high) && low < high);
        }
    }
}
