//! Loops over numbers, compiled for several instruction sets, of which the best that this machine has is chosen at run
//! time. Wider instructions do the same operations on more numbers at once, so every machine gets the same bits.

#![expect(clippy::inline_always, reason = "loops must be compiled with the instruction set that was chosen")]

/// 1.5·2^52: adding it rounds a number below 2^51 to an integer, in the low bits of the sum.
const MAGIC: f64 = 6_755_399_441_055_744.0;

/// A loop. Small ones are closures; large ones are types of their own whose `run` is always inlined, since what is
/// not inlined is compiled for the oldest machine.
pub trait Wide {
    /// What it returns.
    type Output;

    /// Runs it.
    fn run(self) -> Self::Output;
}

impl<R, F: FnOnce() -> R> Wide for F {
    type Output = R;

    #[inline(always)]
    fn run(self) -> R {
        self()
    }
}

/// Hands a loop to `pulp`.
struct Dispatched<W>(W);

impl<W: Wide> pulp::WithSimd for Dispatched<W> {
    type Output = W::Output;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> W::Output {
        self.0.run()
    }
}

/// Runs a loop with the widest vectors of this machine.
pub fn wide<W: Wide>(work: W) -> W::Output {
    pulp::Arch::new().dispatch(Dispatched(work))
}

/// The largest value; negative infinity for none.
#[must_use]
pub fn largest(values: &[f64]) -> f64 {
    wide(|| {
        let mut lanes = [f64::NEG_INFINITY; 16];
        let (chunks, rest) = values.as_chunks::<16>();
        for chunk in chunks {
            for (lane, value) in lanes.iter_mut().zip(chunk) {
                *lane = if *value > *lane { *value } else { *lane };
            }
        }
        lanes.iter().chain(rest).copied().fold(f64::NEG_INFINITY, f64::max)
    })
}

/// Replaces every number by its exponential, with the very bits of [`libm::exp`], which takes several times as long.
pub fn exponentials(values: &mut [f64]) {
    // Beyond, results are subnormal, zero or infinite.
    let ordinary = wide(|| values.iter().fold(true, |all, x| all & (x.abs() < 700.0)));
    if ordinary {
        wide(|| values.iter_mut().for_each(|x| *x = exponential(*x)));
    } else {
        for x in values {
            *x = libm::exp(*x);
        }
    }
}

/// `e^x` for `|x| < 700`: the method of FreeBSD's `e_exp.c` (Sun Microsystems, 2004), operation by operation, without its
/// branches. `x = k·ln 2 + r`, `e^r = 1 + r + r·c/(2 - c)` with a polynomial `c(r)`.
#[inline(always)]
fn exponential(x: f64) -> f64 {
    const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LN2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
    const INVERSE_LN2: f64 = f64::from_bits(0x3ff7_1547_652b_82fe);
    const P: [f64; 5] = [
        f64::from_bits(0x3fc5_5555_5555_553e),
        f64::from_bits(0xbf66_c16c_16be_bd93),
        f64::from_bits(0x3f11_566a_af25_de2c),
        f64::from_bits(0xbebb_bd41_c5d2_6bf1),
        f64::from_bits(0x3e66_3769_72be_a4d0),
    ];
    // The high words that the original compares with: 1/2 ln 2, 3/2 ln 2 and 2^-28.
    const HALF_LN2: f64 = f64::from_bits(0x3fd6_2e43_0000_0000);
    const THREE_HALVES_LN2: f64 = f64::from_bits(0x3ff0_a2b2_0000_0000);
    const TINY: f64 = f64::from_bits(0x3e30_0001_0000_0000);

    let magnitude = x.abs();
    let shifted = INVERSE_LN2 * x + 0.5f64.copysign(x);
    // Towards zero: to nearest, then back by one where that went outwards.
    let nearest = (shifted + MAGIC) - MAGIC;
    let outwards = if nearest.abs() > shifted.abs() { 1f64.copysign(shifted) } else { 0.0 };
    let far = nearest - outwards;
    let near = if magnitude >= HALF_LN2 { 1f64.copysign(x) } else { 0.0 };
    let k = if magnitude >= THREE_HALVES_LN2 { far } else { near };

    let high = x - k * LN2_HIGH;
    let low = k * LN2_LOW;
    let r = high - low;
    let rr = r * r;
    let c = r - rr * (P[0] + rr * (P[1] + rr * (P[2] + rr * (P[3] + rr * P[4]))));
    let power = 1.0 + (r * c / (2.0 - c) - low + high);
    let scale = f64::from_bits((k + (MAGIC + 1023.0)).to_bits() << 52);
    if magnitude >= TINY { power * scale } else { 1.0 + x }
}

#[cfg(test)]
mod tests {
    use super::*;
    use controller_core::rng::Pcg32;
    use proptest::prelude::*;

    fn agree(values: &[f64]) {
        let mut found = values.to_vec();
        exponentials(&mut found);
        for (x, found) in values.iter().zip(found) {
            let expected = libm::exp(*x);
            assert!(
                found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
                "exp({x:e}): {found:e} instead of {expected:e}"
            );
        }
    }

    #[test]
    fn exponentials_have_the_bits_of_libm() {
        let mut rng = Pcg32::new(5);
        for scale in [1e-9, 1e-3, 0.5, 2.0, 30.0, 699.0] {
            let mut draw = || (f64::from(rng.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0) * scale;
            agree(&(0..40_000).map(|_| draw()).collect::<Vec<f64>>());
        }
        // Around every multiple of half a logarithm of two, where the reduction changes its mind.
        for step in -1900..=1900 {
            let edge = f64::from(step) * std::f64::consts::LN_2 / 2.0;
            agree(&[edge, edge.next_up(), edge.next_down(), edge.next_up().next_up()]);
        }
        agree(&[0.0, -0.0, f64::MIN_POSITIVE, -1e-300, f64::from_bits(0x3e30_0000_ffff_ffff), 1e-17]);
        agree(&[1.0, -750.0, 800.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -708.4, 2.0]);
        agree(&[]);
    }

    proptest! {
        #[test]
        fn any_number_agrees(values in proptest::collection::vec(any::<f64>(), 0..20)) {
            agree(&values);
        }

        #[test]
        fn the_largest_is_the_largest(values in proptest::collection::vec(-1e9..1e9f64, 0..50)) {
            let expected = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(largest(&values).total_cmp(&expected).is_eq());
        }
    }
}
