//! Small dense linear systems.

/// Rows of a square matrix.
pub type Matrix = Vec<Vec<f64>>;

/// Solves `matrix x = right` by elimination with row pivoting; `None` when it is singular to rounding.
#[must_use]
pub fn solve(mut matrix: Matrix, right: &[f64]) -> Option<Vec<f64>> {
    let count = matrix.len();
    let mut right = right.to_vec();
    for pivot in 0..count {
        let best = (pivot..count).max_by(|&a, &b| matrix[a][pivot].abs().total_cmp(&matrix[b][pivot].abs()))?;
        matrix.swap(pivot, best);
        right.swap(pivot, best);
        if matrix[pivot][pivot].abs() < 1e-13 {
            return None;
        }
        for row in pivot + 1..count {
            let factor = matrix[row][pivot] / matrix[pivot][pivot];
            let (above, below) = matrix.split_at_mut(row);
            for (cell, of_pivot) in below[0].iter_mut().zip(&above[pivot]).skip(pivot) {
                *cell -= factor * of_pivot;
            }
            right[row] -= factor * right[pivot];
        }
    }
    let mut solution = vec![0.0; count];
    for row in (0..count).rev() {
        let known: f64 = matrix[row].iter().zip(&solution).skip(row + 1).map(|(a, x)| a * x).sum();
        solution[row] = (right[row] - known) / matrix[row][row];
    }
    solution.iter().all(|value| value.is_finite()).then_some(solution)
}
