//! The policies of the published prototype: which tensors they have, what they look at, and what
//! their logits mean.
//!
//! Two forms exist. Both have hidden layers `features.0`, `features.2`, ... with `ReLU` and one head
//! `actor` over the whole action table, prefill clock outermost.
//!
//! | | training logs | early exit |
//! |---|---|---|
//! | state | p/10, d/10, (b-1)/31, (100-T)/60 | p/10, d/10, (b-1)/30, (95-T)/55, (L-9)/7 |
//! | actions | 11 · 11 · 32 batches | 11 · 11 · 6 batches · 8 depths |
//!
//! p and d are the indices of the last clocks, b and L the last batch and depth, T the temperature.
//! The fan was switched by a schedule, so the imported policy leaves it to the board. Below 20 °C the
//! headroom saturates here; the prototype's went on.

use super::torch::{Tensor, TorchError, read_file};
use crate::grpo::checkpoint::{Checkpoint, Content};
use crate::grpo::layout::INPUT_BITS;
use crate::grpo::network::{Layer, Network};
use controller_core::action::ActionSpace;
use controller_core::observation::{Feature, FeatureRange, ONE};
use controller_core::policy::Header;
use controller_core::reward::Variant;
use controller_core::rng::Pcg32;
use std::path::Path;

/// GPU clocks of the AGX Orin that the prototype ran on, kHz.
const CLOCKS_KHZ: [u32; 11] =
    [306_000, 408_000, 510_000, 612_000, 714_000, 816_000, 918_000, 1_020_000, 1_122_000, 1_224_000, 1_300_500];

/// Origin of an imported policy, as its image names it.
pub const ENVIRONMENT: &str = "published prototype";

/// Why tensors are no policy of the prototype.
#[derive(Debug, thiserror::Error)]
pub enum PrototypeError {
    /// The file is no checkpoint.
    #[error(transparent)]
    Torch(#[from] TorchError),
    /// A tensor is absent.
    #[error(
        "the checkpoint has no tensor {missing}; it has {present}. A policy has features.0, features.2, ... and actor"
    )]
    Missing {
        /// What is missing.
        missing: String,
        /// What is there.
        present: String,
    },
    /// A tensor that belongs to no known policy.
    #[error(
        "the checkpoint has a tensor {0} that a single-head policy has not; factored prototypes cannot be imported"
    )]
    Surplus(String),
    /// Sizes that do not fit together.
    #[error("{tensor} has shape {found:?}, but {expected:?} fits the layers around it")]
    Shape {
        /// Name of the tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that would do.
        expected: Vec<usize>,
    },
    /// A policy of another prototype.
    #[error(
        "a policy with {state} inputs and {actions} actions is unknown; known are 4 inputs with 3872 actions (training \
         logs) and 5 inputs with 5808 actions (early exit)"
    )]
    Unknown {
        /// Inputs of the network.
        state: usize,
        /// Logits of the network.
        actions: usize,
    },
}

/// One input of the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input {
    /// The feature that carries it.
    pub range: FeatureRange,
    /// The network's input at the low end of the range.
    pub at_low: f64,
    /// And at the high end.
    pub at_high: f64,
}

impl Input {
    const fn new(feature: Feature, low: i32, high: i32, at_low: f64, at_high: f64) -> Self {
        Self { range: FeatureRange { feature, low, high }, at_low, at_high }
    }

    /// Where an input of the network lies in its range: -1 at the low end, 1 at the high one.
    fn place(&self, state: f64) -> f64 {
        2.0 * (state - self.at_low) / (self.at_high - self.at_low) - 1.0
    }

    /// The normalized feature nearest to an input of the network.
    #[must_use]
    pub fn quantize(&self, state: f64) -> i16 {
        let one = f64::from(ONE);
        #[expect(clippy::cast_possible_truncation, reason = "clamped to 14 bits")]
        let nearest = (self.place(state) * one).round().clamp(-one, one) as i16;
        nearest
    }
}

