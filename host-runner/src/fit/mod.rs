//! Nonlinear least squares with honest error bars: Levenberg (1944), Marquardt (1963), numeric Jacobian.
//!
//! Problems here have at most twenty parameters and some thousand residuals, so the normal equations are solved densely.
//! The columns are scaled to unit length first: what is then nearly singular is not identified by the data, whatever its
//! units, and is said so instead of being given a number with a meaningless interval.

mod solve;
mod student;

pub use solve::{Matrix, solve};
pub use student::t_quantile_975;

/// One parameter to fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Name as in the profile, with table: `decode.floor_s`.
    pub name: &'static str,
    /// Where the search begins.
    pub start: f64,
    /// Least and greatest value.
    pub range: (f64, f64),
}

/// One parameter as found.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// Half of the 95 % confidence interval; absent where the data do not identify it.
    pub half_width: Option<f64>,
    /// False: another value of it, with others moved along, fits as well. It keeps its value nonetheless.
    pub identified: bool,
}

impl Estimate {
    /// True value inside the 95 % interval? Never for a parameter that is not identified.
    #[must_use]
    pub fn covers(&self, truth: f64) -> bool {
        self.half_width.is_some_and(|half| (self.value - truth).abs() <= half)
    }
}

/// A finished fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// By parameter, in the order given.
    pub estimates: Vec<Estimate>,
    /// Residuals at the end.
    pub residuals: Vec<f64>,
    /// Their standard deviation, degrees of freedom taken off.
    pub residual_sd: f64,
    /// Degrees of freedom left.
    pub freedom: usize,
    /// Correlation of the two parameters that are hardest to tell apart, with their places.
    pub worst_pair: Option<(usize, usize, f64)>,
}

impl Fit {
    /// The values found.
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        self.estimates.iter().map(|estimate| estimate.value).collect()
    }

    /// Do the residuals of the true parameters lie in the joint 95 % region? The likelihood-ratio region of all parameters
    /// together; with many observations its bound is that of chi squared.
    #[must_use]
    pub fn region_covers(&self, residuals_at_truth: &[f64]) -> bool {
        let excess = square_sum(residuals_at_truth) - square_sum(&self.residuals);
        excess <= student::chi_squared_quantile_95(self.estimates.len()) * self.residual_sd * self.residual_sd
    }
}

/// Why nothing could be fitted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FitError {
    /// Fewer residuals than parameters.
    #[error("{residuals} residuals cannot fix {parameters} parameters; give more rows")]
    TooFew {
        /// How many residuals there are.
        residuals: usize,
        /// How many parameters.
        parameters: usize,
    },
    /// The model said something that is no number.
    #[error("the model is not finite at its start; check the start values and the data")]
    NotFinite,
}

/// Most steps; a well-posed problem needs ten to thirty.
const MAX_STEPS: usize = 200;
/// Relative fall of the cost below which nothing more is to be had.
const SETTLED: f64 = 1e-10;
/// Variance inflation above which a parameter counts as not identified: the others together say the same to a millionth.
const INFLATION_LIMIT: f64 = 1e6;

/// Minimizes the sum of squares of `model(parameters)`.
///
/// Residuals are expected to be of one size (relative errors, say); the intervals take their spread as the noise.
///
/// # Errors
/// Too few residuals, or a start where the model is not finite.
pub fn least_squares(parameters: &[Parameter], model: impl Fn(&[f64]) -> Vec<f64>) -> Result<Fit, FitError> {
    let clamp = |values: &mut [f64]| {
        for (value, parameter) in values.iter_mut().zip(parameters) {
            *value = value.clamp(parameter.range.0, parameter.range.1);
        }
    };
    let mut values: Vec<f64> = parameters.iter().map(|parameter| parameter.start).collect();
    clamp(&mut values);
    let mut residuals = model(&values);
    if residuals.len() < parameters.len() {
        return Err(FitError::TooFew { residuals: residuals.len(), parameters: parameters.len() });
    }
    let mut cost = square_sum(&residuals);
    if !cost.is_finite() {
        return Err(FitError::NotFinite);
    }
    let mut damping = 1e-3;
    'steps: for _ in 0..MAX_STEPS {
        let jacobian = jacobian(parameters, &values, &residuals, &model);
        loop {
            let Some(step) = damped_step(&jacobian, &residuals, damping) else { break 'steps };
            let mut trial: Vec<f64> = values.iter().zip(&step).map(|(value, step)| value - step).collect();
            clamp(&mut trial);
            let trial_residuals = model(&trial);
            let trial_cost = square_sum(&trial_residuals);
            if trial_cost < cost {
                let settled = cost - trial_cost <= SETTLED * cost;
                (values, residuals, cost) = (trial, trial_residuals, trial_cost);
                damping = (damping / 5.0).max(1e-12);
                if settled {
                    break 'steps;
                }
                break;
            }
            damping *= 4.0;
            if damping > 1e12 {
                break 'steps;
            }
        }
    }
    let jacobian = jacobian(parameters, &values, &residuals, &model);
    Ok(finish(parameters, &values, residuals, &jacobian))
}

