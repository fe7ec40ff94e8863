//! `energyllm board watch`: what the board says, sample after sample.

use super::super::interrupt;
use super::super::output::{Object, print, printable};
use super::super::{Format, Outcome};
use super::Root;
use crate::board::survey::Survey;
use crate::board::telemetry::{Channel, Clock, Latest, Meter, Plan, Sampler};
use anyhow::Context as _;
use clap::Args;
use controller_core::telemetry::Reading;
use controller_core::time::Instant;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Show what the board says, sample after sample, until Ctrl-C.
///
/// On a terminal the table stays in place; elsewhere each sample is one line. At the end the energy of the
/// whole time is given, with the share of it that samples cover. A sensor that hangs is named, and the
/// others go on.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  energyllm board watch\n  energyllm board watch --interval 0.5 --record board.csv\n  energyllm board watch --samples 10 --json"
)]
pub struct Watch {
    #[command(flatten)]
    root: Root,
    /// Time from one sample to the next, s; INA sensors have a new value every 0.43 s.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = interval)]
    interval: f64,
    /// Stop after this many samples.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    samples: Option<u64>,
    /// Write every sample to this CSV file as well; a cell without a value is empty.
    #[arg(long, value_name = "FILE.csv")]
    record: Option<PathBuf>,
}

fn interval(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give a time between 0.01 and 3600 s".to_owned()),
    }
}

/// What the whole watch came to.
#[derive(Default)]
struct Account {
    samples: u64,
    first: Option<Instant>,
    last: Option<Instant>,
    highest_mc: Option<i32>,
    throttled: u64,
    stuck: Vec<String>,
}

pub fn run(options: &Watch, format: Format) -> anyhow::Result<Outcome> {
    let place = options.root.place()?;
    let survey = Survey::make(&place);
    if survey.meter.channels().is_empty() {
        anyhow::bail!("there is nothing to watch on this machine; `energyllm board info` says what was looked for");
    }
    let first = std::sync::Mutex::new(Some(survey.meter));
    let build = move || -> Arc<dyn Meter> {
        // The first build is the one above; later ones look again for what came late or has gone.
        let built = first.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        built.unwrap_or_else(|| Survey::make(&place).meter)
    };
    let interval = Duration::from_secs_f64(options.interval);
    let plan = Plan { interval, max_gap: (interval * 3).max(Plan::default().max_gap), ..Plan::default() };
    let sampler = Sampler::start(Box::new(build), Clock::start(), plan).context("cannot start a thread")?;
    interrupt::watch()?;
    let mut latest = sampler.latest();
    // The first sample may be there already; it counts.
    latest.number = 0;
    let mut recorder =
        options.record.as_deref().map(|path| Recorder::create(path, latest.meter.channels())).transpose()?;
    let mut account = Account::default();
    let mut screen = Screen { in_place: format == Format::Text && std::io::stdout().is_terminal(), lines: 0 };
    while !interrupt::is_wanted() && options.samples.is_none_or(|limit| account.samples < limit) {
        if !sampler.wait_beyond(latest.number, Duration::from_millis(100)) {
            continue;
        }
        sampler.refresh(&mut latest);
        let now = sampler.clock().now();
        let stuck: Vec<String> = sampler.stuck().into_iter().map(|stuck| stuck.name).collect();
        account.take(&latest, now, &stuck);
        if let Some(recorder) = &mut recorder {
            recorder.write(&latest, now, &stuck)?;
        }
        if format == Format::Text {
            screen.show(&latest, now, &stuck)?;
        }
    }
    let until = sampler.measured_until().or(account.last);
    let energy = sampler.energy(account.first.unwrap_or_default(), until.unwrap_or_default());
    account.finish(&energy, format, options.record.as_deref())
}

impl Account {
    fn take(&mut self, latest: &Latest, now: Instant, stuck: &[String]) {
        self.samples += 1;
        self.first = self.first.or(Some(now));
        self.last = Some(now);
        let channels = latest.meter.channels();
        let temperature = latest.sample.temperature(channels).value().map(|temperature| temperature.0);
        self.highest_mc = self.highest_mc.max(temperature);
        self.throttled += u64::from(latest.sample.throttles(channels));
        for name in stuck {
            if !self.stuck.contains(name) {
                self.stuck.push(name.clone());
            }
        }
    }

