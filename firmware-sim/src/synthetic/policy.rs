//! Policies of stated shapes with random weights, to measure what a decision costs. What they
//! decide means nothing.

use controller_core::action::ActionSpace;
use controller_core::observation::{Feature, FeatureRange};
use controller_core::policy::{EncodeError, Header, Heads, LayerShape, LayerValues, Provenance, encode};
use controller_core::reward::Variant;
use controller_core::rng::Pcg32;
use heapless::{String, Vec};

/// A shape whose cost is worth knowing, both with 5 features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Two hidden layers of 64, one head per knob for 11 + 11 clocks, 5 batch sizes, 8 depths and
    /// one fan duty, 36 logits: 6,720 products.
    Factored,
    /// Four hidden layers of 32, one head over 11 x 11 clocks, 6 batch sizes and 8 depths, the
    /// 5,808 actions of the published early-exit policy: 189,088 products.
    Joint,
}

impl Shape {
    /// All shapes.
    pub const ALL: [Self; 2] = [Self::Factored, Self::Joint];

    /// The widths, input to logits.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Factored => "5-64-64-36",
            Self::Joint => "5-32-32-32-32-5808",
        }
    }

    const fn hidden(self) -> &'static [u16] {
        match self {
            Self::Factored => &[64, 64],
            Self::Joint => &[32, 32, 32, 32],
        }
    }
}

/// Room to make a policy in. Some 800 KB: a microcontroller would keep it in static memory.
#[derive(Clone, Debug)]
pub struct Room {
    weights: [i16; Self::WEIGHTS],
    biases: [i32; Self::BIASES],
    image: [u8; Self::BYTES],
}

impl Room {
    /// All weights of the larger shape.
    const WEIGHTS: usize = 5 * 32 + 3 * 32 * 32 + 32 * 5808;
    /// All its biases.
    const BIASES: usize = 4 * 32 + 5808;
    /// Its image, with some to spare for the header.
    const BYTES: usize = 2 * Self::WEIGHTS + 4 * Self::BIASES + 4096;

    /// Empty room.
    #[must_use]
    #[expect(clippy::large_stack_arrays, reason = "there is no allocator here; the caller decides where it lies")]
    pub const fn new() -> Self {
        Self { weights: [0; Self::WEIGHTS], biases: [0; Self::BIASES], image: [0; Self::BYTES] }
    }

    /// Makes the image of a policy with this shape.
    ///
    /// # Errors
    /// None for the shapes above; the writer of images checks all the same.
    pub fn image(&mut self, shape: Shape, seed: u64) -> Result<&[u8], EncodeError> {
        let header = header(shape, seed)?;
        let mut rng = Pcg32::new(seed);
        let mut layers = Vec::<_, 8>::new();
        let (mut weights, mut biases) = (self.weights.as_mut_slice(), self.biases.as_mut_slice());
        let mut inputs = header.observation.len();
        for outputs in shape.hidden().iter().map(|&units| usize::from(units)).chain([header.logits()]) {
            let (layer_weights, rest) = weights.split_at_mut_checked(inputs * outputs).ok_or(EncodeError::Shape)?;
            weights = rest;
            let (layer_biases, rest) = biases.split_at_mut_checked(outputs).ok_or(EncodeError::Shape)?;
            biases = rest;
            layer_weights.fill_with(|| i16::try_from(rng.below(4_001)).unwrap_or(0) - 2_000);
            layer_biases.fill_with(|| i32::from(u16::try_from(rng.below(1 << 16)).unwrap_or(0)) << 8);
            let values = LayerValues { biases: layer_biases, weights: layer_weights };
            layers.push(values).map_err(|_| EncodeError::Shape)?;
            inputs = outputs;
        }
        let golden = [0; 5];
        let length = encode(&header, &layers, &[&golden], &mut self.image)?;
        self.image.get(..length).ok_or(EncodeError::BufferTooSmall)
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

fn header(shape: Shape, seed: u64) -> Result<Header, EncodeError> {
    let range = |feature, high| FeatureRange { feature, low: 0, high };
    let observation = [
        range(Feature::DecodeClock, 1_300_500),
        range(Feature::Queue, 64),
        range(Feature::OfferedLoad, 10_000),
        range(Feature::Temperature, 100_000),
        range(Feature::Depth, 16),
    ];
    let clocks: Vec<u32, 32> =
        [306_000, 408_000, 510_000, 612_000, 714_000, 816_000, 918_000, 1_020_000, 1_122_000, 1_224_000, 1_300_500]
            .into_iter()
            .collect();
    let text = |text: &str| String::try_from(text).map_err(|_| EncodeError::Shape);
    Ok(Header {
        name: text("synthetic")?,
        observation: Vec::from_slice(&observation).map_err(|_| EncodeError::Shape)?,
        actions: ActionSpace {
            prefill_khz: clocks.clone(),
            decode_khz: clocks,
            batch: match shape {
                Shape::Factored => [1, 7, 13, 19, 25].into_iter().collect(),
                Shape::Joint => [1, 7, 13, 19, 25, 31].into_iter().collect(),
            },
            depth: (9..=16).collect(),
            fan_pwm: [0].into_iter().collect(),
        },
        hidden: shape.hidden().iter().map(|&units| LayerShape { units, shift: 14 }).collect(),
        heads: match shape {
            Shape::Factored => Heads::Factored,
            Shape::Joint => Heads::Joint,
        },
        logit_bits: 20,
        reward: Variant::Service,
        provenance: Provenance {
            method: String::try_from("random").map_err(|_| EncodeError::Shape)?,
            environment: String::try_from("none").map_err(|_| EncodeError::Shape)?,
            seed,
            updates: 0,
        },
        goldens: 1,
    })
}