/// Columns of central differences: `jacobian[parameter][residual]`. Steps that a range forbids become one-sided.
fn jacobian(
    parameters: &[Parameter],
    values: &[f64],
    residuals: &[f64],
    model: &impl Fn(&[f64]) -> Vec<f64>,
) -> Vec<Vec<f64>> {
    let column = |place: usize| {
        let (low, high) = parameters[place].range;
        let step = 1e-6 * values[place].abs().max(1e-3 * (high - low).abs().min(1.0)).max(1e-9);
        let at = |value: f64| {
            let mut moved = values.to_vec();
            moved[place] = value.clamp(low, high);
            (moved[place], model(&moved))
        };
        let ((below, left), (above, right)) = (at(values[place] - step), at(values[place] + step));
        let width = above - below;
        if width > 0.0 {
            left.iter().zip(&right).map(|(left, right)| (right - left) / width).collect()
        } else {
            vec![0.0; residuals.len()]
        }
    };
    (0..parameters.len()).map(column).collect()
}

/// `(J^T J + damping diag) step = J^T r`, columns scaled to unit length.
fn damped_step(jacobian: &[Vec<f64>], residuals: &[f64], damping: f64) -> Option<Vec<f64>> {
    // A column of zeros (a parameter that no residual sees) keeps its length: damping alone then holds it in place.
    let length = |column: &Vec<f64>| Some(square_sum(column).sqrt()).filter(|length| *length > 0.0).unwrap_or(1.0);
    let lengths: Vec<f64> = jacobian.iter().map(length).collect();
    let mut normal = scaled_normal(jacobian, &lengths);
    for (place, row) in normal.iter_mut().enumerate() {
        row[place] += damping;
    }
    let right: Vec<f64> = jacobian
        .iter()
        .zip(&lengths)
        .map(|(column, length)| column.iter().zip(residuals).map(|(a, b)| a * b).sum::<f64>() / length)
        .collect();
    let step = solve(normal, &right)?;
    Some(step.iter().zip(&lengths).map(|(step, length)| step / length).collect())
}

fn scaled_normal(jacobian: &[Vec<f64>], lengths: &[f64]) -> Matrix {
    let entry = |a: usize, b: usize| {
        let product: f64 = jacobian[a].iter().zip(&jacobian[b]).map(|(a, b)| a * b).sum();
        product / (lengths[a] * lengths[b])
    };
    (0..jacobian.len()).map(|a| (0..jacobian.len()).map(|b| entry(a, b)).collect()).collect()
}

fn finish(parameters: &[Parameter], values: &[f64], residuals: Vec<f64>, jacobian: &[Vec<f64>]) -> Fit {
    let count = parameters.len();
    let freedom = residuals.len().saturating_sub(count).max(1);
    let residual_sd = (square_sum(&residuals) / freedom as f64).sqrt();
    let lengths: Vec<f64> = jacobian.iter().map(|column| square_sum(column).sqrt()).collect();
    // A parameter that moves no residual, or that stands at the end of its range, is not the data's to tell.
    let free = |place: usize| {
        let (low, high) = parameters[place].range;
        let inside = (high - low) * 1e-9;
        lengths[place] > 0.0 && values[place] > low + inside && values[place] < high - inside
    };
    let places: Vec<usize> = (0..count).filter(|&place| free(place)).collect();
    let columns: Vec<Vec<f64>> = places.iter().map(|&place| jacobian[place].clone()).collect();
    let kept: Vec<f64> = places.iter().map(|&place| lengths[place]).collect();
    let normal = scaled_normal(&columns, &kept);
    // A breath of ridge keeps a singular problem solvable: its degenerate directions then have an inflation of 1e10.
    let mut ridged = normal;
    for (place, row) in ridged.iter_mut().enumerate() {
        row[place] += 1e-10;
    }
    let inverse = inverse(&ridged);
    let t = t_quantile_975(freedom);
    let estimates = (0..count)
        .map(|place| {
            let inflation =
                places.iter().position(|&kept| kept == place).and_then(|at| Some(inverse.as_ref()?[at][at]));
            let identified = inflation.is_some_and(|inflation| (0.0..=INFLATION_LIMIT).contains(&inflation));
            let half_width =
                inflation.filter(|_| identified).map(|inflation| t * residual_sd * inflation.sqrt() / lengths[place]);
            Estimate { name: parameters[place].name, value: values[place], half_width, identified }
        })
        .collect();
    let worst_pair = inverse.as_ref().and_then(|inverse| {
        let correlation = |a: usize, b: usize| inverse[a][b] / (inverse[a][a] * inverse[b][b]).sqrt();
        let pairs = (0..places.len()).flat_map(|a| (0..a).map(move |b| (b, a)));
        let pair = pairs.max_by(|x, y| correlation(x.0, x.1).abs().total_cmp(&correlation(y.0, y.1).abs()))?;
        Some((places[pair.0], places[pair.1], correlation(pair.0, pair.1)))
    });
    Fit { estimates, residuals, residual_sd, freedom, worst_pair }
}

/// The inverse, a column at a time; `None` when it is singular to rounding.
fn inverse(matrix: &Matrix) -> Option<Matrix> {
    let unit = |place: usize| (0..matrix.len()).map(|row| if row == place { 1.0 } else { 0.0 }).collect::<Vec<_>>();
    (0..matrix.len()).map(|place| solve(matrix.clone(), &unit(place))).collect()
}

fn square_sum(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

#[cfg(test)]
mod tests;
