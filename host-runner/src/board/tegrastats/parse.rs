//! Words of a line to what they mean.

use super::{Core, Engine, FreeBlocks, Line, Rail, Rate, Temperature, Usage};
use controller_core::units::MilliCelsius;

/// What drivers report for a sensor without power is far below any real temperature.
const OFFLINE_BELOW: MilliCelsius = MilliCelsius(-100_000);

/// Words still to be read.
struct Words<'a> {
    words: Vec<&'a str>,
    next: usize,
}

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        let line = without_wrapper(line);
        Self { words: line.split_whitespace().collect(), next: 0 }
    }

    fn take(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.next)?;
        self.next += 1;
        Some(word)
    }

    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

    /// Takes the next word when `read` understands it.
    fn take_as<T>(&mut self, read: impl FnOnce(&'a str) -> Option<T>) -> Option<T> {
        let value = read(self.peek()?)?;
        self.next += 1;
        Some(value)
    }

    /// Takes a list in brackets, which may have blanks in it, up to and with the word that closes it.
    fn take_list(&mut self) -> Option<String> {
        if !self.peek()?.starts_with('[') {
            return None;
        }
        let rest = &self.words[self.next..];
        let length = rest.iter().position(|word| word.contains(']')).map_or(rest.len(), |last| last + 1);
        self.next += length;
        Some(rest[..length].concat())
    }

    /// Takes a load with its clocks. Blanks may stand in their list, and before the per cent sign, as NVIDIA's own
    /// page on R39 has it: `12 %@[1300, 1300]`.
    fn take_rate(&mut self) -> Option<Rate> {
        let rest = self.words.get(self.next..)?;
        let sign_follows = rest.get(1).is_some_and(|word| word.starts_with('%'));
        let head = if sign_follows && rest.first()?.parse::<u64>().is_ok() { 2 } else { 1 };
        let is_list = rest.get(head - 1)?.contains('[');
        let length = if is_list { 1 + rest.iter().position(|word| word.contains(']'))? } else { head };
        let rate = rate(&rest.get(..length)?.concat())?;
        self.next += length;
        Some(rate)
    }

    /// Passes over the end of a date as `date` and the system log write it: `UTC 2026` behind a time of day.
    fn pass_zone_and_year(&mut self) {
        let is_zone = |word: &&str| word.bytes().all(|b| b.is_ascii_uppercase());
        let is_year = |word: &&str| shaped(word, "dddd");
        let rest = self.words.get(self.next..).unwrap_or_default();
        if rest.first().is_some_and(is_zone) && rest.get(1).is_some_and(is_year) {
            self.next += 2;
        }
    }

    /// Takes what stands in round brackets behind a value: `(lfb 37x4MB)`, glued to it or not.
    fn take_bracket(&mut self, glued: Option<&'a str>) -> Option<(&'a str, &'a str)> {
        let key = match glued {
            Some(text) => text,
            None => self.take_as(|word| word.strip_prefix('('))?,
        };
        let value = self.take_as(|word| Some(word.trim_end_matches(')')))?;
        Some((key, value))
    }
}

/// Drops what a wrapper script put in front, such as `1739645853.5---`.
fn without_wrapper(line: &str) -> &str {
    match line.split_once("---") {
        Some((mark, rest)) if mark.trim().bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b':' | b'-')) => {
            rest.trim_start_matches('-')
        }
        _ => line,
    }
}

pub(super) fn parse(text: &str) -> Line {
    let mut line = Line::default();
    let mut words = Words::new(text);
    while let Some(word) = words.take() {
        match word {
            "RAM" => {
                if let Some((usage, bracket)) = memory(&mut words, megabytes) {
                    line.ram = Some(usage);
                    line.free_blocks = bracket.and_then(|(key, value)| (key == "lfb").then(|| free_blocks(value))?);
                }
            }
            "SWAP" => {
                if let Some((usage, bracket)) = memory(&mut words, megabytes) {
                    line.swap = Some(usage);
                    line.swap_cached_mb =
                        bracket.and_then(|(key, value)| (key == "cached").then(|| size(value, megabytes))?);
                }
            }
            "IRAM" => {
                if let Some((usage, _)) = memory(&mut words, kilobytes) {
                    line.iram = Some(usage);
                }
            }
            "CPU" | "cpu" if words.peek().is_some_and(|word| word.starts_with('[')) => {
                line.cpus = words.take_list().map(|list| cores(&list)).unwrap_or_default();
            }
            "EMC_FREQ" | "EMC" => line.emc = words.take_rate().or(line.emc.take()),
            "GR3D_FREQ" | "GR3D" => line.gr3d = words.take_rate().or(line.gr3d.take()),
            "GR3D2_FREQ" | "GR3D2" => line.gr3d2 = words.take_rate().or(line.gr3d2.take()),
            "MTS" => pairs(&mut words, &["fg", "bg"], "MTS", &mut line.plain),
            "EDP" => pairs(&mut words, &["limit"], "EDP", &mut line.plain),
            "NC" => line.not_connected += u32::from(words.take_as(rail).is_some()),
            _ => other(word, &mut words, &mut line),
        }
    }
    line
}

