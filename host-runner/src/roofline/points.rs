//! Files of points: rows that ask for a prediction, or that hold a measurement to compare with. `docs/calibration.md` has
//! the columns.

use super::board::{Mode, Roofline, plain};
use super::model::{Quantization, Shape, parameters_of};
use super::predict::{Model, Prediction, predict};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What `tokens_per_s`, `power_w` and `tokens_per_j` of a row stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The whole request: answer tokens by prefill and decode together.
    Request,
    /// The decode alone, as llama-bench's `tg` and llama-server's `eval` print it.
    Decode,
}

/// What was measured, where it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Measured {
    /// Answer tokens per second.
    pub tokens_per_s: Option<f64>,
    /// Mean power, W.
    pub power_w: Option<f64>,
    /// Answer tokens per joule.
    pub tokens_per_j: Option<f64>,
    /// Prompt tokens per second.
    pub prefill_tokens_per_s: Option<f64>,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Line in the file, the header being 1.
    pub line: u64,
    /// Model as written.
    pub model: String,
    /// Parameters, embeddings included.
    pub parameters: f64,
    /// Quantization as written.
    pub quantization: String,
    /// Board as written.
    pub board: String,
    /// Power mode as written.
    pub power_mode: String,
    /// Clocks and cores, where the row gives its own.
    pub own_mode: Option<Mode>,
    /// Tokens of the prompt.
    pub prompt_tokens: f64,
    /// Tokens of the answer.
    pub output_tokens: f64,
    /// What the measured numbers stand for.
    pub phase: Phase,
    /// What was measured.
    pub measured: Measured,
    /// Shape and storage.
    pub load: Model,
    /// How much a fit trusts the row, 0 to 1.
    pub weight: f64,
}

/// Why a points file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PointsError {
    /// The file cannot be opened.
    #[error("cannot open the points {path}: {cause}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file is not CSV.
    #[error("the points are not a CSV table: {0}")]
    Csv(#[from] csv::Error),
    /// A column that must be there.
    #[error("the points need a column `{0}`; docs/calibration.md has the columns")]
    Column(&'static str),
    /// No rows.
    #[error("the points have a header and no rows; add a row per prediction")]
    Empty,
    /// A cell that says nothing usable.
    #[error("line {line}, column `{column}`: {reason}")]
    Cell {
        /// Line in the file.
        line: u64,
        /// Column.
        column: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

/// A point with what a board profile says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<'a> {
    /// The point.
    pub point: &'a Point,
    /// The prediction.
    pub prediction: Prediction,
}

impl Answer<'_> {
    /// Predicted tokens/s, W and tokens/J, in the meaning of the row.
    #[must_use]
    pub fn predicted(&self) -> Measured {
        let Prediction { decode_tokens_per_s, decode_power_w, decode_tokens_per_j, .. } = self.prediction;
        let (tokens_per_s, power_w, tokens_per_j) = match self.point.phase {
            Phase::Request => (self.prediction.tokens_per_s, self.prediction.power_w, self.prediction.tokens_per_j),
            Phase::Decode => (decode_tokens_per_s, decode_power_w, decode_tokens_per_j),
        };
        let asked = self.point.output_tokens > 0.0;
        Measured {
            tokens_per_s: asked.then_some(tokens_per_s),
            power_w: Some(power_w),
            tokens_per_j: asked.then_some(tokens_per_j),
            prefill_tokens_per_s: (self.point.prompt_tokens > 0.0).then_some(self.prediction.prefill_tokens_per_s),
        }
    }
}

impl Point {
    /// The mode of a board that this row means.
    ///
    /// # Errors
    /// A mode that the board does not have and whose clocks the row does not give.
    pub fn mode<'a>(&'a self, board: &'a Roofline) -> Result<&'a Mode, PointsError> {
        if let Some(mode) = &self.own_mode {
            return Ok(mode);
        }
        board.mode(&self.power_mode).map_err(|error| PointsError::Cell {
            line: self.line,
            column: "power_mode",
            reason: error.to_string(),
        })
    }

    /// The board among those known that this row means.
    ///
    /// # Errors
    /// None of them is called so.
    pub fn board<'a>(&self, boards: &'a [Roofline]) -> Result<&'a Roofline, PointsError> {
        boards.iter().find(|board| board.is_called(&self.board)).ok_or_else(|| {
            let known: Vec<&str> = boards.iter().flat_map(|board| &board.boards).map(String::as_str).collect();
            let reason = format!("no profile is called `{}`; known are {}", self.board, known.join(", "));
            PointsError::Cell { line: self.line, column: "board", reason }
        })
    }

    /// The prediction for this row.
    ///
    /// # Errors
    /// A board or a mode that nobody knows.
    pub fn answer(&self, boards: &[Roofline]) -> Result<Answer<'_>, PointsError> {
        let board = self.board(boards)?;
        let mode = self.mode(board)?;
        let prediction = predict(board, mode, &self.load, self.prompt_tokens, self.output_tokens);
        Ok(Answer { point: self, prediction })
    }

    /// What has to be equal for two rows to differ in the power mode alone.
    pub(super) fn workload(&self) -> String {
        let Self { model, quantization, board, prompt_tokens, output_tokens, phase, .. } = self;
        format!(
            "{}, {}, {}, prompt {prompt_tokens}, output {output_tokens}, {phase:?}",
            plain(model),
            plain(quantization),
            plain(board)
        )
    }
}

