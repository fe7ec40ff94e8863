//! Meters that hang, fail and change, and what a sampler makes of them.

use super::*;
use crate::board::discover::Found;
use crate::board::tree::{CapturedTree, FileTree};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const TREE: &str = r#"{"files": {
    "/proc/device-tree/compatible": "nvidia,p3767-0000\u0000nvidia,tegra234\u0000",
    "/sys/class/hwmon/hwmon1/name": "ina3221", "/sys/class/hwmon/hwmon1/in1_label": "VDD_IN", "/sys/class/hwmon/hwmon1/in1_input": "5000",
    "/sys/class/hwmon/hwmon1/curr1_input": "1501", "/sys/class/hwmon/hwmon1/curr1_crit_alarm": "0", "/sys/class/hwmon/hwmon1/update_interval": "430",
    "/sys/class/hwmon/hwmon1/in2_label": "VDD_SOC", "/sys/class/hwmon/hwmon1/in2_input": "5000", "/sys/class/hwmon/hwmon1/curr2_input": "-3",
    "/sys/class/hwmon/hwmon2/name": "pwmfan", "/sys/class/hwmon/hwmon2/pwm1": "77",
    "/sys/class/thermal/thermal_zone0/type": "cpu-thermal", "/sys/class/thermal/thermal_zone0/temp": "50123",
    "/sys/class/thermal/thermal_zone1/type": "gpu-thermal",
    "/sys/class/thermal/thermal_zone2/type": "CV0-therm", "/sys/class/thermal/thermal_zone2/temp": "-256000",
    "/sys/class/thermal/thermal_zone3/type": "iwlwifi_1", "/sys/class/thermal/thermal_zone3/temp": "90000",
    "/sys/class/thermal/thermal_zone4/type": "PMIC-Die", "/sys/class/thermal/thermal_zone4/temp": "100000",
    "/sys/class/thermal/cooling_device0/type": "gpu-throttle-alert", "/sys/class/thermal/cooling_device0/cur_state": "0",
    "/sys/class/devfreq/17000000.gpu/cur_freq": "0", "/sys/class/devfreq/17000000.gpu/available_frequencies": "306000000"},
    "errors": {"/sys/class/thermal/thermal_zone1/temp": "EAGAIN"}}"#;

fn jetson(json: &str) -> TreeMeter {
    let tree: Arc<dyn FileTree> = Arc::new(CapturedTree::parse(json).unwrap());
    let found = Found::discover(&*tree);
    TreeMeter::jetson(tree, &found)
}

fn value(meter: &TreeMeter, name: &str, quantity: Quantity) -> Result<i64, Absence> {
    let is_it = |channel: &Channel| channel.name == name && channel.quantity == quantity;
    meter.read(meter.channels().iter().position(is_it).unwrap_or_else(|| panic!("no {name}")))
}

#[test]
fn a_jetson_is_read_with_its_absences() {
    let meter = jetson(TREE);
    assert_eq!(value(&meter, "VDD_IN", Quantity::Power), Ok(7505));
    assert_eq!(value(&meter, "VDD_SOC", Quantity::Power), Ok(-15));
    assert_eq!(value(&meter, "cpu-thermal", Quantity::Temperature), Ok(50_123));
    assert_eq!(value(&meter, "gpu-thermal", Quantity::Temperature), Err(Absence::PoweredDown));
    assert_eq!(value(&meter, "CV0-therm", Quantity::Temperature), Err(Absence::PoweredDown));
    assert_eq!(value(&meter, "gpu", Quantity::Clock), Err(Absence::PoweredDown));
    assert_eq!(meter.read(1000), Err(Absence::NoSensor));
    let mut sample = Sample::default();
    sample.read(&meter, &Clock::start());
    let channels = meter.channels();
    assert_eq!(sample.total_power(channels).value(), Some(MilliWatts(7505)));
    assert_eq!(sample.temperature(channels).value(), Some(MilliCelsius(50_123)), "neither the radio nor the constant");
    assert_eq!(sample.gpu_clock(channels), Reading::Absent(Absence::PoweredDown));
    assert_eq!(sample.fan_drive(channels).value(), Some(77));
    assert!(!sample.throttles(channels) && meter.is_complete());
    assert!(channels.iter().all(|channel| channel.name != "PMIC-Die"));
    assert_eq!(channels[0].column(), "VDD_IN_mw");
    assert_eq!(channels[0].average, Average::Window(430_000));
}