/// A zone, a rail, an engine, a plain number, the date, or nothing that is known.
fn other<'a>(word: &'a str, words: &mut Words<'a>, line: &mut Line) {
    if let Some((name, temperature)) = zone(word) {
        line.temperatures.retain(|(known, _)| known != name);
        if temperature.now < OFFLINE_BELOW {
            line.offline.push(name.to_owned());
        } else {
            line.temperatures.push((name.to_owned(), temperature));
        }
    } else if is_date(word) {
        if let Some(time) = words.take_as(|time| is_time(time).then_some(time)) {
            line.timestamp = Some(format!("{word} {time}"));
        }
    } else if is_time(word) {
        words.pass_zone_and_year();
    } else if !is_name(word) {
        // The rest of a word that was cut, or something new.
    } else if let Some(rail) = words.take_as(rail) {
        put(&mut line.rails, word, rail);
    } else if words.take_as(|text| text.eq_ignore_ascii_case("off").then_some(())).is_some() {
        put(&mut line.engines, word, Engine::Off);
    } else if let Some(rate) = words.take_rate() {
        put(&mut line.engines, word, Engine::On(rate));
    } else if let Some(number) = words.take_as(|text| text.parse().ok())
        // A rail that was cut at the end of the line looks like a plain number, and so does `Jan 8` of a log's own date.
        && !is_rail_name(word)
        && !word.contains(|c: char| c.is_ascii_lowercase())
    {
        put(&mut line.plain, word, number);
    }
}

/// A name that comes twice has its last value.
fn put<T>(list: &mut Vec<(String, T)>, name: &str, value: T) {
    match list.iter_mut().find(|(known, _)| known == name) {
        Some((_, place)) => *place = value,
        None => list.push((name.to_owned(), value)),
    }
}

/// `fg 0% bg 10%` or `limit 1734`, each named after the word in front.
fn pairs(words: &mut Words<'_>, keys: &[&str], front: &str, plain: &mut Vec<(String, u64)>) {
    while let Some(key) = words.take_as(|word| keys.contains(&word).then_some(word)) {
        if let Some(number) = words.take_as(|word| word.strip_suffix('%').unwrap_or(word).parse().ok()) {
            put(plain, &format!("{front}_{key}"), number);
        }
    }
}

/// `1866/7620MB (lfb 42x4MB)`; the bracket may be glued to the value.
fn memory<'a>(words: &mut Words<'a>, scale: Scale) -> Option<(Usage, Option<(&'a str, &'a str)>)> {
    let (usage, glued) = words.take_as(|word| {
        let (value, glued) = match word.split_once('(') {
            Some((value, glued)) => (value, Some(glued)),
            None => (word, None),
        };
        let (used, total) = value.split_once('/')?;
        let unit = total.trim_start_matches(|c: char| c.is_ascii_digit());
        let total = size(total, scale)?;
        // The unit stands once, behind the total.
        let used = size(&format!("{}{unit}", used.trim_end_matches(unit)), scale)?;
        Some((Usage { used, total }, glued))
    })?;
    Some((usage, words.take_bracket(glued)))
}

/// kB to the unit that is asked for.
type Scale = fn(u64) -> u64;

fn megabytes(kilobytes: u64) -> u64 {
    kilobytes / 1024
}

fn kilobytes(kilobytes: u64) -> u64 {
    kilobytes
}

/// `252kB`, `4MB` or `1GB`.
fn size(text: &str, scale: Scale) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let kilobytes = match unit {
        "kB" | "KB" => 1,
        "MB" => 1024,
        "GB" => 1024 * 1024,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(kilobytes).map(scale)
}

/// `42x4MB`.
fn free_blocks(text: &str) -> Option<FreeBlocks> {
    let (count, block) = text.split_once('x')?;
    Some(FreeBlocks { count: count.parse().ok()?, block_kb: size(block, kilobytes)? })
}

