//! `energyllm firmware`: the microcontroller at the other end of a link.

mod flash_image;
mod log;
mod ping;
mod states;
mod status;

use super::{Format, Outcome};
use crate::link::address::Address;
use crate::link::session::Session;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use controller_core::protocol::{Identity, InCharge, VERSION};
use serde_json::{Value, json};
use std::str::FromStr;

/// Speak with the microcontroller: is it there, how is it, what has happened, and a new policy.
///
/// A link is serial:PATH[@BAUD] (115200 baud unless given) or tcp:HOST:PORT. Each of these commands
/// greets the firmware, so its safety outputs are quiet until a second after the command has ended,
/// and a run that shares the link loses it and takes it back.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  energyllm firmware ping --link serial:/dev/ttyACM0
  energyllm firmware status --link serial:/dev/ttyUSB0@921600 --json
  energyllm firmware log --link tcp:127.0.0.1:7070
  energyllm firmware flash-image models/policies/service.elp --link serial:/dev/ttyACM0
  energyllm firmware states                        the picture of docs/firmware.md")]
pub enum Command {
    Ping(ping::Arguments),
    Status(status::Arguments),
    Log(log::Arguments),
    FlashImage(flash_image::Arguments),
    States(states::Arguments),
}

pub fn run(command: &Command, format: Format) -> anyhow::Result<Outcome> {
    match command {
        Command::Ping(ping) => ping::run(ping, format),
        Command::Status(status) => status::run(status, format),
        Command::Log(log) => log::run(log, format),
        Command::FlashImage(flash_image) => flash_image::run(flash_image, format),
        Command::States(states) => states::run(states, format),
    }
}

/// Where the firmware is.
#[derive(Debug, Args)]
struct Link {
    /// serial:PATH[@BAUD] or tcp:HOST:PORT.
    #[arg(long, value_name = "LINK", value_parser = Address::from_str)]
    link: Address,
}

impl Link {
    fn open(&self) -> anyhow::Result<Session> {
        let open = || Session::open(self.link.open()?);
        open().with_context(|| format!("no firmware at {}", self.link))
    }
}

/// Who answered, for machines.
fn identity_row(identity: &Identity) -> Value {
    json!({
        "firmware": identity.firmware.as_str(),
        "protocol": VERSION,
        "in_charge": in_charge(identity.in_charge),
        "image_crc32": format!("{:08x}", identity.image),
        "schema": format!("{:08x}", identity.schema),
        "configured": identity.configured,
    })
}

/// Who answered, in a sentence.
fn introduce(identity: &Identity) -> String {
    let Identity { firmware, in_charge, schema, image, configured } = identity;
    let policy = match (image, in_charge) {
        (0, _) => "no policy".to_owned(),
        (_, InCharge::Policy) => format!("policy {image:08x} (schema {schema:08x})"),
        (_, InCharge::TwoRule) => format!("policy {image:08x}, which does not fit its board"),
    };
    let board = if *configured { "knows its board" } else { "has not been told its board" };
    format!("firmware {firmware}, protocol version {VERSION}, {policy}, {board}")
}

const fn in_charge(in_charge: InCharge) -> &'static str {
    match in_charge {
        InCharge::Policy => "policy",
        InCharge::TwoRule => "two-rule",
    }
}
