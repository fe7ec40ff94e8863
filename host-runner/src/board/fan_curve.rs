//! The vendor's table of fan duties by temperature: the floor below which no fan of ours runs.

use super::attribute::text;
use super::tree::FileTree;
use controller_core::units::MilliCelsius;
use std::path::Path;

/// Configuration of the vendor's fan daemon (`JetPack` 5 and later).
const CONFIGURATION: &str = "/etc/nvfancontrol.conf";

/// Temperature that margins count from, where the table does not say.
const MARGIN_TO: MilliCelsius = MilliCelsius::from_degrees(105);

/// For boards without a table: above the tables of AGX Orin, Orin NX and Orin Nano (L4T 35.3.1) at every
/// temperature.
const CAUTIOUS: [(i32, u8); 2] = [(35_000, 66), (60_000, 255)];

/// Duty by temperature: profiles of points with rising temperature, m°C. The largest duty of all counts,
/// because nobody outside the daemon knows which profile it follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FanCurve {
    profiles: Vec<Vec<(i32, u8)>>,
}

impl FanCurve {
    /// The table of a board, or a cautious one.
    #[must_use]
    pub fn of_board(tree: &dyn FileTree) -> Self {
        text(tree, Path::new(CONFIGURATION)).ok().and_then(|text| Self::parse(&text)).unwrap_or_else(Self::cautious)
    }

    /// The curve for boards without a table.
    #[must_use]
    pub fn cautious() -> Self {
        Self { profiles: vec![CAUTIOUS.to_vec()] }
    }

    /// Reads the profiles of a configuration; `None` when it has none. With `TMARGIN ENABLED` the first
    /// column is the margin below `GROUP_MAX_TEMP`, otherwise a temperature, both in °C.
    fn parse(configuration: &str) -> Option<Self> {
        let lines = || configuration.lines().map(|line| line.split('#').next().unwrap_or("").trim());
        let words = |line: &'static str| lines().filter_map(move |text| text.strip_prefix(line)).map(str::trim);
        let margins = words("TMARGIN").any(|value| value == "ENABLED");
        let group: Option<i32> = words("GROUP_MAX_TEMP").filter_map(|value| value.parse().ok()).max();
        let top = group.map_or(MARGIN_TO.0, |degrees| degrees.saturating_mul(1000));
        let (mut profiles, mut open) = (Vec::new(), None::<Vec<(i32, u8)>>);
        for line in lines() {
            if line.starts_with("FAN_PROFILE") {
                open = Some(Vec::new());
            } else if line.starts_with('}') {
                profiles.extend(open.take());
            } else if let (Some(points), [column, _, pwm, ..]) =
                (&mut open, line.split_whitespace().collect::<Vec<_>>().as_slice())
                && let (Ok(column), Ok(pwm)) = (column.parse::<i32>(), pwm.parse())
            {
                let milli = column.saturating_mul(1000);
                points.push((if margins { top.saturating_sub(milli) } else { milli }, pwm));
            }
        }
        profiles.retain(|points| !points.is_empty());
        for points in &mut profiles {
            points.sort_unstable();
        }
        (!profiles.is_empty()).then_some(Self { profiles })
    }

    /// The duty at a temperature, 0 to 255, linear between the points.
    #[must_use]
    pub fn duty(&self, temperature: MilliCelsius) -> u8 {
        self.profiles.iter().map(|points| interpolate(points, temperature.0)).max().unwrap_or(u8::MAX)
    }
}

