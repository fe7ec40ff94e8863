use super::*;
use firmware_sim::plant::noise::Generator;
use proptest::prelude::*;

fn parameter(name: &'static str, start: f64, range: (f64, f64)) -> Parameter {
    Parameter { name, start, range }
}

fn line_data(slope: f64, offset: f64, sd: f64, seed: u64) -> Vec<(f64, f64)> {
    let mut generator = Generator::new(seed);
    (0..60).map(|i| f64::from(i) / 10.0).map(|x| (x, offset + slope * x + sd * generator.normal())).collect()
}

fn fit_line(data: &[(f64, f64)]) -> Fit {
    let parameters = [parameter("offset", 0.0, (-1e3, 1e3)), parameter("slope", 0.0, (-1e3, 1e3))];
    least_squares(&parameters, |p| data.iter().map(|(x, y)| p[0] + p[1] * x - y).collect()).unwrap()
}

/// Textbook formulas of a straight line, written independently.
#[test]
fn a_line_has_the_textbook_estimates_and_errors() {
    let data = line_data(0.7, -2.0, 0.3, 5);
    let fit = fit_line(&data);
    let n = data.len() as f64;
    let (mx, my) = (data.iter().map(|d| d.0).sum::<f64>() / n, data.iter().map(|d| d.1).sum::<f64>() / n);
    let sxx: f64 = data.iter().map(|d| (d.0 - mx).powi(2)).sum();
    let slope = data.iter().map(|d| (d.0 - mx) * (d.1 - my)).sum::<f64>() / sxx;
    let offset = my - slope * mx;
    let s2 = data.iter().map(|d| (d.1 - offset - slope * d.0).powi(2)).sum::<f64>() / (n - 2.0);
    assert!((fit.estimates[1].value - slope).abs() < 1e-7 && (fit.estimates[0].value - offset).abs() < 1e-7);
    let expected = t_quantile_975(58) * (s2 / sxx).sqrt();
    assert!((fit.estimates[1].half_width.unwrap() / expected - 1.0).abs() < 1e-5);
}

#[test]
fn the_interval_covers_the_truth_as_often_as_it_says() {
    let covered = (0..400).filter(|&seed| fit_line(&line_data(0.7, -2.0, 0.3, seed)).estimates[1].covers(0.7)).count();
    assert!((365..=395).contains(&covered), "{covered} of 400, 380 expected");
}

#[test]
fn a_curve_far_from_its_start_is_found() {
    let data: Vec<(f64, f64)> = (1..40).map(f64::from).map(|x| (x, 5.0 * (-x / 7.0).exp() + 0.5)).collect();
    let parameters = [
        parameter("height", 1.0, (0.0, 100.0)),
        parameter("time", 1.0, (0.1, 100.0)),
        parameter("rest", 0.0, (-9.0, 9.0)),
    ];
    let fit = least_squares(&parameters, |p| data.iter().map(|(x, y)| p[0] * (-x / p[1]).exp() + p[2] - y).collect())
        .unwrap();
    for (estimate, truth) in fit.estimates.iter().zip([5.0, 7.0, 0.5]) {
        assert!((estimate.value - truth).abs() < 1e-5, "{estimate:?}");
    }
}

#[test]
fn what_the_data_cannot_tell_is_said() {
    let data = line_data(0.7, -2.0, 0.1, 1);
    let parameters = [
        parameter("offset", 0.0, (-1e3, 1e3)),
        parameter("half", 0.3, (-1e3, 1e3)),
        parameter("other half", 0.3, (-1e3, 1e3)),
        parameter("unused", 3.0, (0.0, 9.0)),
    ];
    let model = |p: &[f64]| data.iter().map(|(x, y)| p[0] + (p[1] + p[2]) * x - y).collect();
    let fit = least_squares(&parameters, model).unwrap();
    let identified: Vec<bool> = fit.estimates.iter().map(|estimate| estimate.identified).collect();
    assert_eq!(identified, [true, false, false, false]);
    assert!((fit.estimates[1].value + fit.estimates[2].value - 0.7).abs() < 0.1);
    assert!(fit.estimates[3].half_width.is_none() && (fit.estimates[3].value - 3.0).abs() < 1e-9);
}

#[test]
fn too_little_data_and_nonsense_are_refused() {
    let parameters = [parameter("a", 0.0, (-1.0, 1.0)), parameter("b", 0.0, (-1.0, 1.0))];
    let error = least_squares(&parameters, |p| vec![p[0]]).unwrap_err();
    assert_eq!(error, FitError::TooFew { residuals: 1, parameters: 2 });
    assert_eq!(least_squares(&parameters, |_| vec![f64::NAN; 3]).unwrap_err(), FitError::NotFinite);
}

/// Percentiles as tabled by Fisher and Yates.
#[test]
fn students_t_is_as_tabled() {
    for (freedom, tabled) in [(1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042), (120, 1.980)] {
        assert!((t_quantile_975(freedom) / tabled - 1.0).abs() < 2e-3, "{freedom}: {}", t_quantile_975(freedom));
    }
}

#[test]
fn chi_squared_is_as_tabled() {
    for (freedom, tabled) in [(1, 3.841), (2, 5.991), (6, 12.592), (12, 21.026), (20, 31.410)] {
        let found = student::chi_squared_quantile_95(freedom);
        assert!((found / tabled - 1.0).abs() < 0.025, "{freedom}: {found}");
    }
}

proptest! {
    #[test]
    fn solving_undoes_multiplying(cells in prop::collection::vec(-5.0..5.0f64, 16), x in prop::collection::vec(-9.0..9.0f64, 4)) {
        let mut matrix: Matrix = cells.chunks(4).map(<[f64]>::to_vec).collect();
        for (place, row) in matrix.iter_mut().enumerate() {
            row[place] += 25.0;
        }
        let right: Vec<f64> = matrix.iter().map(|row| row.iter().zip(&x).map(|(a, b)| a * b).sum()).collect();
        let found = solve(matrix, &right).unwrap();
        for (found, x) in found.iter().zip(&x) {
            prop_assert!((found - x).abs() < 1e-9);
        }
    }
}
