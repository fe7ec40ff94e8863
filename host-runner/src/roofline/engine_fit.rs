//! The engine's numbers from measured points: `energyllm calibrate --from-llama-bench`.
//!
//! What is fitted: the share of the memory bandwidth that is attained, the small kernels of a layer, the cost of a weight by
//! quantization, the rate of the prefill, and for each board its idle power. The clocks, cores and bus widths come from
//! the boards' data sheets and are not fitted, nor is the power law of the GPU, which the published grid fixes.

use super::board::{Engine, Roofline, plain};
use super::points::{Measured, Phase, Point, PointsError};
use super::predict::predict;
use crate::fit::{Estimate, Fit, FitError, Parameter, least_squares};
use std::collections::BTreeSet;

/// Rows of one board and mode, predicted by a fit to all others.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldOut {
    /// The board.
    pub board: String,
    /// The mode.
    pub power_mode: String,
    /// Relative errors of tokens/s, W and prefill tokens/s.
    pub errors: [Vec<f64>; 3],
}

/// A fitted engine.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineFit {
    /// The boards with what was found.
    pub boards: Vec<Roofline>,
    /// Values, intervals, residuals; a value is a factor on the start value, but for the bandwidth share.
    pub fit: Fit,
    /// Each board and mode held out once.
    pub held_out: Vec<HeldOut>,
}

