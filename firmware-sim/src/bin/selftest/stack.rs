//! How much stack a piece of work takes: the free stack is painted, and where the paint is gone
//! it was used.

use core::ptr;
use cortex_m::register::msp;

const PAINT: u32 = 0xA5A5_5A5A;

/// This function's own frame and what it calls while it paints; nothing below is in use.
const KEPT: usize = 256;

/// Deepest use of the stack while `work` runs, in bytes.
#[inline(never)]
pub fn used_by(work: impl FnOnce()) -> usize {
    let top = msp::read() as usize;
    let lowest = cortex_m_rt::heap_start();
    let words = (top - KEPT - lowest as usize) / size_of::<u32>();
    for index in 0..words {
        // SAFETY: from the end of the static data to below our frame the RAM is nobody's: there
        // is no heap, and no interrupt is enabled that could be using it.
        unsafe { ptr::write_volatile(lowest.add(index), PAINT) };
    }
    apart(work);
    // SAFETY: the words just painted.
    let untouched = (0..words).take_while(|&index| unsafe { ptr::read_volatile(lowest.add(index)) } == PAINT).count();
    top - lowest as usize - untouched * size_of::<u32>()
}

/// Inlined, the frame of the work would lie above the painted stack and go unseen.
#[inline(never)]
fn apart(work: impl FnOnce()) {
    work();
}