fn interpolate(points: &[(i32, u8)], at: i32) -> u8 {
    let above = points.partition_point(|(temperature, _)| *temperature <= at);
    let point = |place: usize| points.get(place).copied();
    match (above.checked_sub(1).and_then(point), point(above)) {
        (Some((from, low)), Some((to, high))) => {
            let (span, way) = (i64::from(to) - i64::from(from), i64::from(at) - i64::from(from));
            let duty = i64::from(low) + (i64::from(high) - i64::from(low)) * way / span.max(1);
            u8::try_from(duty).unwrap_or(u8::MAX)
        }
        (Some((_, duty)), None) | (None, Some((_, duty))) => duty,
        (None, None) => u8::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MARGINS: &str = "POLLING_INTERVAL 2\n\n<FAN 1>\n\tTMARGIN ENABLED\n\tFAN_GOVERNOR pid {\n\t\tSTEP_SIZE 10\n\t}\n\
        \tFAN_PROFILE quiet {\n\t\t#TEMP \tHYST\tPWM\tRPM\n\t\t0\t0 \t255 \t2900\n\t\t10\t0 \t255 \t2900\n\
        \t\t30\t0 \t215 \t2440\n\t\t60\t0 \t66 \t750\n\t\t105\t0 \t66 \t750\n\t}\n\tFAN_PROFILE cool {\n\t\t10 0 255 2900\n\
        \t\t70 0 100 1000\n\t}\n\tTHERMAL_GROUP 0 {\n\t\tGROUP_MAX_TEMP 105\n\t\tCPU-therm 20,20 0\n\t}\n\
        \tFAN_DEFAULT_PROFILE quiet\n\tKICKSTART_PWM 64\n<FAN 1>\n";

    fn degrees(degrees: i16) -> MilliCelsius {
        MilliCelsius::from_degrees(degrees)
    }

    #[test]
    fn margins_count_down_and_the_louder_profile_counts() {
        let curve = FanCurve::parse(MARGINS).unwrap();
        assert_eq!(curve.duty(degrees(95)), 255);
        assert_eq!(curve.duty(degrees(120)), 255);
        // quiet: 215; cool: 100 + 155 * 40/60.
        assert_eq!(curve.duty(degrees(75)), 215);
        // quiet: 66; cool: 100 + 155 * 10/60 = 125.
        assert_eq!(curve.duty(degrees(45)), 125);
        assert_eq!(curve.duty(degrees(10)), 100);
    }

    #[test]
    fn temperatures_count_up() {
        let text = MARGINS.replace("ENABLED", "DISABLED").replace("10 0 255 2900", "90 0 255 2900");
        let curve = FanCurve::parse(&text).unwrap();
        assert!(curve.duty(degrees(90)) == 255 && curve.duty(degrees(70)) < 255);
    }

    #[test]
    fn without_a_table_the_curve_is_cautious() {
        let empty = crate::board::tree::CapturedTree::parse("{}").unwrap();
        assert_eq!(FanCurve::of_board(&empty), FanCurve::cautious());
        for text in ["", "FAN_PROFILE quiet {\n}\n", "FAN_PROFILE quiet {\n0 0 x\n}\n"] {
            assert_eq!(FanCurve::parse(text), None);
        }
        let orin = FanCurve::parse(MARGINS.split("\tFAN_PROFILE cool").next().unwrap()).unwrap();
        for temperature in -10..=110 {
            assert!(
                FanCurve::cautious().duty(degrees(temperature)) >= orin.duty(degrees(temperature)),
                "{temperature}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_a_curve_or_none(text in "[A-Z_ 0-9{}\n#-]{0,200}", at in any::<i32>()) {
            if let Some(curve) = FanCurve::parse(&format!("FAN_PROFILE a {{\n{text}")) {
                let _ = curve.duty(MilliCelsius(at));
            }
        }

        #[test]
        fn a_rising_table_gives_a_rising_curve(mut duties in prop::collection::vec(0..=255u8, 2..6), at in 0..110_000i32, more in 0..20_000i32) {
            duties.sort_unstable();
            let points = (0..).zip(&duties).map(|(place, pwm)| (place * 20_000, *pwm)).collect();
            let curve = FanCurve { profiles: vec![points] };
            prop_assert!(curve.duty(MilliCelsius(at)) <= curve.duty(MilliCelsius(at + more)));
        }
    }
}