/// Why no engine could be fitted.
#[derive(Debug, thiserror::Error)]
pub enum EngineFitError {
    /// A row that no board explains.
    #[error(transparent)]
    Points(#[from] PointsError),
    /// The fit failed.
    #[error("cannot fit the engine: {0}")]
    Fit(#[from] FitError),
    /// No row has a measurement.
    #[error("no row has a measured column (tokens_per_s, prefill_tokens_per_s or power_w); add at least six")]
    NothingMeasured,
}

/// Fits, and then holds out each board and mode in turn.
///
/// All boards get the same engine, that of the first one as the start.
///
/// # Errors
/// [`EngineFitError`].
pub fn fit_engine(points: &[Point], boards: &[Roofline]) -> Result<EngineFit, EngineFitError> {
    let all: Vec<&Point> = points.iter().collect();
    let (fit, fitted) = fit_rows(&all, boards)?;
    let places: BTreeSet<(String, String)> =
        points.iter().map(|point| (plain(&point.board), plain(&point.power_mode))).collect();
    let mut held_out = Vec::new();
    for (board, mode) in places {
        let of_place = |point: &&&Point| plain(&point.board) == board && plain(&point.power_mode) == mode;
        let kept: Vec<&Point> = all.iter().filter(|point| !of_place(point)).copied().collect();
        let held: Vec<&Point> = all.iter().filter(of_place).copied().collect();
        let Ok((_, others)) = fit_rows(&kept, boards) else { continue };
        let mut errors = [Vec::new(), Vec::new(), Vec::new()];
        for point in &held {
            for (errors, (predicted, measured)) in errors.iter_mut().zip(pairs(point, &others)?) {
                errors.extend(predicted.zip(measured).map(|(predicted, measured)| predicted / measured - 1.0));
            }
        }
        if let Some(first) = held.first() {
            held_out.push(HeldOut { board: first.board.clone(), power_mode: first.power_mode.clone(), errors });
        }
    }
    Ok(EngineFit { boards: fitted, fit, held_out })
}

/// A predicted and a measured number.
type Pair = (Option<f64>, Option<f64>);

/// Of tokens/s, W and prefill tokens/s.
fn pairs(point: &Point, boards: &[Roofline]) -> Result<[Pair; 3], PointsError> {
    let board = point.board(boards)?;
    let prediction = predict(board, point.mode(board)?, &point.load, point.prompt_tokens, point.output_tokens);
    let (rate, watts) = match point.phase {
        Phase::Request => (prediction.tokens_per_s, prediction.power_w),
        Phase::Decode => (prediction.decode_tokens_per_s, prediction.decode_power_w),
    };
    let Measured { tokens_per_s, power_w, prefill_tokens_per_s, .. } = point.measured;
    let prefill = (point.prompt_tokens > 0.0).then_some(prediction.prefill_tokens_per_s);
    Ok([(Some(rate), tokens_per_s), (Some(watts), power_w), (prefill, prefill_tokens_per_s)])
}

fn fit_rows(points: &[&Point], boards: &[Roofline]) -> Result<(Fit, Vec<Roofline>), EngineFitError> {
    for point in points {
        pairs(point, boards)?;
    }
    let engine = boards.first().map(|board| board.engine.clone()).ok_or(EngineFitError::NothingMeasured)?;
    let parameters = parameters(&engine, boards.len());
    let model = |values: &[f64]| -> Vec<f64> {
        let boards = apply(values, &engine, boards);
        let residuals = |point: &&Point| {
            let pairs = pairs(point, &boards).expect("tried before");
            let weight = point.weight;
            pairs
                .into_iter()
                .filter_map(move |(predicted, measured)| Some(weight * (predicted? / measured?).ln()))
                .collect::<Vec<_>>()
        };
        points.iter().flat_map(residuals).collect()
    };
    if model(&parameters.iter().map(|parameter| parameter.start).collect::<Vec<_>>()).is_empty() {
        return Err(EngineFitError::NothingMeasured);
    }
    // Intervals and what is identified come from the points alone; the values that are kept are held to their start, so that
    // twenty points of other people's boards do not move ten numbers at will.
    let fit = least_squares(&parameters, model)?;
    let held = least_squares(&parameters, |values| {
        let priors = values.iter().zip(&parameters).map(|(value, parameter)| PRIOR * (value / parameter.start).ln());
        model(values).into_iter().chain(priors).collect()
    })?;
    let fitted = apply(&held.values(), &engine, boards);
    let estimates =
        fit.estimates.iter().zip(held.values()).map(|(of_points, value)| Estimate { value, ..of_points.clone() });
    Ok((Fit { estimates: estimates.collect(), ..fit }, fitted))
}

/// Weight of the start values: a factor of 1.3 costs as much as one trusted row that is 10 % off.
const PRIOR: f64 = 0.38;

/// Names of the factors, for up to six quantizations and four boards.
const CYCLES: [&str; 6] =
    ["cycles factor 1", "cycles factor 2", "cycles factor 3", "cycles factor 4", "cycles factor 5", "cycles factor 6"];
const IDLE: [&str; 4] = ["idle factor 1", "idle factor 2", "idle factor 3", "idle factor 4"];

fn parameters(engine: &Engine, boards: usize) -> Vec<Parameter> {
    let factor = |name| Parameter { name, start: 1.0, range: (0.2, 5.0) };
    let mut parameters =
        vec![Parameter { name: "memory_efficiency", start: engine.memory_efficiency, range: (0.3, 0.95) }];
    parameters.extend(["layer factor", "prefill rate factor"].map(factor));
    parameters.extend(CYCLES.iter().take(engine.kernels.len()).map(|name| factor(name)));
    parameters.extend(IDLE.iter().take(boards).map(|name| factor(name)));
    parameters
}

fn apply(values: &[f64], engine: &Engine, boards: &[Roofline]) -> Vec<Roofline> {
    let mut engine = engine.clone();
    engine.memory_efficiency = values[0];
    engine.layer_s_ghz *= values[1];
    for (kernel, factor) in engine.kernels.iter_mut().zip(&values[3..]) {
        kernel.decode_cycles *= factor;
    }
    for kernel in &mut engine.kernels {
        kernel.prefill_flop_per_cycle *= values[2];
    }
    let idle = &values[3 + CYCLES.len().min(engine.kernels.len())..];
    let with = |(board, factor): (&Roofline, &f64)| {
        let mut board = board.clone();
        board.engine = engine.clone();
        board.power.idle_w *= factor;
        board
    };
    boards.iter().zip(idle).map(with).collect()
}