#[test]
fn an_alert_and_an_alarm_are_throttling() {
    for (quiet, loud) in [("cur_state\": \"0\"", "cur_state\": \"1\""), ("crit_alarm\": \"0\"", "crit_alarm\": \"1\"")]
    {
        let meter = jetson(&TREE.replace(quiet, loud));
        let mut sample = Sample::default();
        sample.read(&meter, &Clock::start());
        assert!(sample.throttles(meter.channels()), "{loud}");
    }
}

#[test]
fn a_board_without_its_gpu_is_not_complete() {
    assert!(!jetson(&TREE.replace("17000000.gpu", "15340000.vic")).is_complete());
    assert!(jetson("{}").is_complete() && jetson("{}").channels().is_empty());
    let sample = Sample::unread(0);
    assert_eq!(sample.telemetry(&[]).temperature, Reading::Absent(Absence::NoSensor));
}

#[test]
fn a_sum_is_absent_with_a_part_and_as_old_as_the_oldest() {
    let channel = |role| Channel {
        name: "x".to_owned(),
        quantity: Quantity::Power,
        role,
        average: Average::Moment,
        place: String::new(),
    };
    let channels = [
        channel(Role::Total),
        channel(Role::Shown),
        channel(Role::Total),
        channel(Role::Temperature),
        channel(Role::Temperature),
    ];
    let at = |value, time| Reading::at(value, Instant::from_micros(time));
    let mut sample = Sample { readings: vec![at(100, 7), at(1, 1), at(-300, 5), at(50, 9), at(70, 8)] };
    assert_eq!(sample.total_power(&channels), Reading::at(MilliWatts(0), Instant::from_micros(5)));
    assert_eq!(sample.temperature(&channels), Reading::at(MilliCelsius(70), Instant::from_micros(8)));
    sample.readings[0] = Reading::Absent(Absence::ReadFailed);
    sample.readings[4] = Reading::Absent(Absence::PoweredDown);
    assert_eq!(sample.total_power(&channels), Reading::Absent(Absence::ReadFailed));
    assert_eq!(sample.temperature(&channels), Reading::at(MilliCelsius(50), Instant::from_micros(9)));
}

/// Two channels; the first hangs while `hangs` is true.
struct Scripted {
    channels: Vec<Channel>,
    hangs: Arc<(Mutex<bool>, Condvar)>,
    gone: AtomicBool,
    inside: AtomicUsize,
    most_inside: AtomicUsize,
}

impl Scripted {
    fn new(name: &str) -> Self {
        let channel = |name: &str, role| Channel {
            name: name.to_owned(),
            quantity: Quantity::Power,
            role,
            average: Average::Moment,
            place: format!("/sys/{name}"),
        };
        Self {
            channels: vec![channel(name, Role::Shown), channel("steady", Role::Total)],
            hangs: Arc::default(),
            gone: AtomicBool::new(false),
            inside: AtomicUsize::new(0),
            most_inside: AtomicUsize::new(0),
        }
    }

    fn hang(&self, hangs: bool) {
        *self.hangs.0.lock().unwrap() = hangs;
        self.hangs.1.notify_all();
    }
}

impl Meter for Scripted {
    fn channels(&self) -> &[Channel] {
        &self.channels
    }

    fn read(&self, channel: usize) -> Result<i64, Absence> {
        if channel == 0 {
            let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_inside.fetch_max(inside, Ordering::SeqCst);
            drop(self.hangs.1.wait_while(self.hangs.0.lock().unwrap(), |hangs| *hangs).unwrap());
            self.inside.fetch_sub(1, Ordering::SeqCst);
            if self.gone.load(Ordering::SeqCst) {
                return Err(Absence::NoSensor);
            }
        }
        Ok(1000)
    }
}