/// What a policy of the prototype looks at and chooses from.
#[derive(Clone, Debug, PartialEq)]
pub struct Form {
    /// The network's inputs in order.
    pub inputs: Vec<Input>,
    /// The action table.
    pub actions: ActionSpace,
    /// The reward it was trained for.
    pub reward: Variant,
}

impl Form {
    /// The policies in the training and deployment logs.
    #[must_use]
    pub fn training_logs() -> Self {
        Self {
            inputs: vec![
                Input::new(Feature::PrefillIndex, 0, 10, 0.0, 1.0),
                Input::new(Feature::DecodeIndex, 0, 10, 0.0, 1.0),
                Input::new(Feature::BatchSize, 1, 32, 0.0, 1.0),
                Input::new(Feature::Temperature, 20_000, 100_000, 80.0 / 60.0, 0.0),
            ],
            actions: actions((1..=32).collect(), [16].into_iter().collect()),
            reward: Variant::Step,
        }
    }

    /// The policies of the early-exit code.
    #[must_use]
    pub fn early_exit() -> Self {
        Self {
            inputs: vec![
                Input::new(Feature::PrefillIndex, 0, 10, 0.0, 1.0),
                Input::new(Feature::DecodeIndex, 0, 10, 0.0, 1.0),
                Input::new(Feature::BatchSize, 1, 31, 0.0, 1.0),
                Input::new(Feature::Temperature, 20_000, 95_000, 75.0 / 55.0, 0.0),
                Input::new(Feature::Depth, 9, 16, 0.0, 1.0),
            ],
            actions: actions([1, 7, 13, 19, 25, 31].into_iter().collect(), (9..=16).collect()),
            reward: Variant::EarlyExit,
        }
    }

    /// The form of a network, by its size.
    pub fn of(network: &Network) -> Result<Self, PrototypeError> {
        let actions = network.layers.last().map_or(0, |layer| layer.biases.len());
        let state = network.inputs();
        [Self::training_logs(), Self::early_exit()]
            .into_iter()
            .find(|form| form.inputs.len() == state && form.actions.count() == actions)
            .ok_or(PrototypeError::Unknown { state, actions })
    }

    /// The form of an image that was imported; `None` for any other.
    #[must_use]
    pub fn of_image(header: &Header) -> Option<Self> {
        [Self::training_logs(), Self::early_exit()].into_iter().find(|form| {
            header.provenance.environment == ENVIRONMENT
                && header.actions == form.actions
                && header.observation.iter().eq(form.inputs.iter().map(|input| &input.range))
        })
    }

    /// The normalized observation nearest to a state of the prototype.
    #[must_use]
    pub fn observation(&self, state: &[f64]) -> Vec<i16> {
        self.inputs.iter().zip(state).map(|(input, value)| input.quantize(*value)).collect()
    }

    /// The same state as the input of [`Prototype::checkpoint`]'s network, not rounded.
    #[must_use]
    pub fn exact_input(&self, state: &[f64]) -> Vec<f64> {
        let unit = f64::from(ONE) / f64::from(1 << INPUT_BITS);
        self.inputs.iter().zip(state).map(|(input, value)| input.place(*value) * unit).collect()
    }

    /// Random observations over everything that the policy can meet: any last action, any temperature.
    #[must_use]
    pub fn sample(&self, count: usize, seed: u64) -> Vec<Vec<i16>> {
        let mut rng = Pcg32::new(seed);
        let mut raw = |range: &FeatureRange| {
            let span = u32::try_from(range.high - range.low).expect("the ranges above are not empty");
            range.low + i32::try_from(rng.below(span + 1)).expect("within the range")
        };
        let mut observation = || self.inputs.iter().map(|input| input.range.normalize(raw(&input.range))).collect();
        (0..count).map(|_| observation()).collect()
    }
}

fn actions(batch: heapless::Vec<u16, 32>, depth: heapless::Vec<u16, 32>) -> ActionSpace {
    let clocks: heapless::Vec<u32, 32> = CLOCKS_KHZ.into_iter().collect();
    ActionSpace { prefill_khz: clocks.clone(), decode_khz: clocks, batch, depth, fan_pwm: [0].into_iter().collect() }
}

