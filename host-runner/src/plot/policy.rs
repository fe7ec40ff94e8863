//! A policy over its updates: loss, divergence from the reference and entropy, and the entropy of the model over the steps.

use super::training;
use crate::dataset::table::Table;
use crate::report::sheet::Sheet;
use crate::report::sheet::axis::Axis;
use crate::report::sheet::panel::Panel;

/// The figure. `steps` holds the model's entropy step by step, where the file itself does not.
#[must_use]
pub fn sheet(table: &Table, steps: Option<&Table>) -> Sheet {
    let window = (table.rows() / 5).clamp(1, 20);
    let over_updates = |title: &str, unit: &str, name: &str| {
        let points = table.points(&["update_step"], &[name]);
        Panel::new(title, Axis::new("update"), Axis::new(unit)).with_mean(
            &format!("moving average of {window} updates"),
            &points,
            window,
        )
    };
    let entropies = steps.unwrap_or(table).any(&["entropy", "model_entropy", "avg_entropy"]).unwrap_or_default();
    let entropies: Vec<(f64, f64)> =
        (0u32..).map(f64::from).zip(entropies.iter().copied()).filter(|(_, y)| y.is_finite()).collect();
    let steps_window = if entropies.len() > 50 { (entropies.len() / 10).min(100) } else { training::window(0) };
    let model = Panel::new("Model entropy at each step (lower: more confident)", Axis::new("step"), Axis::new("nats"))
        .with_mean(&format!("moving average of {steps_window} steps"), &entropies, steps_window)
        .or("the entropy of each step is in the training's own file; add it with --also");
    Sheet {
        title: "Policy over its training".to_owned(),
        columns: 2,
        panel_size: (560, 290),
        panels: vec![
            over_updates("Policy loss (lower is better)", "loss", "policy_loss"),
            over_updates("KL divergence from the reference policy (lower: closer)", "nats", "kl_divergence"),
            over_updates("Policy entropy (higher: more diverse)", "nats", "policy_entropy"),
            model,
        ],
        ..Sheet::default()
    }
}
