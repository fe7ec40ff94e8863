//! The parts of the MPS2 board with AN386 that the application needs: Arm DAI0386D, "Application
//! Note AN386, ARM Cortex-M4 SMM on V2M-MPS2", and the CMSDK technical reference, DDI 0479.

use controller_core::time::Instant;
use core::convert::Infallible;
use core::ptr;
use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use embedded_hal::digital::{ErrorType, OutputPin};
use embedded_io::{Read, ReadReady, Write, WriteReady};
use firmware_sim::app::ports::Watchdog;
use heapless::Deque;

const CLOCK_MHZ: u32 = 25;

/// A register of the board.
#[derive(Clone, Copy)]
struct Register(usize);

impl Register {
    fn read(self) -> u32 {
        // SAFETY: every `Register` below is the address of one in the board's memory map, aligned,
        // and reading it has no effect but those that the device documents.
        unsafe { ptr::read_volatile(self.0 as *const u32) }
    }

    fn write(self, value: u32) {
        // SAFETY: as above; no register here makes the processor write memory.
        unsafe { ptr::write_volatile(self.0 as *mut u32, value) }
    }
}

/// UART 0 with a buffer behind its one-byte receiver, filled by [`Uart::poll`].
pub struct Uart {
    received: Deque<u8, 2048>,
}

impl Uart {
    const DATA: Register = Register(0x4000_4000);
    const STATE: Register = Register(0x4000_4004);
    const CONTROL: Register = Register(0x4000_4008);
    const DIVIDER: Register = Register(0x4000_4010);
    const TRANSMITTER_FULL: u32 = 1;
    const RECEIVER_FULL: u32 = 2;

    /// Enables both directions at 781,250 baud, the fastest but one: a divider below 16 is not
    /// allowed.
    pub fn start() -> Self {
        Self::DIVIDER.write(32);
        Self::CONTROL.write(0b11);
        Self { received: Deque::new() }
    }

    /// Takes what the receiver has. To be called more often than bytes come.
    pub fn poll(&mut self) {
        while !self.received.is_full() && Self::STATE.read() & Self::RECEIVER_FULL != 0 {
            let [byte, ..] = Self::DATA.read().to_le_bytes();
            let _ = self.received.push_back(byte);
        }
    }
}

impl embedded_io::ErrorType for Uart {
    type Error = Infallible;
}

impl ReadReady for Uart {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.received.is_empty())
    }
}

impl Read for Uart {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut count = 0;
        for (place, byte) in buffer.iter_mut().zip(core::iter::from_fn(|| self.received.pop_front())) {
            *place = byte;
            count += 1;
        }
        Ok(count)
    }
}

impl WriteReady for Uart {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(Self::STATE.read() & Self::TRANSMITTER_FULL == 0)
    }
}

impl Write for Uart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let Some(byte) = bytes.first() else { return Ok(0) };
        Self::DATA.write(u32::from(*byte));
        Ok(1)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// UART 1, for an observer of the outputs. A byte waits for its room as long as one takes to go out.
pub struct TraceUart;

impl TraceUart {
    const DATA: Register = Register(0x4000_5000);
    const STATE: Register = Register(0x4000_5004);
    const CONTROL: Register = Register(0x4000_5008);
    const DIVIDER: Register = Register(0x4000_5010);

    /// Enables the transmitter, at the speed of UART 0.
    pub fn start() -> Self {
        Self::DIVIDER.write(32);
        Self::CONTROL.write(0b01);
        Self
    }
}

impl embedded_io::ErrorType for TraceUart {
    type Error = Infallible;
}

impl Write for TraceUart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for byte in bytes {
            // Ten bits at 781,250 baud are 320 ticks; a turn of this loop takes some.
            let room = (0..320).any(|_| Self::STATE.read() & Uart::TRANSMITTER_FULL == 0);
            if room {
                Self::DATA.write(u32::from(*byte));
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// One of the board's two user LEDs, in place of a safety output.
pub struct Led {
    mask: u32,
}

impl Led {
    const REGISTER: Register = Register(0x4002_8000);

    /// LED 0 or 1.
    pub const fn new(number: u8) -> Self {
        Self { mask: 1 << (number & 1) }
    }
}

impl ErrorType for Led {
    type Error = Infallible;
}

impl OutputPin for Led {
    fn set_low(&mut self) -> Result<(), Infallible> {
        Self::REGISTER.write(Self::REGISTER.read() & !self.mask);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        Self::REGISTER.write(Self::REGISTER.read() | self.mask);
        Ok(())
    }
}

/// The CMSDK watchdog: resets the board when it has counted down twice.
pub struct CmsdkWatchdog;

impl CmsdkWatchdog {
    const LOAD: Register = Register(0x4000_8000);
    const CONTROL: Register = Register(0x4000_8008);
    const CLEAR: Register = Register(0x4000_800C);
    /// Two seconds each time: longer than erasing or checking a slot, and an emulator may be
    /// stopped for a while by the machine it runs on.
    const TICKS: u32 = 2 * CLOCK_MHZ * 1_000_000;

    pub fn start() -> Self {
        Self::LOAD.write(Self::TICKS);
        Self::CONTROL.write(0b11);
        Self
    }
}

impl Watchdog for CmsdkWatchdog {
    fn feed(&mut self) {
        Self::CLEAR.write(1);
    }
}

/// Time since the start, from the system timer, which must be read at least every 0.6 s.
pub struct Clock {
    timer: SYST,
    last: u32,
    ticks: u64,
}

impl Clock {
    const TOP: u32 = 0x00FF_FFFF;

    pub fn start(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(Self::TOP);
        timer.clear_current();
        timer.enable_counter();
        let last = timer.cvr.read();
        Self { timer, last, ticks: 0 }
    }

    pub fn now(&mut self) -> Instant {
        let present = self.timer.cvr.read();
        // It counts down, in 24 bits.
        self.ticks += u64::from(self.last.wrapping_sub(present) & Self::TOP);
        self.last = present;
        Instant::from_micros(self.ticks / u64::from(CLOCK_MHZ))
    }
}