    fn finish(
        &self,
        energy: &crate::measure::energy::Energy,
        format: Format,
        record: Option<&Path>,
    ) -> anyhow::Result<Outcome> {
        let joules = energy.energy_nj as f64 / 1e9;
        let mean = energy.mean_mw().map(|mean| mean / 1000.0);
        let highest = self.highest_mc.map(|highest| f64::from(highest) / 1000.0);
        match format {
            Format::Text => {
                let mut text = format!("{} samples", self.samples);
                if let Some(mean) = mean {
                    let share = energy.covered_share() * 100.0;
                    let seconds = energy.window_us as f64 / 1e6;
                    write!(
                        text,
                        ", {joules:.2} J over {seconds:.1} s ({share:.0} % covered), {mean:.2} W in the mean"
                    )?;
                }
                if let Some(highest) = highest {
                    write!(text, ", at most {highest:.1} °C")?;
                }
                if !self.stuck.is_empty() {
                    write!(text, ", hung at times: {}", printable(&self.stuck.join(", ")))?;
                }
                print(&text)?;
            }
            Format::Json => {
                let mut object = Object::new("board watch", None, false);
                object.wall("samples", self.samples);
                object.wall("energy_j", mean.map(|_| joules));
                object.wall("mean_power_w", mean);
                object.wall("window_s", energy.window_us as f64 / 1e6);
                object.wall("covered_share", energy.covered_share());
                object.wall("highest_temperature_c", highest);
                object.wall("throttled_samples", self.throttled);
                object.wall("stuck", self.stuck.clone());
                object.wall("record", record.map(|path| path.display().to_string()));
                object.print()?;
            }
        }
        Ok(Outcome::Passed)
    }
}

/// The samples as CSV: `time_us`, a column for each channel, and what hangs.
struct Recorder {
    file: csv::Writer<std::fs::File>,
    path: PathBuf,
    columns: Vec<String>,
}

impl Recorder {
    fn create(path: &Path, channels: &[Channel]) -> anyhow::Result<Self> {
        let columns: Vec<String> = channels.iter().map(Channel::column).collect();
        let mut file = csv::Writer::from_path(path).with_context(|| format!("cannot create {}", path.display()))?;
        let header = std::iter::once("time_us").chain(columns.iter().map(String::as_str)).chain(["stuck"]);
        file.write_record(header).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file, path: path.to_owned(), columns })
    }

    /// The columns are those of the start; a channel that came later has none, one that has gone is empty.
    fn write(&mut self, latest: &Latest, now: Instant, stuck: &[String]) -> anyhow::Result<()> {
        let channels = latest.meter.channels();
        let cell = |column: &String| {
            let place = channels.iter().position(|channel| channel.column() == *column)?;
            latest.sample.readings.get(place)?.value().map(|value| value.to_string())
        };
        let cells = self.columns.iter().map(|column| cell(column).unwrap_or_default());
        let row: Vec<String> =
            std::iter::once(now.micros().to_string()).chain(cells).chain([stuck.join(" ")]).collect();
        let wrote = self.file.write_record(&row).map_err(anyhow::Error::from).and_then(|()| Ok(self.file.flush()?));
        wrote.with_context(|| format!("cannot write {}; is the disk full?", self.path.display()))
    }
}

/// Where the samples are shown.
struct Screen {
    in_place: bool,
    lines: usize,
}

impl Screen {
    fn show(&mut self, latest: &Latest, now: Instant, stuck: &[String]) -> anyhow::Result<()> {
        let mut text = summary(latest, now, stuck);
        if self.in_place {
            for (channel, reading) in latest.meter.channels().iter().zip(&latest.sample.readings) {
                write!(text, "\n{:<36} {}", printable(&channel.column()), shown(reading, now))?;
            }
            let up = std::mem::replace(&mut self.lines, text.lines().count());
            let mut stdout = std::io::stdout().lock();
            if up > 0 {
                // Up to the first line of the table before, and clear what is below.
                write!(stdout, "\x1b[{up}A\x1b[J").and_then(|()| stdout.flush()).or_else(ignore_closed_pipe)?;
            }
        }
        print(&text)
    }
}

fn ignore_closed_pipe(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
}

/// One line: what the controller would look at.
fn summary(latest: &Latest, now: Instant, stuck: &[String]) -> String {
    let channels = latest.meter.channels();
    let telemetry = latest.telemetry();
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let watts = or_dash(telemetry.power.value().map(|power| format!("{:.2}", f64::from(power.0) / 1000.0)));
    let degrees = or_dash(telemetry.temperature.value().map(|t| format!("{:.1}", f64::from(t.0) / 1000.0)));
    let clock = or_dash(telemetry.gpu_clock.value().map(|clock| (clock.0 / 1000).to_string()));
    let fan = or_dash(telemetry.fan_pwm.value().map(|fan| fan.to_string()));
    let seconds = now.micros() as f64 / 1e6;
    let mut line = format!("{seconds:>9.2} s {watts:>8} W {degrees:>6} °C GPU {clock:>5} MHz fan {fan:>3}");
    if latest.sample.throttles(channels) {
        line.push_str(" THROTTLED");
    }
    if !stuck.is_empty() {
        line.push_str(" hangs: ");
        line.push_str(&printable(&stuck.join(", ")));
    }
    line
}

/// A reading with its age where it is older than a sample should be.
fn shown(reading: &Reading<i64>, now: Instant) -> String {
    match reading {
        Reading::Present { value, taken_at } => {
            let age = now.since(*taken_at).micros() / 1_000_000;
            if age > 1 { format!("{value:>14}  {age} s old") } else { format!("{value:>14}") }
        }
        Reading::Absent(why) => format!("{:>14}  {why:?}", "-"),
    }
}