/// `[17%@1190,off]`, or `[17%,13%]@408` with one clock for all.
fn cores(list: &str) -> Vec<Option<Core>> {
    let (inside, behind) = list.split_once(']').unwrap_or((list, ""));
    let shared = behind.strip_prefix('@').and_then(|clock| clock.parse().ok());
    let entries = inside.trim_start_matches('[').split(',');
    entries
        .filter_map(|entry| {
            if entry.eq_ignore_ascii_case("off") {
                return Some(None);
            }
            let (load, clock) = entry.split_once('@').map_or((entry, None), |(load, clock)| (load, Some(clock)));
            let load = load.strip_suffix('%')?.parse().ok()?;
            let freq_mhz = clock.map_or(Some(shared), |clock| clock.parse().ok().map(Some))?;
            Some(Some(Core { load, freq_mhz }))
        })
        .collect()
}

/// `12%`, `12%@1300`, `12%@[1300,1300]`, `@314` or `@[314,314,314]`.
fn rate(text: &str) -> Option<Rate> {
    let (load, clocks) = text.split_once('@').map_or((text, None), |(load, clocks)| (load, Some(clocks)));
    let load = if load.is_empty() && clocks.is_some() { None } else { Some(load.strip_suffix('%')?.parse().ok()?) };
    let freq_mhz = match clocks {
        None => None,
        Some(list) => {
            let list = list.strip_prefix('[').map_or(Some(list), |inside| inside.strip_suffix(']'))?;
            Some(list.split(',').map(|clock| clock.parse().ok()).collect::<Option<Vec<u64>>>()?)
        }
    };
    Some(Rate { load, freq_mhz })
}

/// `3624/3624`, `3624mW/3624mW`, with a third number since R39, or `3624mW` alone.
fn rail(text: &str) -> Option<Rail> {
    let mut parts = text.split('/');
    let (now, unit) = milliwatts(parts.next()?)?;
    let mut same_unit = |part: &str| milliwatts(part).filter(|(_, other)| *other == unit).map(|(power, _)| power);
    let mean = parts.next().map(&mut same_unit);
    let peak = parts.next().map(&mut same_unit);
    // A number without unit and without a second one is no power.
    if parts.next().is_some() || (mean.is_none() && !unit) || mean == Some(None) && !unit {
        return None;
    }
    Some(Rail { now_mw: now, mean_mw: mean.flatten(), peak_mw: peak.flatten() })
}

/// A power in mW, and whether it has a unit.
fn milliwatts(text: &str) -> Option<(i64, bool)> {
    match text.strip_suffix("mW") {
        Some(number) => Some((number.parse().ok()?, true)),
        None => Some((text.parse().ok()?, false)),
    }
}

/// `GPU@54.5C`, or `GPU@54.5C/61C` with the peak behind.
fn zone(word: &str) -> Option<(&str, Temperature)> {
    let (name, value) = word.rsplit_once('@')?;
    if !is_name(name) {
        return None;
    }
    let mut parts = value.split('/');
    let now = celsius(parts.next()?)?;
    Some((name, Temperature { now, peak: parts.next().and_then(celsius) }))
}

/// `-256C` or `42.593C`.
fn celsius(text: &str) -> Option<MilliCelsius> {
    let number = text.strip_suffix('C')?;
    let (sign, number) = number.strip_prefix('-').map_or((1, number), |number| (-1, number));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) || whole.starts_with('+') {
        return None;
    }
    let thousandths = format!("{fraction:0<3}")[..3].parse::<i32>().ok()?;
    let whole: i32 = whole.parse().ok()?;
    whole.checked_mul(1000)?.checked_add(thousandths).map(|value| MilliCelsius(sign * value))
}

/// A word that can name something: letters, digits and `_`, a letter first.
fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// `VDD_IN`, `VIN`, `POM_5V_IN` and what is like them.
fn is_rail_name(name: &str) -> bool {
    ["VDD", "VIN", "POM_", "SYS5V"].iter().any(|start| name.starts_with(start))
}

/// `05-13-2026`.
fn is_date(word: &str) -> bool {
    shaped(word, "dd-dd-dddd")
}

/// `15:11:36`.
fn is_time(word: &str) -> bool {
    shaped(word, "dd:dd:dd")
}

/// The word has digits where the shape has `d`, and the shape's own characters elsewhere.
fn shaped(word: &str, shape: &str) -> bool {
    word.len() == shape.len()
        && word.bytes().zip(shape.bytes()).all(|(b, s)| if s == b'd' { b.is_ascii_digit() } else { b == s })
}
