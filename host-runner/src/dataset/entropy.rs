//! Synthetic depth and entropy for a grid that was run at full depth.
//!
//! The published study drew both columns from a rule of thumb: hot rows leave early, and who leaves early is unsure. The
//! rule and its numbers are those of the study (`add_synthetic_entropy_to_csv`); the random stream is ours. **Nothing of it
//! was measured**: in the published files these columns tell nothing about latency (correlation 0.004), and real entropies
//! do not depend on temperature. So every row says in [`FLAG`] which of its columns are synthetic.

use firmware_sim::plant::noise::Generator;

/// Depths that are drawn, fewest first.
pub const LAYERS: [u32; 7] = [4, 6, 8, 10, 12, 14, 16];
/// Columns that are added.
pub const COLUMNS: [&str; 2] = ["early_exit_layer", "avg_entropy"];
/// The column that flags them.
pub const FLAG: &str = "synthetic_columns";
/// What it holds.
pub const FLAGGED: &str = "early_exit_layer avg_entropy";

/// Up to here a row is cool, from there hot, °C; in between it is mixed.
const COOL_C: f64 = 70.0;
const HOT_C: f64 = 80.0;
/// Highest entropy, nats.
const HIGHEST_NATS: f64 = 9.0;

/// What the rule looks at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// °C.
    pub temperature_c: f64,
    /// s.
    pub latency_s: f64,
    /// Sequences.
    pub batch: f64,
}

/// Highest values of the file; the rule is relative to them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// °C.
    pub temperature_c: f64,
    /// s.
    pub latency_s: f64,
}

/// What is drawn for a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// Layers.
    pub layer: u32,
    /// Nats, to four decimals.
    pub entropy_nats: f64,
}

/// How warm a row is.
#[derive(Clone, Copy)]
enum Warmth {
    Cool,
    /// Share of the way from cool to hot.
    Mixed(f64),
    /// Share of the way from hot to the hottest row.
    Hot(f64),
}

impl Warmth {
    fn of(temperature_c: f64, hottest_c: f64) -> Self {
        if temperature_c < COOL_C {
            Self::Cool
        } else if temperature_c < HOT_C {
            Self::Mixed((temperature_c - COOL_C) / (HOT_C - COOL_C))
        } else if hottest_c > HOT_C {
            Self::Hot(((temperature_c - HOT_C) / (hottest_c - HOT_C)).clamp(0.0, 1.0))
        } else {
            Self::Hot(0.0)
        }
    }
}

/// Draws a depth and its entropy.
#[must_use]
pub fn draw(row: &Row, scale: &Scale, random: &mut Generator) -> Drawn {
    let weights = weights(Warmth::of(row.temperature_c, scale.temperature_c));
    let mut left = random.uniform() * weights.iter().sum::<f64>();
    let chosen = LAYERS.iter().zip(weights).find(|(_, weight)| {
        left -= weight;
        left < 0.0
    });
    at(row, scale, chosen.map_or(LAYERS[LAYERS.len() - 1], |(layer, _)| *layer), random)
}

/// Draws the entropy of a row at a given depth.
#[must_use]
pub fn at(row: &Row, scale: &Scale, layer: u32, random: &mut Generator) -> Drawn {
    let warmth = Warmth::of(row.temperature_c, scale.temperature_c);
    let share = f64::from(layer) / f64::from(LAYERS[LAYERS.len() - 1]);
    let (low, high) = match warmth {
        Warmth::Cool => (0.3, 3.0),
        Warmth::Mixed(s) => (0.3 + 0.5 * s, 3.0 + 5.33 * s),
        Warmth::Hot(u) => (0.8 + 0.2 * u, 8.33),
    };
    let heat = match warmth {
        Warmth::Cool => 0.3 * (row.temperature_c / COOL_C).powi(2) * (1.0 - 0.9 * share),
        Warmth::Mixed(s) => (0.3 + 1.2 * s) * (1.0 - 0.7 * share),
        Warmth::Hot(u) => (1.5 + 2.0 * u.powf(1.5)) * (1.0 - 0.5 * share),
    };
    let slowness = 1.5 * (row.latency_s / scale.latency_s).clamp(0.0, 1.0).powf(1.5) * (1.0 - 0.5 * share);
    let noise = (0.15 + 0.35 * (1.0 - share)) * random.normal();
    let entropy = low + (high - low) * (1.0 - share) + heat + slowness + noise + 0.01 * (row.batch - 1.0);
    Drawn { layer, entropy_nats: (entropy.clamp(0.0, HIGHEST_NATS) * 1e4).round() / 1e4 }
}

