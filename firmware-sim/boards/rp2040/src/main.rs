//! The controller on a Raspberry Pi Pico. This file is all that the board needs; the rest is
//! `firmware_sim::app`. Wiring and flashing are in `README.md`.
#![no_std]
#![no_main]

use controller_core::time::Instant;
use core::panic::PanicInfo;
use cortex_m::interrupt;
use firmware_sim::app::App;
use firmware_sim::app::buffer::Buffered;
use firmware_sim::app::ports::{Ports, Watchdog};
use firmware_sim::app::storage::{SLOTS, Storage, StorageError};
use fugit::{ExtU32, RateExtU32};
use rp2040_flash::flash::{flash_range_erase, flash_range_program};
use rp2040_hal::clocks::init_clocks_and_plls;
use rp2040_hal::gpio::Pins;
use rp2040_hal::pac::Peripherals;
use rp2040_hal::uart::{DataBits, StopBits, UartConfig, UartPeripheral};
use rp2040_hal::{Clock, Sio, Timer};

/// Second stage of the boot loader: any flash chip that knows the command 03h.
#[unsafe(link_section = ".boot2")]
#[unsafe(no_mangle)]
#[used]
pub static BOOT2_FIRMWARE: [u8; 256] = rp2040_boot2::BOOT_LOADER_GENERIC_03H;

/// The crystal of the Pico.
const CRYSTAL_HZ: u32 = 12_000_000;

const BAUD: u32 = 115_200;

/// Longer than erasing a slot, which takes 1.6 s where the flash chip is slow.
const WATCHDOG_MS: u32 = 4_000;

#[rp2040_hal::entry]
fn main() -> ! {
    if let Some(peripherals) = Peripherals::take() {
        run(peripherals);
    }
    reset()
}

/// Returns only when the clocks cannot be started.
fn run(mut peripherals: Peripherals) -> Option<core::convert::Infallible> {
    let mut watchdog = rp2040_hal::Watchdog::new(peripherals.WATCHDOG);
    let clocks = init_clocks_and_plls(
        CRYSTAL_HZ,
        peripherals.XOSC,
        peripherals.CLOCKS,
        peripherals.PLL_SYS,
        peripherals.PLL_USB,
        &mut peripherals.RESETS,
        &mut watchdog,
    )
    .ok()?;
    let timer = Timer::new(peripherals.TIMER, &mut peripherals.RESETS, &clocks);
    let clock = || Instant::from_micros(timer.get_counter().ticks());
    let sio = Sio::new(peripherals.SIO);
    let pins = Pins::new(peripherals.IO_BANK0, peripherals.PADS_BANK0, sio.gpio_bank0, &mut peripherals.RESETS);
    let uart = (pins.gpio0.into_function(), pins.gpio1.into_function());
    let settings = UartConfig::new(BAUD.Hz(), DataBits::Eight, None, StopBits::One);
    let uart = UartPeripheral::new(peripherals.UART0, uart, &mut peripherals.RESETS);
    let uart = uart.enable(settings, clocks.peripheral_clock.freq()).ok()?;
    watchdog.start(WATCHDOG_MS.millis());
    let mut ports = Ports {
        // The receiver holds 32 bytes: 2.8 ms at this speed, longer than a pass that decides.
        line: Buffered::<_, 2048>::new(uart),
        fan_full: pins.gpio2.into_push_pull_output(),
        power_cap: pins.gpio3.into_push_pull_output(),
        watchdog: ChipWatchdog(watchdog),
    };
    ports.protect(true);
    let mut app = App::boot(Flash, clock());
    loop {
        ports.line.poll();
        let now = clock();
        if app.due().is_none_or(|due| now >= due) {
            app.pass(now, &mut ports);
        }
    }
}

/// The chip's watchdog, which runs from the crystal.
struct ChipWatchdog(rp2040_hal::Watchdog);

impl Watchdog for ChipWatchdog {
    fn feed(&mut self) {
        self.0.feed();
    }
}

/// The two slots at the end of the flash, which the processor reads in place.
struct Flash;

impl Flash {
    /// Where the processor sees the flash.
    const MAPPED_AT: usize = 0x1000_0000;
    /// Size of the flash.
    const BYTES: u32 = 2 * 1024 * 1024;
    /// Bytes of a slot, mark included: four sectors, more than twice the shipped policy.
    const SLOT: u32 = 4 * 4096;
    /// Bytes that are programmed at a time.
    const PAGE: u32 = 256;

    /// Offset of a slot in the flash.
    fn place(slot: u8) -> Option<u32> {
        (slot < SLOTS).then(|| Self::BYTES - Self::SLOT * u32::from(SLOTS) + Self::SLOT * u32::from(slot))
    }
}

impl Storage for Flash {
    fn slot(&self, slot: u8) -> &[u8] {
        let Some(place) = Self::place(slot) else { return &[] };
        // SAFETY: the slot is mapped, readable flash behind the program (`memory.x`). It changes in
        // `erase` and `write` only, which borrow the storage for themselves.
        unsafe { core::slice::from_raw_parts((Self::MAPPED_AT + place as usize) as *const u8, Self::SLOT as usize) }
    }

    fn erase(&mut self, slot: u8) -> Result<(), StorageError> {
        let place = Self::place(slot).ok_or(StorageError)?;
        // SAFETY: the slot is whole sectors. Nobody else reads the flash meanwhile: interrupts are
        // off, the second core was never started, and no DMA is set up.
        interrupt::free(|_| unsafe { flash_range_erase(place, Self::SLOT, true) });
        if self.slot(slot).iter().all(|byte| *byte == 0xFF) { Ok(()) } else { Err(StorageError) }
    }

    fn write(&mut self, slot: u8, offset: usize, bytes: &[u8]) -> Result<(), StorageError> {
        let place = Self::place(slot).ok_or(StorageError)?;
        let fits = offset.checked_add(bytes.len()).is_some_and(|end| end <= Self::SLOT as usize);
        let mut offset = u32::try_from(offset).ok().filter(|_| fits).ok_or(StorageError)?;
        let (begin, mut rest) = (offset as usize, bytes);
        while !rest.is_empty() {
            let in_page = (offset % Self::PAGE) as usize;
            let (now, later) = rest.split_at_checked(Self::PAGE as usize - in_page).unwrap_or((rest, &[]));
            // Ones change nothing in flash, so the neighbours of the new bytes stay what they are.
            let mut page = [0xFF; Self::PAGE as usize];
            let target = page.get_mut(in_page..).and_then(|page| page.get_mut(..now.len()));
            target.ok_or(StorageError)?.copy_from_slice(now);
            // SAFETY: a whole page inside the slot; otherwise as in `erase`.
            interrupt::free(|_| unsafe { flash_range_program(place + offset - offset % Self::PAGE, &page, true) });
            offset += u32::try_from(now.len()).map_err(|_| StorageError)?;
            rest = later;
        }
        let written = self.slot(slot).get(begin..).and_then(|slot| slot.get(..bytes.len()));
        if written == Some(bytes) { Ok(()) } else { Err(StorageError) }
    }
}

fn reset() -> ! {
    cortex_m::peripheral::SCB::sys_reset()
}

/// A reset makes the outputs active, by the resistors at the pins first and then by the program.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    reset()
}
