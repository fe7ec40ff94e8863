//! What a run shows: progress, summary table, JSON object, figure.

use super::super::output::{Object, note, printable};
use super::job::{Job, Run};
use crate::report::table::{Table, number};
use crate::run::choice::Choice;
use crate::run::summary::{Collector, Summary};
use crate::run::{AnswerRecord, Ending, TurnRecord, figure};
use controller_core::action::Reason;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::IsTerminal;

impl Job<'_> {
    pub(super) fn draw(&self, results: &[Run]) -> anyhow::Result<()> {
        let limit_c = f64::from(self.limits.temperature.0) / 1000.0;
        let runs: Vec<(String, &[TurnRecord])> =
            results.iter().take(COLUMNS).map(|result| (result.governor.to_string(), result.turns.as_slice())).collect();
        let place = match &self.real {
            None => format!("simulated board: {} °C ambient, {} requests/s", self.options.ambient(), self.options.rate),
            Some(real) => format!("{}: {} requests/s", real.name(), self.options.rate),
        };
        figure::of_runs(&runs, limit_c, &place).draw(&self.options.out.join("run.png"))?;
        Ok(())
    }

    /// The governor that was asked for did not bring the board through, or the firmware was of no use.
    #[expect(clippy::unused_self, reason = "a job's verdict on its results")]
    pub(super) fn failed(&self, results: &[Run]) -> bool {
        results.first().is_none_or(|main| {
            matches!(main.summary.ending, Ending::BoardOff | Ending::CannotCool)
                || main.link.is_some_and(|link| link.excluded)
        })
    }

    pub(super) fn object(&self, results: &[Run]) -> Object {
        let mut object = Object::new("run", Some(self.options.seed), self.real.is_none());
        if let Some(main) = results.first() {
            object.figures = main.summary.figures();
        }
        let row = |result: &Run| {
            let ending = result.summary.ending;
            let mut row = json!({ "governor": result.governor.to_string(), "ending": ending, "figures": result.summary.figures() });
            if let Some(incidents) = result.incidents {
                row["incidents"] = json!(incidents);
            }
            row
        };
        object.rows = results.iter().map(row).collect();
        object.pass = !self.failed(results);
        let wall = results.iter().map(|result| {
            let cost = result.decision_cost;
            json!({
                "governor": result.governor.to_string(), "run_s": result.wall_s,
                "decision_mean_ns": cost.map(|c| c.mean_ns),
                "decision_p50_ns": cost.map(|c| c.p50_ns), "decision_p95_ns": cost.map(|c| c.p95_ns),
                "link": result.link.map(|link| json!({
                    "by_firmware": link.by_firmware, "by_host": link.by_host, "lost": link.lost,
                    "excluded": link.excluded, "round_trips": link.traffic.round_trips,
                    "bytes_sent": link.traffic.all.sent, "bytes_received": link.traffic.all.received,
                    "turn_bytes_sent": link.traffic.turns.sent, "turn_bytes_received": link.traffic.turns.received,
                })),
            })
        });
        object.wall("runs", wall.collect::<Vec<_>>());
        if let Some(real) = &self.real {
            object.wall("board", json!(real.header()));
        }
        object.wall("out", self.options.out.display().to_string());
        object
    }

    /// The board for people.
    fn board_name(&self) -> String {
        match &self.real {
            None => format!("the simulated board {}", self.profile.plant.name),
            Some(real) if real.applies() => format!("this board, {}", printable(&real.name())),
            Some(real) => {
                format!("this board, {}, in a dry run: its clocks and fan were left alone", printable(&real.name()))
            }
        }
    }

    pub(super) fn describe(&self, results: &[Run]) -> String {
        let options = self.options;
        let fan = self.fan_off_at.map_or("fan working".to_owned(), |request| format!("fan fails at request {request}"));
        let mut text = format!(
            "{} prompts answered by {} ({}) on {}\n\
             {} requests at {}/s{}, {fan}, depth floor {} layers, seed {}\n\n",
            self.prompts.len().min(self.requests),
            options.model.display(),
            printable(&self.model.description()),
            self.board_name(),
            self.requests,
            options.rate,
            if self.real.is_none() { format!(", {} °C ambient", options.ambient()) } else { String::new() },
            self.limits.min_depth,
            options.seed
        );
        let answers = results.first().map(|result| result.turns.iter().flat_map(|turn| &turn.answers));
        for AnswerRecord { prompt, text: answer, .. } in answers.into_iter().flatten().take(3) {
            text.extend(["  ", &printable(prompt), "\n  > ", &printable(answer), "\n\n"]);
        }
        let corner = if self.real.is_some() { "this board, measured" } else { "simulated board" };
        let table =
            if results.len() <= COLUMNS { summary_table(corner, results) } else { comparison_table(corner, results) };
        text += &table.to_string();
        text.extend(results.iter().filter_map(replaced));
        let origin = match &self.real {
            None => "\nall but the decision times: simulated board".to_owned(),
            Some(real) => format!("{}\nenergy: rails {}", happened(results), real.rails()),
        };
        text.extend([&origin, ". record and figure: ", &options.out.display().to_string()]);
        text
    }
}

