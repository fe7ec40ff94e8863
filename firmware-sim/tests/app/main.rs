//! The firmware's application against a host that talks to it over a line inside this program.

mod faults;
mod safety;
mod turns;
mod upload;
mod world;
