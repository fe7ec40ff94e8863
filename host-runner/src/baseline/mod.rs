//! What any search for a good setting has to beat: bandits that know nothing of the board.
//!
//! All of them minimize an unknown cost over a finite set of arms and are told the noise of a pull.
//!
//! | module | algorithm |
//! |---|---|
//! | [`gaussian_ts`] | Thompson sampling with one Gaussian per arm, as in Camel |
//! | [`lin_ucb`] | confidence bounds of a linear model of seven features, as in AGFT |
//! | [`lin_ts`] | Thompson sampling of the same model |
//! | [`square_cb`] | inverse-gap weighting of the same model |
//! | [`grid_search`] | every arm once, then the best, with or without further exploring |
//! | [`random`] | any arm at any time |
//! | [`ridge`] | the linear model itself |

pub mod gaussian_ts;
pub mod grid_search;
pub mod lin_ts;
pub mod lin_ucb;
pub mod random;
pub mod ridge;
pub mod square_cb;

use firmware_sim::plant::noise::Generator;

/// Chooses arms and learns from what they cost.
pub trait Bandit {
    /// The arm to pull next.
    fn choose(&mut self, random: &mut Generator) -> usize;

    /// Takes in what a pull of an arm cost.
    fn learn(&mut self, arm: usize, cost: f64);

    /// The arm that is thought best now.
    fn recommend(&self) -> usize;
}

/// One of `count` indices, all equally likely.
fn any(count: usize, random: &mut Generator) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below the count")]
    let index = (random.uniform() * count as f64) as usize;
    index
}
