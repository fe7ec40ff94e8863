//! Governors side by side in closed loop on the simulated board.
//!
//! Every governor meets the same requests, noise and disturbances, seed by seed, under the supervisor. Answers have drawn
//! lengths; no language model runs.
//!
//! Two yardsticks see what no governor can: [`best_static`], the setting that would have been best for a
//! scenario, found by trying them on its first seeds; and the [`oracle`], which looks ahead from every turn.
//!
//! | module | role |
//! |---|---|
//! | [`scenario`] | what happens to the board |
//! | [`bench`](mod@bench) | a board at work under a governor |
//! | [`oracle`] | the best setting for every state, by looking ahead |
//! | [`best_static`] | the best setting in hindsight |
//! | [`compare`] | paired differences and what noise leaves of them |
//! | [`suite`] | all governors over all seeds |

pub mod bench;
pub mod best_static;
pub mod compare;
pub mod oracle;
pub mod scenario;
pub mod suite;
