//! Finding a good setting of an unknown board in few pulls.
//!
//! A prior over boards says how costs of different settings go together; every pull of one setting
//! then says something about all of them.
//!
//! | module | role |
//! |---|---|
//! | [`boards`] | boards as they could be, and what every setting would cost on them |
//! | [`belief`] | a joint Gaussian over the costs of all arms, conditioned on pulls |
//! | [`model_based`] | the search itself |
//! | [`commissioning`] | the search on a board, with a budget before and a confidence interval after |
//! | [`experiment`] | many searches of one replay, and their regret |
//! | [`figure`] | its figure |

pub mod belief;
pub mod boards;
pub mod commissioning;
pub mod experiment;
pub mod figure;
pub mod model_based;