/// A policy of the prototype.
#[derive(Clone, Debug, PartialEq)]
pub struct Prototype {
    /// The network on the prototype's own inputs.
    pub network: Network,
    /// What they mean.
    pub form: Form,
}

impl Prototype {
    /// Reads a checkpoint file.
    pub fn read(path: &Path) -> Result<Self, PrototypeError> {
        Self::of(&read_file(path)?)
    }

    /// Makes a policy of tensors.
    pub fn of(tensors: &[Tensor]) -> Result<Self, PrototypeError> {
        let network = network(tensors)?;
        Ok(Self { form: Form::of(&network)?, network })
    }

    /// The same policy on normalized observations, ready to be frozen. The mapping of the inputs is
    /// folded into the first layer.
    #[must_use]
    pub fn checkpoint(&self) -> Checkpoint {
        let mut network = self.network.clone();
        if let Some(first) = network.layers.first_mut() {
            fold(first, &self.form.inputs);
        }
        let observation = self.form.inputs.iter().map(|input| input.range).collect();
        let content = Content {
            environment: ENVIRONMENT.to_owned(),
            ..Content::untrained(observation, self.form.actions.clone(), self.form.reward)
        };
        Checkpoint::untrained(content, network)
    }
}

/// A normalized feature of ±8191 reads as ±8191/2^13 in our networks, a little less than ±1.
fn fold(layer: &mut Layer, inputs: &[Input]) {
    let unit = f64::from(1 << INPUT_BITS) / f64::from(ONE);
    for (row, bias) in layer.weights.chunks_exact_mut(layer.inputs).zip(&mut layer.biases) {
        for (weight, input) in row.iter_mut().zip(inputs) {
            let half = (input.at_high - input.at_low) / 2.0;
            *bias += *weight * (input.at_low + half);
            *weight *= half * unit;
        }
    }
}