/// Reads a file of points.
///
/// # Errors
/// [`PointsError`]: absent, no CSV, a needed column missing, a cell that says nothing usable.
pub fn read(path: &std::path::Path) -> Result<Vec<Point>, PointsError> {
    let file = std::fs::File::open(path).map_err(|cause| PointsError::Open { path: path.to_owned(), cause })?;
    parse(file)
}

/// Names that a column may have; the first is the documented one.
const MODEL: &[&str] = &["model"];
const PARAMETERS: &[&str] = &["parameters", "params", "parameters_b", "params_b", "n_params"];
const QUANTIZATION: &[&str] = &["quantization_bits", "quantization", "bits", "quant", "quant_bits", "bits_per_weight"];
const BOARD: &[&str] = &["board", "device"];
const POWER_MODE: &[&str] = &["power_mode", "mode", "nvpmodel"];
const PROMPT: &[&str] = &["prompt_tokens", "prompt", "input_tokens"];
const OUTPUT: &[&str] = &["output_tokens", "output", "generated_tokens"];

/// A column's name in lower case, its words joined: `Quantization bits` is `quantization_bits`, `tokens/s` is `tokens_s`.
fn column(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("_")
}

/// Reads points from CSV with a header; lines that begin with `#` are comments.
///
/// # Errors
/// [`PointsError`].
pub fn parse(source: impl std::io::Read) -> Result<Vec<Point>, PointsError> {
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).flexible(true).from_reader(source);
    let header = reader.headers()?;
    let places: BTreeMap<String, usize> =
        header.iter().enumerate().map(|(place, name)| (column(name), place)).collect();
    for needed in [MODEL, PARAMETERS, QUANTIZATION, BOARD, POWER_MODE, PROMPT, OUTPUT] {
        if !needed.iter().any(|name| places.contains_key(*name)) {
            return Err(PointsError::Column(needed[0]));
        }
    }
    let mut points = Vec::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        points.push(Cells { places: &places, record: &record, line }.point()?);
    }
    if points.is_empty() { Err(PointsError::Empty) } else { Ok(points) }
}

/// Parameters of a model: a count, `1.24B`, `135M`, or, below ten thousand, billions.
///
/// # Errors
/// A sentence that says what would be right.
pub fn parameters(text: &str) -> Result<f64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (digits, unit) = match lower.as_bytes().last() {
        Some(b'b') => (lower.trim_end_matches('b'), Some(1e9)),
        Some(b'm') => (lower.trim_end_matches('m'), Some(1e6)),
        _ => (lower.as_str(), None),
    };
    let parsed = digits.trim().parse::<f64>().ok();
    let scale = |value: f64| value * unit.unwrap_or(if value < 1e4 { 1e9 } else { 1.0 });
    let wrong = || format!("`{text}` is no number of parameters; write 1236000000, 1.236B or 1.236");
    parsed.map(scale).filter(|count| (1e6..=1e13).contains(count)).ok_or_else(wrong)
}

struct Cells<'a> {
    places: &'a BTreeMap<String, usize>,
    record: &'a csv::StringRecord,
    line: u64,
}