/// How likely each depth is, not normalized.
fn weights(warmth: Warmth) -> [f64; 7] {
    let last = LAYERS.len() - 1;
    std::array::from_fn(|place| {
        // 1 for the fewest layers, 0 for all.
        let early = 1.0 - place as f64 / last as f64;
        match warmth {
            Warmth::Cool => [0.001, 0.01, 0.1, 0.5, 2.0, 2.0, 20.0][place],
            Warmth::Mixed(s) if place == last => 5.0 - 4.0 * s,
            Warmth::Mixed(s) if place == 0 => 0.1 + 2.9 * s,
            Warmth::Mixed(s) => (1.0 - 0.5 * early) * (1.0 - s) + s * (1.0 + 2.0 * early),
            Warmth::Hot(_) if place == last => 0.1,
            Warmth::Hot(_) if place == 0 => 5.0,
            Warmth::Hot(_) => 1.0 + 2.0 * early,
        }
    })
}

/// A CSV file that gets the columns.
pub mod file {
    use super::{COLUMNS, FLAG, FLAGGED, LAYERS, Row, Scale, at, draw};
    use crate::dataset::table::{BATCH, LATENCY};
    use crate::input_file;
    use firmware_sim::plant::noise::Generator;
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    /// Why a file cannot get them.
    #[derive(Debug, thiserror::Error)]
    pub enum EntropyError {
        /// It cannot be read.
        #[error("cannot read the grid {path}: {source}; name a CSV file of a grid search")]
        Read {
            /// The file.
            path: PathBuf,
            /// The cause.
            source: std::io::Error,
        },
        /// It is not CSV.
        #[error("{path} is not a CSV table: {source}")]
        Csv {
            /// The file.
            path: PathBuf,
            /// The cause.
            source: csv::Error,
        },
        /// The rule needs more than it has.
        #[error("{path} has no column {column}, which the rule looks at")]
        Column {
            /// The file.
            path: PathBuf,
            /// The column, or its names.
            column: String,
        },
        /// A cell is no number.
        #[error("{path}, row {row}: {column} is '{cell}', not a finite number; mend or remove the row")]
        Cell {
            /// The file.
            path: PathBuf,
            /// From 1.
            row: usize,
            /// Its column.
            column: String,
            /// What stands there.
            cell: String,
        },
        /// A cell is a number that nothing measures.
        #[error("{path}, row {row}: {column} is {cell}, and must be {least}; mend or remove the row")]
        Range {
            /// The file.
            path: PathBuf,
            /// From 1.
            row: usize,
            /// Its column.
            column: String,
            /// What stands there.
            cell: f64,
            /// What would be right.
            least: &'static str,
        },
        /// It has depths and entropies that nobody marked as synthetic.
        #[error(
            "{path} has the columns early_exit_layer or avg_entropy already and does not flag them as synthetic; they \
             are not overwritten: remove them first"
        )]
        Measured {
            /// The file.
            path: PathBuf,
        },
        /// It has no rows.
        #[error("{path} holds no rows; give a grid with at least one")]
        Empty {
            /// The file.
            path: PathBuf,
        },
    }

    /// The file with its new columns, and what was drawn.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Synthesized {
        /// CSV.
        pub bytes: Vec<u8>,
        /// Rows, sum and sum of squares of the entropy, by depth.
        pub by_layer: BTreeMap<u32, (usize, f64, f64)>,
    }

    /// Reads a grid and adds the columns: one depth to each row, or with `expand` every depth to every row.
    pub fn synthesize(path: &Path, seed: u64, expand: bool) -> Result<Synthesized, EntropyError> {
        let text = input_file::read_text(path).map_err(|source| EntropyError::Read { path: path.into(), source })?;
        let wrong = |source| EntropyError::Csv { path: path.into(), source };
        let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
        let header = reader.headers().map_err(wrong)?.clone();
        let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().map_err(wrong)?;
        if records.is_empty() {
            return Err(EntropyError::Empty { path: path.into() });
        }
        let place = |names: &[&str]| header.iter().position(|column| names.contains(&column.trim()));
        let flag = place(&[FLAG]);
        let flagged = flag.is_some_and(|flag| records.iter().all(|record| record.get(flag) == Some(FLAGGED)));
        if place(&COLUMNS).is_some() && !flagged {
            return Err(EntropyError::Measured { path: path.into() });
        }
        let needed = |names: &[&str]| {
            place(names).ok_or_else(|| EntropyError::Column { path: path.into(), column: names.join(" or ") })
        };
        let columns = [needed(&["temperature"])?, needed(LATENCY)?, needed(BATCH)?];
        let number = |(row, record): (usize, &csv::StringRecord), column: usize| {
            let cell = record.get(column).unwrap_or_default().trim();
            cell.parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(|| EntropyError::Cell {
                path: path.into(),
                row: row + 1,
                column: header.get(column).unwrap_or_default().to_owned(),
                cell: cell.to_owned(),
            })
        };
        let mut rows = Vec::with_capacity(records.len());
        for at in records.iter().enumerate() {
            let [temperature, latency, batch] = columns;
            let row = Row {
                temperature_c: number(at, temperature)?,
                latency_s: number(at, latency)?,
                batch: number(at, batch)?,
            };
            for (column, cell, fits, least) in [
                (latency, row.latency_s, row.latency_s > 0.0, "above 0"),
                (batch, row.batch, row.batch >= 1.0, "1 or more"),
            ] {
                if !fits {
                    let column = header.get(column).unwrap_or_default().to_owned();
                    return Err(EntropyError::Range { path: path.into(), row: at.0 + 1, column, cell, least });
                }
            }
            rows.push(row);
        }
        let highest = |value: fn(&Row) -> f64| rows.iter().map(value).fold(f64::NEG_INFINITY, f64::max);
        let scale = Scale { temperature_c: highest(|row| row.temperature_c), latency_s: highest(|row| row.latency_s) };
        let kept: Vec<usize> =
            (0..header.len()).filter(|n| !header.get(*n).is_some_and(|c| c == FLAG || COLUMNS.contains(&c))).collect();

        let mut random = Generator::new(seed);
        let mut by_layer = BTreeMap::new();
        let mut writer = csv::Writer::from_writer(Vec::new());
        let of =
            |record: &csv::StringRecord| kept.iter().map(|n| record.get(*n).unwrap_or_default().to_owned()).collect();
        let mut names: Vec<String> = of(&header);
        names.extend(COLUMNS.into_iter().chain([FLAG]).map(str::to_owned));
        writer.write_record(&names).map_err(wrong)?;
        for (record, row) in records.iter().zip(&rows) {
            let drawn = if expand {
                LAYERS.iter().map(|layer| at(row, &scale, *layer, &mut random)).collect()
            } else {
                vec![draw(row, &scale, &mut random)]
            };
            for drawn in drawn {
                let entry: &mut (usize, f64, f64) = by_layer.entry(drawn.layer).or_default();
                *entry = (entry.0 + 1, entry.1 + drawn.entropy_nats, entry.2 + drawn.entropy_nats.powi(2));
                let mut cells: Vec<String> = of(record);
                cells.extend([drawn.layer.to_string(), drawn.entropy_nats.to_string(), FLAGGED.to_owned()]);
                writer.write_record(&cells).map_err(wrong)?;
            }
        }
        let bytes = writer.into_inner().map_err(|error| wrong(error.into_error().into()))?;
        Ok(Synthesized { bytes, by_layer })
    }
}

