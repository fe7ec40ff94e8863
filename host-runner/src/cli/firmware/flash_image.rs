//! `energyllm firmware flash-image`: a new policy into the slot that does not decide.

use super::super::output::{Object, note, print};
use super::super::{Format, Outcome};
use super::{Link, introduce};
use crate::input_file;
use crate::link::LinkError;
use crate::link::upload::upload;
use anyhow::Context as _;
use clap::Args;
use controller_core::policy::{Policy, PolicyImage, schema_hash};
use controller_core::protocol::{Refusal, checksum};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::path::PathBuf;

/// Upload a policy image. It is checked over there, and takes over at the next turn.
///
/// An upload that was cut off goes on where it stopped when the same image is sent again, unless the
/// microcontroller was reset meanwhile. Until the last check has passed the old policy decides.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The image.
    image: PathBuf,
    #[command(flatten)]
    link: Link,
}

pub fn run(arguments: &Arguments, format: Format) -> anyhow::Result<Outcome> {
    let path = arguments.image.display();
    let image = input_file::read(&arguments.image).with_context(|| format!("cannot read {path}"))?;
    // Nothing is sent that would be refused.
    let parsed = PolicyImage::new_checked(&image).with_context(|| format!("{path}"))?;
    let schema = schema_hash(parsed.header());
    Policy::new(parsed).with_context(|| format!("{path}"))?;
    let mut session = arguments.link.open()?;
    note(&introduce(session.identity()));
    let bar = ProgressBar::new(image.len() as u64);
    bar.set_style(ProgressStyle::with_template("uploading {bar:24} {bytes}/{total_bytes} (eta {eta})")?);
    let plain = !std::io::stderr().is_terminal();
    let uploaded = upload(&mut session, &image, schema, &mut |there| {
        let tenth = |bytes: u64| bytes * 10 / bar.length().unwrap_or(1).max(1);
        let before = bar.position();
        bar.set_position(there as u64);
        if plain && tenth(before) != tenth(there as u64) {
            note(&format!("{there} of {} bytes", image.len()));
        }
    });
    bar.finish_and_clear();
    let (resumed_at, refusal) = match uploaded {
        Ok(resumed_at) => (resumed_at, None),
        Err(LinkError::Refused(refusal @ Refusal::Upload(_))) => (0, Some(refusal)),
        Err(error) => return Err(error).context("the upload was cut off; the same command again goes on from there"),
    };
    let crc = format!("{:08x}", checksum(&image));
    match (format, &refusal) {
        (Format::Json, _) => {
            let mut object = Object::new("firmware flash-image", None, false);
            object.figure("image_bytes", image.len());
            object.figure("resumed_at_bytes", resumed_at);
            object.rows =
                vec![serde_json::json!({ "image_crc32": crc, "refusal": refusal.map(|why| why.to_string()) })];
            object.pass = refusal.is_none();
            object.wall("link", arguments.link.link.to_string());
            object.print()?;
        }
        (Format::Text, None) => {
            let resumed =
                if resumed_at > 0 { format!(", of which {resumed_at} were there already") } else { String::new() };
            print(&format!("{path} ({crc}): {} bytes{resumed}; it takes over at the next turn", image.len()))?;
        }
        (Format::Text, Some(why)) => print(&format!("{path} ({crc}) is refused, the old policy stays: {why}"))?,
    }
    Ok(if refusal.is_none() { Outcome::Passed } else { Outcome::Failed })
}