impl Cells<'_> {
    fn text(&self, names: &[&'static str]) -> &str {
        names.iter().find_map(|name| self.record.get(*self.places.get(*name)?)).unwrap_or("")
    }

    fn needed(&self, names: &[&'static str]) -> Result<String, PointsError> {
        match self.text(names) {
            "" => Err(self.wrong(names[0], "is empty; fill it in")),
            text => Ok(text.to_owned()),
        }
    }

    fn wrong(&self, column: &'static str, reason: impl Into<String>) -> PointsError {
        PointsError::Cell { line: self.line, column, reason: reason.into() }
    }

    /// A number in a range; `None` for an empty cell or an absent column.
    fn number(&self, names: &[&'static str], low: f64, high: f64) -> Result<Option<f64>, PointsError> {
        let text = self.text(names);
        if text.is_empty() {
            return Ok(None);
        }
        match text.parse::<f64>() {
            Ok(value) if (low..=high).contains(&value) => Ok(Some(value)),
            _ => Err(self.wrong(names[0], format!("`{text}` is no number from {low} to {high}"))),
        }
    }

    fn point(&self) -> Result<Point, PointsError> {
        let model = self.needed(MODEL)?;
        let parameters = parameters_of(&model, self.parameters()?);
        let quantization = self.needed(QUANTIZATION)?;
        let storage =
            quantization.parse::<Quantization>().map_err(|error| self.wrong(QUANTIZATION[0], error.to_string()))?;
        let phase = match self.text(&["phase"]) {
            "" | "request" => Phase::Request,
            "decode" => Phase::Decode,
            other => return Err(self.wrong("phase", format!("`{other}` is neither `request` nor `decode`"))),
        };
        let tokens = |names| -> Result<f64, PointsError> {
            self.number(names, 0.0, 1e7)?.ok_or_else(|| self.wrong(names[0], "is empty; give a number of tokens"))
        };
        let (prompt_tokens, output_tokens) = (tokens(PROMPT)?, tokens(OUTPUT)?);
        if prompt_tokens + output_tokens <= 0.0 {
            return Err(self.wrong(OUTPUT[0], "the row has no tokens at all"));
        }
        let power_mode = self.needed(POWER_MODE)?;
        Ok(Point {
            line: self.line,
            load: Model { shape: self.shape(&model, parameters)?, parameters, quantization: storage },
            own_mode: self.own_mode(&power_mode)?,
            board: self.needed(BOARD)?,
            measured: self.measured()?,
            weight: self.number(&["weight"], 0.0, 1.0)?.unwrap_or(1.0),
            model,
            parameters,
            quantization,
            power_mode,
            prompt_tokens,
            output_tokens,
            phase,
        })
    }

    fn parameters(&self) -> Result<f64, PointsError> {
        parameters(&self.needed(PARAMETERS)?).map_err(|reason| self.wrong(PARAMETERS[0], reason))
    }

    fn shape(&self, model: &str, parameters: f64) -> Result<Shape, PointsError> {
        let mut shape = Shape::of(model, parameters);
        for (name, place, high) in [
            ("layers", &mut shape.layers, 1e4),
            ("width", &mut shape.width, 1e6),
            ("kv_width", &mut shape.kv_width, 1e6),
            ("vocabulary", &mut shape.vocabulary, 1e8),
        ] {
            if let Some(value) = self.number(&[name], 1.0, high)? {
                *place = value;
            }
        }
        Ok(shape)
    }

    fn own_mode(&self, name: &str) -> Result<Option<Mode>, PointsError> {
        let mhz = |column: &'static str| self.number(&[column], 10.0, 1e4);
        let (gpu, emc, cpu) = (mhz("gpu_mhz")?, mhz("emc_mhz")?, mhz("cpu_mhz")?);
        let multiprocessors = self.number(&["multiprocessors"], 1.0, 1024.0)?;
        match (gpu, emc, cpu, multiprocessors) {
            (Some(gpu), Some(emc), Some(cpu), Some(multiprocessors)) => Ok(Some(Mode {
                name: name.to_owned(),
                gpu_khz: gpu * 1e3,
                multiprocessors,
                emc_khz: emc * 1e3,
                cpu_khz: cpu * 1e3,
            })),
            (None, None, None, None) => Ok(None),
            _ => Err(self.wrong("gpu_mhz", "a mode of its own needs gpu_mhz, multiprocessors, emc_mhz and cpu_mhz")),
        }
    }

    fn measured(&self) -> Result<Measured, PointsError> {
        let of = |names: &[&'static str]| self.number(names, 1e-9, 1e9);
        let tokens_per_s = of(&["tokens_per_s", "measured_tokens_per_s", "tokens_s", "tok_s", "tokens_per_second"])?;
        let power_w = of(&["power_w", "measured_power_w", "w", "watts"])?;
        let by = tokens_per_s.zip(power_w).map(|(rate, watts)| rate / watts);
        Ok(Measured {
            tokens_per_s,
            power_w,
            tokens_per_j: of(&["tokens_per_j", "measured_tokens_per_j", "tokens_j", "tokens_per_joule"])?.or(by),
            prefill_tokens_per_s: of(&["prefill_tokens_per_s", "measured_prefill_tokens_per_s"])?,
        })
    }
}
