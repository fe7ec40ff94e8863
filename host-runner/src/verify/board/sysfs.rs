//! A captured tree against what a correct reader finds in it.

use super::{BoardCaseError, Ledger, read_json};
use crate::board::attribute::{integer, number, text};
use crate::board::discover::power::Rail;
use crate::board::discover::thermal::{Kind, Thermal, Zone};
use crate::board::discover::throttle::CoolingKind;
use crate::board::discover::{Found, fan::FanKind};
use crate::board::telemetry::{Clock, Meter, Quantity, Sample, TreeMeter};
use crate::board::tree::{CapturedTree, FileTree};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::sync::Arc;

/// Compares a tree; one ledger.
pub fn compare(tree: &Path, expected: &Path) -> Result<Ledger, BoardCaseError> {
    let capture = |cause| BoardCaseError::Capture { path: tree.to_owned(), cause };
    let loaded = Arc::new(CapturedTree::load(tree).map_err(capture)?);
    let wanted = read_json(expected)?;
    let form = || BoardCaseError::Form { path: expected.to_owned(), cause: "it must be an object".to_owned() };
    let mut ledger = Ledger::default();
    let found = describe(&(loaded as Arc<dyn FileTree>));
    ledger.compare("", wanted.as_object().ok_or_else(form)?, found.as_object().unwrap_or(&Map::new()));
    Ok(ledger)
}

/// What a tree has, with the names of the conformance files.
#[must_use]
pub fn describe(tree: &Arc<dyn FileTree>) -> Value {
    let found = Found::discover(&**tree);
    let meter = TreeMeter::jetson(Arc::clone(tree), &found);
    let mut sample = Sample::default();
    sample.read(&meter, &Clock::start());
    let mut object = Map::new();
    object.insert("gpu".to_owned(), gpu(&**tree, &found));
    object.insert("power".to_owned(), power(&found, &meter, &sample));
    thermal(&mut object, &found, &meter, &sample);
    object.insert("fan".to_owned(), fan(&**tree, &found));
    object.insert("throttle".to_owned(), throttle(&**tree, &found));
    object.insert("emc".to_owned(), memory(&**tree, &found));
    Value::Object(object)
}

/// The GPU, with raw values: a clock of 0 is shown as it is read.
fn gpu(tree: &dyn FileTree, found: &Found) -> Value {
    let Ok(gpu) = &found.gpu else { return Value::Null };
    let clock = number(tree, &gpu.file("cur_freq")).ok();
    let (lowest, highest) = gpu.bounds_hz(tree);
    let railgated = gpu.is_railgated.as_ref().and_then(|path| text(tree, path).ok());
    json!({
        "name": gpu.name,
        "devfreq": gpu.devfreq,
        "cur_hz": clock,
        "min_hz": lowest,
        "max_hz": highest,
        "avail_hz": gpu.frequencies_hz,
        "avail_first_hz": gpu.frequencies_hz.first(),
        "avail_last_hz": gpu.frequencies_hz.last(),
        "avail_count": gpu.frequencies_hz.len(),
        "governor": gpu.governor(tree),
        "load_permille": gpu.load.as_ref().ok().and_then(|path| integer(tree, path).ok()),
        "gated": clock == Some(0) || railgated.as_deref() == Some("yes"),
        "siblings": gpu.siblings,
    })
}

fn power(found: &Found, meter: &TreeMeter, sample: &Sample) -> Value {
    let power = found.power.as_ref().ok();
    let channels = meter.channels();
    let rails = channels.iter().zip(&sample.readings).filter(|(channel, _)| channel.quantity == Quantity::Power);
    let rails = rails.filter_map(|(channel, reading)| Some((channel.name.clone(), json!(reading.value()?))));
    let total = power.and_then(|power| power.total.as_ref().ok());
    json!({
        "rails_mw": rails.collect::<Map<_, _>>(),
        "total_mw": sample.total_power(channels).value(),
        "total_rule": total.map(|total| total.rule.clone()),
        "skipped": power.map(|power| power.skipped.clone()).unwrap_or_default(),
        "backend": power.and_then(|power| power.rails.first()).map(Rail::backend),
    })
}

fn thermal(object: &mut Map<String, Value>, found: &Found, meter: &TreeMeter, sample: &Sample) {
    let zones = found.thermal.as_ref().map_or(&[][..], |thermal| &thermal.zones);
    let celsius = |thousandths: i64| json!(thousandths as f64 / 1000.0);
    let of = |name: &str| {
        let is_it = |channel: &crate::board::telemetry::Channel| {
            channel.name == name && channel.quantity == Quantity::Temperature
        };
        meter.channels().iter().position(is_it).and_then(|place| sample.readings[place].value())
    };
    let named = |zones: Vec<&Zone>| zones.into_iter().map(|zone| zone.name.clone()).collect::<Vec<_>>();
    let (dummy, real): (Vec<&Zone>, Vec<&Zone>) = zones.iter().partition(|zone| zone.kind == Kind::Dummy);
    let (warm, offline): (Vec<&Zone>, Vec<&Zone>) = real.into_iter().partition(|zone| of(&zone.name).is_some());
    let temperatures = warm.iter().filter_map(|zone| Some((zone.name.clone(), celsius(of(&zone.name)?))));
    object.insert("temps_c".to_owned(), Value::Object(temperatures.collect()));
    object.insert("dummy".to_owned(), json!(named(dummy)));
    object.insert("offline".to_owned(), json!(named(offline)));
    let highest = sample.temperature(meter.channels()).value();
    object.insert("max_temp_c".to_owned(), highest.map_or(Value::Null, |highest| celsius(highest.0.into())));
    let limit = found.thermal.as_ref().ok().and_then(Thermal::soft_limit);
    object.insert("soft_limit_c".to_owned(), limit.map_or(Value::Null, |limit| celsius(limit.0.into())));
}

fn fan(tree: &dyn FileTree, found: &Found) -> Value {
    let Ok(fan) = &found.fan else { return Value::Null };
    let read = |path: &Path| integer(tree, path).ok();
    json!({
        "kind": fan.kind,
        "pwm_path": fan.pwm,
        "pwm": read(&fan.pwm),
        "rpm": found.tachometer.as_ref().ok().and_then(|meter| read(&meter.rpm)),
        "enable": fan.enable.as_deref().and_then(read),
        "temp_control": if fan.kind == FanKind::PwmFan { fan.temperature_control.as_deref().and_then(read) } else { None },
    })
}

fn throttle(tree: &dyn FileTree, found: &Found) -> Value {
    let devices = found.cooling.as_ref().map_or(&[][..], |cooling| &cooling.devices);
    let alerts = devices.iter().filter(|device| matches!(device.kind, CoolingKind::Alert | CoolingKind::Throttling));
    let alert = alerts.filter_map(|device| integer(tree, &device.state).ok()).any(|state| state > 0);
    let counters = found
        .over_current
        .as_ref()
        .ok()
        .map(|counters| counters.counters.iter().map(|path| integer(tree, path).ok()).collect::<Vec<_>>());
    json!({"alert": alert, "oc": counters})
}

fn memory(tree: &dyn FileTree, found: &Found) -> Value {
    let Ok(memory) = &found.memory else { return Value::Null };
    let locked = memory.locked.as_deref().and_then(|path| integer(tree, path).ok());
    json!({"rate_hz": integer(tree, &memory.rate).ok(), "locked": locked.map(|locked| locked != 0)})
}
