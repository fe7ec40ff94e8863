//! GRPO: group-relative policy optimization of the controller's policy, in floating point.
//!
//! Z. Shao et al., "`DeepSeekMath`: Pushing the Limits of Mathematical Reasoning in Open Language
//! Models", 2024, section 4. Here a *group* is a set of different actions tried from exactly the
//! same context: the simulated board is cloned, so the members differ in nothing but the action.
//!
//! | module | role |
//! |---|---|
//! | [`network`] | the multilayer perceptron, forward and backward |
//! | [`layer`] | one layer of it |
//! | [`categorical`] | one distribution over choices |
//! | [`heads`] | the policy's distributions: one per knob, or one over all actions |
//! | [`advantage`] | rewards of a group to advantages |
//! | [`group`] | which actions are compared, and what each counts |
//! | [`layout`] | what the policy looks at |
//! | [`loss`] | clipped ratio, divergence, entropy: value and gradient |
//! | [`optimizer`] | Adam |
//! | [`surroundings`] | rooms, loads and answers to train in |
//! | [`rollout`] | contexts in the simulator, and what actions are worth in them |
//! | `lane` | one of the contexts side by side, which can be lived through again |
//! | [`update`] | the update of a policy from groups |
//! | [`governor`] | a policy in floating point as a governor |
//! | [`trainer`] | training in the simulator, many contexts at once |
//! | [`online`] | training on one living board, nothing ever reset |
//! | [`checkpoint`] | what is saved |
//! | [`vector`] | loops for the widest instructions of this machine, with the same bits everywhere |

pub mod advantage;
pub mod categorical;
pub mod checkpoint;
pub mod governor;
pub mod group;
pub mod heads;
mod lane;
pub mod layer;
pub mod layout;
pub mod loss;
pub mod network;
pub mod online;
pub mod optimizer;
pub mod rollout;
pub mod surroundings;
pub mod trainer;
pub mod update;
pub mod vector;
