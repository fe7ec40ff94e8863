//! The power mode of `nvpmodel`, read from its files. Numbers mean different modes on different
//! boards: compare names.

use super::Missing;
use crate::board::attribute::text;
use crate::board::tree::FileTree;
use serde::Serialize;
use std::path::Path;

const STATUS: &str = "/var/lib/nvpmodel/status";
const CONFIGURATION: &str = "/etc/nvpmodel.conf";

/// The power mode in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PowerMode {
    /// Its number.
    pub id: u32,
    /// Its name, such as `MAXN_SUPER`; absent without the board's configuration.
    pub name: Option<String>,
}

impl PowerMode {
    pub(super) fn discover(tree: &dyn FileTree) -> Result<Self, Missing> {
        let configuration = text(tree, Path::new(CONFIGURATION)).unwrap_or_default();
        let status = text(tree, Path::new(STATUS)).ok();
        let id = status
            .as_deref()
            .and_then(current)
            .ok_or_else(|| Missing::new("power mode", &["pmode: in /var/lib/nvpmodel/status"]))?;
        Ok(Self { id, name: name(&configuration, id) })
    }
}

/// The number in `pmode:0002`.
fn current(status: &str) -> Option<u32> {
    let (_, number) = status.split_once("pmode:")?;
    let number = number.trim_start();
    let end = number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len());
    number[..end].parse().ok()
}

/// The name in `< POWER_MODEL ID=2 NAME=MAXN_SUPER >`.
fn name(configuration: &str, id: u32) -> Option<String> {
    let models =
        configuration.lines().filter(|line| line.trim_start().starts_with('<') && line.contains("POWER_MODEL"));
    let value = |line: &str, key: &str| {
        let word = line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?;
        Some(word.trim_end_matches('>').to_owned())
    };
    models
        .filter(|line| value(line, "ID").and_then(|number| number.parse().ok()) == Some(id))
        .find_map(|line| value(line, "NAME"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tree::CapturedTree;

    #[test]
    fn the_name_of_the_mode_in_force_is_found() {
        let json = r##"{"files": {"/var/lib/nvpmodel/status": "pmode:0002\n", "/etc/nvpmodel/x.conf":
            "# < POWER_MODEL ID=2 NAME=OLD >\n< POWER_MODEL ID=0 NAME=15W >\nCPU_ONLINE CORE_0 1\n< POWER_MODEL ID=2 NAME=MAXN_SUPER>\n"},
            "links": {"/etc/nvpmodel.conf": "/etc/nvpmodel/x.conf"}}"##;
        let mode = PowerMode::discover(&CapturedTree::parse(json).unwrap()).unwrap();
        assert_eq!(mode, PowerMode { id: 2, name: Some("MAXN_SUPER".to_owned()) });
    }

    #[test]
    fn a_number_without_a_name_and_no_mode_at_all() {
        assert_eq!((current("pmode:0010 fmode:fanNull"), current("pmode:"), current("")), (Some(10), None, None));
        assert_eq!(name("< POWER_MODEL ID=x NAME=A >", 1), None);
        let missing = PowerMode::discover(&CapturedTree::parse("{}").unwrap()).unwrap_err();
        assert!(missing.to_string().contains("/var/lib/nvpmodel/status"));
    }
}
