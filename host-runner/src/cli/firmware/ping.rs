//! `energyllm firmware ping`: is it there, and how long does it take?

use super::super::output::{Object, print};
use super::super::{Format, Outcome};
use super::{Link, identity_row, introduce};
use crate::measure::percentile::percentile;
use clap::Args;
use std::time::Instant;

/// Greet the firmware and time heartbeats there and back.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    link: Link,
    /// Heartbeats.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let mut session = arguments.link.open()?;
    let before = session.traffic().all;
    let mut times_us = Vec::new();
    for _ in 0..arguments.count {
        let sent_at = Instant::now();
        session.status()?;
        times_us.push(u64::try_from(sent_at.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    times_us.sort_unstable();
    let [median, worst] = [50.0, 100.0].map(|percent| percentile(&times_us, percent).unwrap_or(0));
    let after = session.traffic().all;
    let (sent, received) = (after.sent - before.sent, after.received - before.received);
    match format {
        Format::Json => {
            let mut object = Object::new("firmware ping", None, false);
            object.figure("heartbeats", arguments.count);
            object.rows = vec![identity_row(session.identity())];
            object.wall("round_trip_p50_us", median);
            object.wall("round_trip_max_us", worst);
            object.wall("bytes_sent", sent);
            object.wall("bytes_received", received);
            object.wall("link", arguments.link.link.to_string());
            object.print()?;
        }
        Format::Text => print(&format!(
            "{}: {}\n{} heartbeats: there and back in {median} µs in the median, {worst} µs at most (this machine); \
             {sent} bytes sent, {received} received",
            arguments.link.link,
            introduce(session.identity()),
            arguments.count,
        ))?,
    }
    Ok(Outcome::Passed)
}