/// What went otherwise than wished on a real board.
fn happened(results: &[Run]) -> String {
    let line = |Run { governor, incidents, .. }: &Run| {
        let list = incidents.map(|incidents| incidents.to_string()).unwrap_or_default();
        (!list.is_empty()).then(|| format!("\n{governor}: {list}"))
    };
    results.iter().filter_map(line).collect()
}

/// Says that a governor lost against the static setting.
fn replaced(Run { governor, summary, turns, .. }: &Run) -> Option<String> {
    let by_static = |turn: &&TurnRecord| turn.step.decision.reason == Reason::StaticFallback;
    let first = turns.iter().find(by_static).map_or(0, |turn| turn.step.sequence);
    (summary.fallbacks > 0).then(|| {
        let times = summary.fallbacks;
        format!(
            "\n{governor} did worse than the board profile's static setting and was replaced by it: {times} times, first \
             at decision {first}\n"
        )
    })
}

/// Most governors that stand side by side; more of them stand one below the other, with fewer figures.
const COLUMNS: usize = 4;

/// What many governors are compared by, one row per governor.
fn comparison_table(corner: &str, results: &[Run]) -> Table {
    let mut table = Table::new([
        corner,
        "J/token",
        "mean W",
        "p50 s",
        "p95 s",
        "batch",
        "layers",
        "right %",
        "reward",
        "max °C",
        "overruled",
        "held",
        "length s",
        "ended",
    ]);
    for Run { governor, summary: s, .. } in results {
        table.row([
            governor.to_string(),
            number(s.energy_per_token_j, 4),
            number(Some(s.mean_power_w), 2),
            number(s.response_p50_s, 2),
            number(s.response_p95_s, 2),
            number(s.mean_batch, 2),
            number(s.mean_depth_layers, 2),
            number(s.right_answers_share.map(|share| share * 100.0), 1),
            number(s.mean_reward, 4),
            number(Some(s.max_temperature_c), 1),
            s.overruled.values().sum::<u64>().to_string(),
            s.holds.to_string(),
            number(Some(s.duration_s), 0),
            ended(s.ending).to_owned(),
        ]);
    }
    table
}

const fn ended(ending: Ending) -> &'static str {
    match ending {
        Ending::Complete => "complete",
        Ending::Interrupted => "stopped",
        Ending::BoardOff => "board shut down",
        Ending::CannotCool => "too hot to work",
    }
}

