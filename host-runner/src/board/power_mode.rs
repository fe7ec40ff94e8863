//! The clock limits of a power mode, from the configuration of `nvpmodel`.

use super::attribute::text;
use super::tree::FileTree;
use std::path::Path;

/// Configuration of the modes; a link to the board's own.
const CONFIGURATION: &str = "/etc/nvpmodel.conf";

/// The number of the mode with this name; numbers mean different modes on different boards.
#[must_use]
pub fn number_of(tree: &dyn FileTree, name: &str) -> Option<u32> {
    let text = text(tree, Path::new(CONFIGURATION)).ok()?;
    modes(&text).find_map(|(id, called)| (called == name).then_some(id))
}

/// Number and name of the mode that lets the GPU run fastest; of several, one that is called MAXN. Numbers differ: 0 is MAXN on
/// an AGX Orin and 15W on an Orin Nano Super.
#[must_use]
pub fn fastest(tree: &dyn FileTree) -> Option<(u32, String)> {
    let text = text(tree, Path::new(CONFIGURATION)).ok()?;
    let speed = |(id, name): &(u32, &str)| {
        let max_hz = GpuLimits::parse(&text, *id).max_hz.unwrap_or(u64::MAX);
        (max_hz, name.starts_with("MAXN"))
    };
    modes(&text).max_by_key(speed).map(|(id, name)| (id, name.to_owned()))
}

/// Number and name of every mode: `< POWER_MODEL ID=2 NAME=MAXN_SUPER >`.
fn modes(configuration: &str) -> impl Iterator<Item = (u32, &str)> {
    fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
        let word = line.split_whitespace().find_map(|word| word.strip_prefix(key))?;
        Some(word.trim_end_matches('>'))
    }
    let lines = configuration.lines().map(str::trim);
    let named = lines.filter(|line| line.starts_with('<') && line.contains("POWER_MODEL"));
    named.filter_map(|line| Some((value(line, "ID=")?.parse().ok()?, value(line, "NAME=")?)))
}

/// GPU bounds of a power mode, hertz. `None` where the mode sets none (`0`, `-1`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GpuLimits {
    /// Lower bound.
    pub min_hz: Option<u64>,
    /// Upper bound.
    pub max_hz: Option<u64>,
}

impl GpuLimits {
    /// Of the mode with this number; without bounds when the board does not say.
    #[must_use]
    pub fn of_mode(tree: &dyn FileTree, id: u32) -> Self {
        text(tree, Path::new(CONFIGURATION)).map(|text| Self::parse(&text, id)).unwrap_or_default()
    }

    /// The lines `GPU MIN_FREQ` and `GPU MAX_FREQ` (of a Thor `GPU_GPC...`) below
    /// `< POWER_MODEL ID=2 NAME=MAXN_SUPER >`, up to the next mode.
    fn parse(configuration: &str, id: u32) -> Self {
        let (mut limits, mut inside) = (Self::default(), false);
        for line in configuration.lines().map(str::trim) {
            if line.starts_with('<') {
                let number = line.split_whitespace().find_map(|word| word.strip_prefix("ID="));
                inside = line.contains("POWER_MODEL") && number.is_some_and(|number| number.parse() == Ok(id));
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            if let (true, [domain, bound, value]) = (inside, words.as_slice())
                && (*domain == "GPU" || domain.starts_with("GPU_GPC"))
            {
                let hz = value.parse().ok().filter(|hz| *hz > 0 && *hz < u64::from(u32::MAX));
                match *bound {
                    "MIN_FREQ" => limits.min_hz = hz,
                    "MAX_FREQ" => limits.max_hz = hz,
                    _ => {}
                }
            }
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_of_one_mode_are_read() {
        let text = "< PARAM TYPE=FILE NAME=GPU >\nMIN_FREQ /sys/x\n< POWER_MODEL ID=0 NAME=MAXN >\nGPU MIN_FREQ 0\n\
                    GPU MAX_FREQ -1\nCPU_A78_0 MAX_FREQ 99\n< POWER_MODEL ID=2 NAME=30W >\nGPU TPC_POWER_GATING_MASK 240\n\
                    \tGPU MIN_FREQ 306000000\n\tGPU MAX_FREQ 612000000\n< PM_CONFIG DEFAULT=2 >\nGPU MAX_FREQ 5\n";
        let limits = |min_hz, max_hz| GpuLimits { min_hz, max_hz };
        assert_eq!(GpuLimits::parse(text, 0), limits(None, None));
        assert_eq!(GpuLimits::parse(text, 2), limits(Some(306_000_000), Some(612_000_000)));
        assert_eq!(GpuLimits::parse(text, 7), limits(None, None));
    }

    #[test]
    fn modes_are_known_by_name() {
        let json =
            r#"{"files": {"/etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=2 NAME=30W>\n"}}"#;
        let tree = crate::board::tree::CapturedTree::parse(json).unwrap();
        assert_eq!(
            [number_of(&tree, "30W"), number_of(&tree, "MAXN"), number_of(&tree, "50W")],
            [Some(2), Some(0), None]
        );
    }

    /// As on an Orin Nano Super, an AGX Orin, and a board whose modes all have a bound.
    #[test]
    fn the_fastest_mode_is_known_by_what_it_allows() {
        let fastest = |modes: &[(u32, &str, i64)]| {
            let mode = |(id, name, hz): &(u32, &str, i64)| {
                format!("< POWER_MODEL ID={id} NAME={name} >\\nGPU MIN_FREQ 0\\nGPU MAX_FREQ {hz}\\n")
            };
            let text = modes.iter().map(mode).collect::<String>();
            let json = format!(r#"{{"files": {{"/etc/nvpmodel.conf": "{text}"}}}}"#);
            super::fastest(&crate::board::tree::CapturedTree::parse(&json).unwrap())
        };
        let nano = [(0, "15W", 612_000_000), (1, "25W", 918_000_000), (2, "MAXN_SUPER", -1), (3, "7W", 408_000_000)];
        assert_eq!(fastest(&nano), Some((2, "MAXN_SUPER".to_owned())));
        assert_eq!(fastest(&[(0, "MAXN", -1), (1, "15W", 408_000_000)]), Some((0, "MAXN".to_owned())));
        assert_eq!(fastest(&[(0, "MAXN", -1), (8, "15W_DESKTOP", -1)]), Some((0, "MAXN".to_owned())));
        assert_eq!(fastest(&[(1, "10W", 5), (2, "20W", 9)]), Some((2, "20W".to_owned())));
        assert_eq!(fastest(&[]), None);
    }

    #[test]
    fn the_largest_integer_is_no_limit() {
        let text = format!("< POWER_MODEL ID=1 NAME=A >\nGPU MAX_FREQ {}\n", u64::MAX);
        assert_eq!(GpuLimits::parse(&text, 1), GpuLimits::default());
    }
}
