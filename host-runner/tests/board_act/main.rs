//! Acting on a board that behaves as badly as kernels and other programs do.

mod actuating;
mod clock;
mod driving;
mod fan;
mod scripted;
mod session;
mod synthetic;
mod world;