#[cfg(test)]
mod tests {
    use super::file::{EntropyError, synthesize};
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid.csv");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn what_nothing_measures_is_refused() {
        for (row, name) in [("70,0,4", "latency"), ("70,-1,4", "latency"), ("70,4,0", "effective_batch_size")] {
            let (_folder, path) = written(&format!("temperature,latency,effective_batch_size\n60,4,1\n{row}\n"));
            let refused = synthesize(&path, 1, false).unwrap_err();
            assert!(
                matches!(refused, EntropyError::Range { row: 2, .. }) && refused.to_string().contains(name),
                "{refused}"
            );
        }
    }

    #[test]
    fn one_seed_gives_one_file_and_says_what_is_synthetic() {
        let rows: Vec<String> = (0..200).map(|i| format!("{},{},{}\n", 60 + i % 40, 4 + i % 5, 1 + i % 32)).collect();
        let rows = rows.concat();
        let (_folder, path) = written(&format!("temperature,latency,effective_batch_size\n{rows}"));
        let (one, two) = (synthesize(&path, 42, false).unwrap(), synthesize(&path, 42, false).unwrap());
        assert_eq!(one, two);
        assert_ne!(one.bytes, synthesize(&path, 43, false).unwrap().bytes);
        let text = String::from_utf8(one.bytes.clone()).unwrap();
        let mut lines = text.lines();
        assert_eq!(
            lines.next().unwrap(),
            "temperature,latency,effective_batch_size,early_exit_layer,avg_entropy,synthetic_columns"
        );
        assert!(lines.all(|line| line.ends_with(FLAGGED)));
        // Flagged columns are drawn anew, and nothing else changes.
        std::fs::write(&path, &one.bytes).unwrap();
        assert_eq!(synthesize(&path, 42, false).unwrap().bytes, one.bytes);
        let all = synthesize(&path, 1, true).unwrap();
        assert!(all.by_layer.values().all(|(rows, _, _)| *rows == 200));
    }

    #[test]
    fn measured_columns_and_bad_cells_are_refused() {
        let (_folder, path) = written("temperature,latency,batch,avg_entropy\n60,4,1,0.9\n");
        assert!(matches!(synthesize(&path, 1, false), Err(EntropyError::Measured { .. })));
        let (_folder, path) = written("temperature,latency,batch\n60,,1\n");
        assert!(matches!(synthesize(&path, 1, false), Err(EntropyError::Cell { row: 1, .. })));
        let (_folder, path) = written("temperature,batch\n60,1\n");
        assert!(matches!(synthesize(&path, 1, false), Err(EntropyError::Column { .. })));
        let (_folder, path) = written("temperature,latency,batch\n");
        assert!(matches!(synthesize(&path, 1, false), Err(EntropyError::Empty { .. })));
    }

    #[test]
    fn a_row_worked_by_hand() {
        // Cool, 16 of 16 layers: base 0.3, heat 0.3 (0.1), slowness 1.5 (0.5), batch 0.31; noise comes off again.
        let row = Row { temperature_c: 69.999_999_9, latency_s: 5.0, batch: 32.0 };
        let scale = Scale { temperature_c: 90.0, latency_s: 5.0 };
        let mut random = Generator::new(9);
        let noise = 0.15 * random.clone().normal();
        let drawn = at(&row, &scale, 16, &mut random);
        assert!((drawn.entropy_nats - (0.3 + 0.03 + 0.75 + 0.31 + noise)).abs() < 1e-4, "{drawn:?}");
    }

    proptest! {
        #[test]
        fn hot_rows_leave_earlier_and_entropy_stays_in_range(seed in 0u64..1000, t in 20.0..110.0f64) {
            let scale = Scale { temperature_c: 110.0, latency_s: 10.0 };
            let row = Row { temperature_c: t, latency_s: 5.0, batch: 16.0 };
            let mut random = Generator::new(seed);
            let layers: Vec<Drawn> = (0..200).map(|_| draw(&row, &scale, &mut random)).collect();
            prop_assert!(layers.iter().all(|d| (0.0..=9.0).contains(&d.entropy_nats) && LAYERS.contains(&d.layer)));
            let mean = layers.iter().map(|d| f64::from(d.layer)).sum::<f64>() / 200.0;
            prop_assert!(if t < 70.0 { mean > 13.5 } else if t >= 80.0 { mean < 10.0 } else { true }, "{mean}");
        }
    }
}