/// The figures that people ask for first, one column per governor.
fn summary_table(corner: &str, results: &[Run]) -> Table {
    let mut table =
        Table::new(std::iter::once(corner.to_owned()).chain(results.iter().map(|result| result.governor.to_string())));
    let mut row = |name: &str, cell: &dyn Fn(&Summary) -> String| {
        table.row(std::iter::once(name.to_owned()).chain(results.iter().map(|result| cell(&result.summary))));
    };
    row("energy per token, J", &|s| number(s.energy_per_token_j, 4));
    row("  of it while a batch runs, J", &|s| number(s.active_energy_per_token_j, 4));
    row("energy per request, J", &|s| number(s.energy_per_request_j, 2));
    row("mean power, W", &|s| number(Some(s.mean_power_w), 2));
    row("tokens per second", &|s| number(Some(s.throughput_tokens_per_s), 1));
    row("response p50, s", &|s| number(s.response_p50_s, 2));
    row("response p95, s", &|s| number(s.response_p95_s, 2));
    row("mean batch", &|s| number(s.mean_batch, 2));
    row("mean depth, layers", &|s| number(s.mean_depth_layers, 2));
    if results.iter().any(|result| result.summary.decode_layers_per_token.is_some()) {
        row("decode: layers run per token", &|s| number(s.decode_layers_per_token, 2));
        row("  runs of the model per token", &|s| number(s.decode_runs_per_token, 3));
        let percent = |share: Option<f64>| number(share.map(|share| share * 100.0), 1);
        row("  drafts accepted, %", &|s| percent(s.accepted_drafts_share));
        row("  tokens that left early, %", &|s| percent(s.left_early_share));
    }
    row("mean entropy, nats", &|s| number(s.mean_entropy_nats, 3));
    row("right answers, %", &|s| number(s.right_answers_share.map(|share| share * 100.0), 1));
    row("mean reward (service)", &|s| number(s.mean_reward, 4));
    row("highest temperature, °C", &|s| number(Some(s.max_temperature_c), 2));
    row("time above the limit, s", &|s| number(Some(s.above_limit_s), 1));
    row("requests answered", &|s| s.requests.to_string());
    row("decisions", &|s| s.decisions.to_string());
    row("  overruled by the supervisor", &|s| s.overruled.values().sum::<u64>().to_string());
    let reasons: std::collections::BTreeSet<&String> =
        results.iter().flat_map(|r| r.summary.overruled.keys()).collect();
    for reason in reasons {
        row(&format!("    {reason}"), &|s| s.overruled.get(reason).copied().unwrap_or(0).to_string());
    }
    row("replaced by the static setting", &|s| s.fallbacks.to_string());
    row("length of the run, s", &|s| number(Some(s.duration_s), 0));
    row("ended", &|s| ended(s.ending).to_owned());
    let cost = |result: &Run| {
        result.decision_cost.map_or("-".to_owned(), |c| format!("{} / {} / {}", c.mean_ns, c.p50_ns, c.p95_ns))
    };
    table.row(
        std::iter::once("decision mean / p50 / p95, ns (this machine)".to_owned()).chain(results.iter().map(cost)),
    );
    let wall = |result: &Run| format!("{:.1}", result.wall_s);
    table.row(std::iter::once("took, s (this machine)".to_owned()).chain(results.iter().map(wall)));
    table
}

pub(super) fn progress_bar(requests: usize, governor: &Choice) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(requests as u64);
    bar.set_style(ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} {msg} (eta {eta})")?);
    bar.set_prefix(governor.to_string());
    Ok(bar)
}

/// A moving line on a terminal, twenty plain lines otherwise.
pub(super) fn show_progress(bar: &ProgressBar, turn: &TurnRecord, collector: &Collector, requests: usize) {
    let setting = &turn.step.setting;
    let line = format!(
        "{} °C, {} MHz/{} MHz, batch {}, {} layers, {} J/token{}",
        number(turn.die_c, 1),
        setting.prefill.0 / 1000,
        setting.decode.0 / 1000,
        turn.step.measurement.requests,
        setting.depth,
        number(collector.energy_per_token_j(), 4),
        if turn.fan_working { "" } else { ", fan dead" }
    );
    let before = bar.position();
    bar.set_position(collector.requests());
    let twentieth = |position: u64| position * 20 / (requests as u64).max(1);
    if !std::io::stderr().is_terminal() && twentieth(before) != twentieth(collector.requests()) {
        note(&format!("{} {}/{requests}: {line}", bar.prefix(), collector.requests()));
    }
    bar.set_message(line);
}