/// The layers in order, each checked against the one before.
fn network(tensors: &[Tensor]) -> Result<Network, PrototypeError> {
    let find = |name: &str| {
        tensors.iter().find(|tensor| tensor.name == name).ok_or_else(|| PrototypeError::Missing {
            missing: name.to_owned(),
            present: tensors.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    };
    let hidden = (0..).step_by(2).map(|number| format!("features.{number}"));
    let hidden: Vec<String> = hidden
        .take_while(|layer| layer == "features.0" || tensors.iter().any(|t| t.name == format!("{layer}.weight")))
        .collect();
    let mut layers = Vec::new();
    let mut inputs = None;
    for layer in hidden.into_iter().chain(["actor".to_owned()]) {
        let (weight, bias) = (find(&format!("{layer}.weight"))?, find(&format!("{layer}.bias"))?);
        let shape = |tensor: &Tensor, expected: &[usize]| PrototypeError::Shape {
            tensor: tensor.name.clone(),
            found: tensor.shape.clone(),
            expected: expected.to_vec(),
        };
        let (rows, columns) = match *weight.shape {
            [rows, columns] if rows > 0 && columns > 0 => (rows, columns),
            _ => return Err(shape(weight, &[1, inputs.unwrap_or(1)])),
        };
        if let Some(expected) = inputs.filter(|expected| *expected != columns) {
            return Err(shape(weight, &[rows, expected]));
        }
        if bias.shape != [rows] {
            return Err(shape(bias, &[rows]));
        }
        layers.push(Layer { inputs: columns, weights: weight.values.clone(), biases: bias.values.clone() });
        inputs = Some(rows);
    }
    if tensors.len() != layers.len() * 2 {
        let known = |name: &str| name.starts_with("features.") || name == "actor.weight" || name == "actor.bias";
        let surplus = tensors.iter().find(|tensor| !known(&tensor.name)).or(tensors.last());
        return Err(PrototypeError::Surplus(surplus.map_or_else(String::new, |tensor| tensor.name.clone())));
    }
    Ok(Network { layers })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::grpo::layout::real_input;

    /// A random policy of this form with two hidden layers.
    pub(crate) fn tensors(form: &Form, hidden: usize, seed: u64) -> Vec<Tensor> {
        let mut rng = Pcg32::new(seed);
        // Multiples of 2^-10 are exact in f32.
        let mut values = |count: usize| (0..count).map(|_| (f64::from(rng.below(1601)) - 800.0) / 1024.0).collect();
        let mut inputs = form.inputs.len();
        let mut out = Vec::new();
        for (layer, outputs) in [("features.0", hidden), ("features.2", hidden), ("actor", form.actions.count())] {
            let tensor = |name: &str, shape: &[usize], values| Tensor {
                name: format!("{layer}.{name}"),
                shape: shape.to_vec(),
                values,
            };
            out.push(tensor("weight", &[outputs, inputs], values(outputs * inputs)));
            out.push(tensor("bias", &[outputs], values(outputs)));
            inputs = outputs;
        }
        out
    }

    #[test]
    fn folding_the_inputs_changes_nothing() {
        for form in [Form::training_logs(), Form::early_exit()] {
            let prototype = Prototype::of(&tensors(&form, 8, 3)).unwrap();
            assert_eq!(prototype.form, form);
            let checkpoint = prototype.checkpoint();
            for observation in form.sample(50, 1) {
                let state: Vec<f64> = form
                    .inputs
                    .iter()
                    .zip(&observation)
                    .map(|(input, x)| {
                        let share = f64::midpoint(f64::from(*x) / f64::from(ONE), 1.0);
                        input.at_low + share * (input.at_high - input.at_low)
                    })
                    .collect();
                assert_eq!(form.observation(&state), observation);
                let (own, folded) =
                    (prototype.network.forward(&state), checkpoint.network.forward(&real_input(&observation)));
                let worst = own.logits.iter().zip(&folded.logits).fold(0.0f64, |top, (a, b)| top.max((a - b).abs()));
                assert!(worst < 1e-12, "{worst}");
            }
        }
    }

    #[test]
    fn states_are_those_of_the_published_code() {
        let form = Form::training_logs();
        // After (2, 5, 32) at 72.118 °C.
        let telemetry = [2, 5, 32, 72_118];
        let state = [0.2, 0.5, 1.0, (100.0 - 72.118) / 60.0];
        let expected: Vec<i16> = form.inputs.iter().zip(telemetry).map(|(i, raw)| i.range.normalize(raw)).collect();
        let found = form.observation(&state);
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1), "{found:?} {expected:?}");
        assert_eq!(
            form.actions.index(controller_core::action::Action {
                prefill: 7,
                decode: 6,
                batch: 31,
                ..Default::default()
            }),
            Some(2687)
        );
        let early = Form::early_exit();
        let action = controller_core::action::Action { prefill: 1, decode: 2, batch: 3, depth: 4, fan: 0 };
        assert_eq!(early.actions.index(action), Some(528 + 2 * 48 + 3 * 8 + 4));
    }

    #[test]
    fn what_does_not_fit_is_explained() {
        let form = Form::training_logs();
        let broken = |change: fn(&mut Vec<Tensor>)| {
            let mut tensors = tensors(&form, 8, 1);
            change(&mut tensors);
            Prototype::of(&tensors).unwrap_err().to_string()
        };
        assert!(broken(|t| drop(t.remove(0))).contains("no tensor features.0.weight"));
        assert!(broken(|t| drop(t.remove(5))).contains("no tensor actor.bias"));
        assert!(broken(|t| t[2].shape = vec![4, 16]).contains("features.2.weight has shape [4, 16]"));
        assert!(broken(|t| t[3].shape = vec![1, 8]).contains("features.2.bias"));
        assert!(broken(|t| t[0].shape = vec![32]).contains("features.0.weight has shape [32]"));
        assert!(broken(|t| t.push(Tensor { name: "critic.weight".into(), ..t[0].clone() })).contains("critic.weight"));
        assert!(
            broken(|t| {
                t[4].shape = vec![3871, 8];
                t[5].shape = vec![3871];
                t[4].values.truncate(3871 * 8);
                t[5].values.truncate(3871);
            })
            .contains("3871 actions is unknown")
        );
    }
}
