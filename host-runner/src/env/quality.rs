//! How good a language model's answers are at each depth, as its maker measured it.
//!
//! The file lies beside the model (`depths.json`) and lists accuracy per depth. A model without
//! one is run at full depth only: nobody knows what fewer layers would do to its answers.

use crate::input_file;
use controller_core::action::MAX_VALUES;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Accuracy per depth.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Quality {
    depths: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
struct Row {
    depth: u16,
    accuracy: f64,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QualityError {
    /// It cannot be read.
    #[error("cannot read {path}: {source}; it lists the accuracy per depth and lies beside the model")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{path} does not list accuracy per depth: {source}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// It has no usable row.
    #[error("{path} needs at least one depth with an accuracy between 0 and 1, and one above 0 at the greatest depth")]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl Quality {
    /// Reads the file beside a model.
    pub fn read(path: &Path) -> Result<Self, QualityError> {
        let text = input_file::read_text(path).map_err(|source| QualityError::Read { path: path.into(), source })?;
        let mut quality: Self =
            serde_json::from_str(&text).map_err(|source| QualityError::Content { path: path.into(), source })?;
        quality.depths.sort_by_key(|row| row.depth);
        let sane = quality.depths.iter().all(|row| (0.0..=1.0).contains(&row.accuracy));
        if sane && quality.depths.last().is_some_and(|row| row.accuracy > 0.0) {
            Ok(quality)
        } else {
            Err(QualityError::Empty { path: path.into() })
        }
    }

    /// Only full depth is known, and it is perfect by definition.
    #[must_use]
    pub fn only_full_depth(full: u16) -> Self {
        Self { depths: vec![Row { depth: full, accuracy: 1.0 }] }
    }

    /// Thousandths of full depth's accuracy that a depth keeps; 0 for a depth never measured. `depth` of `full` is a
    /// share: of a model with more or fewer layers the same share, rounded up, is looked up.
    #[must_use]
    pub fn kept(&self, depth: u16, full: u16) -> u16 {
        let deepest = self.depths.last().map_or(full, |row| row.depth);
        let layers = (u32::from(depth) * u32::from(deepest)).div_ceil(u32::from(full.max(1)));
        let accuracy =
            |wanted: u32| self.depths.iter().find(|row| u32::from(row.depth) == wanted).map(|row| row.accuracy);
        match (accuracy(layers), accuracy(u32::from(deepest))) {
            _ if depth == full => 1000,
            (Some(at), Some(best)) if best > 0.0 => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1000")]
                let kept = (at / best * 1000.0).clamp(0.0, 1000.0).round() as u16;
                kept
            }
            _ => 0,
        }
    }

    /// The table for the reward: quality of each of these depths.
    #[must_use]
    pub fn table(&self, depths: &[u16], full: u16) -> heapless::Vec<(u16, u16), MAX_VALUES> {
        depths.iter().map(|depth| (*depth, self.kept(*depth, full))).collect()
    }

    /// The smallest depth from which on every depth keeps at least `floor` thousandths.
    #[must_use]
    pub fn floor(&self, full: u16, floor: u16) -> u16 {
        let enough = |depth: &u16| self.kept(*depth, full) >= floor;
        (1..=full).rev().take_while(enough).last().unwrap_or(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quality(rows: &[(u16, f64)]) -> Quality {
        Quality { depths: rows.iter().map(|&(depth, accuracy)| Row { depth, accuracy }).collect() }
    }

    #[test]
    fn the_floor_is_below_every_good_depth() {
        let falling = quality(&[(12, 0.70), (13, 0.89), (14, 0.90), (15, 0.91), (16, 0.90)]);
        assert_eq!(falling.floor(16, 980), 13);
        assert_eq!(falling.kept(15, 16), 1000, "better than full depth is full quality");
        assert_eq!(falling.kept(9, 16), 0, "never measured");
        let longer = quality(&[(24, 0.70), (25, 0.87), (26, 0.89), (28, 0.90), (30, 0.91), (32, 0.90)]);
        assert_eq!(longer.floor(16, 980), 13, "26 of 32 layers");
        assert_eq!(longer.kept(12, 16), 778, "24 of 32 layers");
        let gap = quality(&[(12, 0.90), (13, 0.10), (16, 0.90)]);
        assert_eq!(gap.floor(16, 980), 16);
        assert_eq!(Quality::only_full_depth(16).floor(16, 980), 16);
    }
}