/// So short that the tests are quick, so long that a loaded machine keeps the deadline mostly.
const PLAN: Plan = Plan {
    interval: Duration::from_millis(2),
    deadline: Duration::from_millis(40),
    rebuild: Duration::ZERO,
    max_gap: Duration::from_mins(1),
};

const LONG: Duration = Duration::from_mins(1);

fn eventually(what: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !what() {
        assert!(start.elapsed() < LONG, "it never came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_read_that_hangs_costs_one_channel_and_is_named() {
    let meter = Arc::new(Scripted::new("flaky"));
    let shared: Arc<dyn Meter> = meter.clone();
    let sampler = Sampler::start(Box::new(move || Arc::clone(&shared)), Clock::start(), PLAN).unwrap();
    assert!(sampler.wait_beyond(2, LONG));
    meter.hang(true);
    eventually(|| !sampler.stuck().is_empty());
    let stuck = sampler.stuck().remove(0);
    assert_eq!((stuck.name.as_str(), stuck.place.as_str()), ("flaky", "/sys/flaky"));
    let during = sampler.latest();
    assert!(sampler.wait_beyond(during.number + 3, LONG), "the others go on");
    let after = sampler.latest();
    assert_eq!(after.sample.readings[0], during.sample.readings[0], "a stuck channel keeps its reading and its age");
    let time = |reading: Reading<i64>| match reading {
        Reading::Present { taken_at, .. } => taken_at,
        Reading::Absent(why) => panic!("{why:?}"),
    };
    assert!(time(after.sample.readings[1]) > time(during.sample.readings[1]));
    meter.hang(false);
    eventually(|| {
        sampler.stuck().is_empty() && time(sampler.latest().sample.readings[0]) > time(after.sample.readings[1])
    });
    assert_eq!(meter.most_inside.load(Ordering::SeqCst), 1, "nobody reads a stuck channel a second time");
}

#[test]
fn energy_runs_on_while_another_channel_hangs() {
    let meter = Arc::new(Scripted::new("flaky"));
    let shared: Arc<dyn Meter> = meter.clone();
    let clock = Clock::start();
    let sampler = Sampler::start(Box::new(move || Arc::clone(&shared)), clock, PLAN).unwrap();
    assert!(sampler.wait_beyond(1, LONG));
    let from = sampler.measured_until().unwrap();
    meter.hang(true);
    eventually(|| !sampler.stuck().is_empty());
    assert!(sampler.wait_beyond(sampler.latest().number + 3, LONG));
    let to = sampler.measured_until().unwrap();
    let energy = sampler.energy(from, to);
    assert_eq!(energy.covered_us, energy.window_us);
    assert_eq!(energy.energy_nj, i128::from(energy.window_us) * 1000, "1000 mW all the time");
    meter.hang(false);
}

#[test]
fn what_has_gone_is_looked_for_again() {
    let first = Arc::new(Scripted::new("before"));
    let second = Arc::new(Scripted::new("after"));
    let (old, new): (Arc<dyn Meter>, Arc<dyn Meter>) = (first.clone(), second);
    let count = AtomicUsize::new(0);
    let build = move || if count.fetch_add(1, Ordering::SeqCst) == 0 { Arc::clone(&old) } else { Arc::clone(&new) };
    let sampler = Sampler::start(Box::new(build), Clock::start(), PLAN).unwrap();
    assert!(sampler.wait_beyond(2, LONG));
    assert_eq!(sampler.latest().meter.channels()[0].name, "before");
    first.gone.store(true, Ordering::SeqCst);
    eventually(|| sampler.latest().meter.channels()[0].name == "after");
    let mut latest = sampler.latest();
    assert!(sampler.wait_beyond(latest.number, LONG));
    sampler.refresh(&mut latest);
    assert_eq!(latest.sample.readings[0].value(), Some(1000));
}

#[test]
fn several_meters_are_one() {
    let meters = Meters::new(vec![Box::new(jetson(TREE)), Box::new(Scripted::new("x")), Box::new(jetson("{}"))]);
    let last = meters.channels().len() - 1;
    assert_eq!(meters.channels()[last].name, "steady");
    assert_eq!(
        (meters.read(0), meters.read(last), meters.read(last + 1)),
        (Ok(7505), Ok(1000), Err(Absence::NoSensor))
    );
}
