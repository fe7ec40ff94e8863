//! Lines written for these tests, one or more for each release's shape.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}"))
}

/// Checks some places of the line's JSON.
fn check(line: &str, expected: &[(&str, Value)]) {
    let value = Line::parse(line).to_json();
    for (pointer, expected) in expected {
        assert_eq!(at(&value, pointer), expected, "{pointer} of {line}");
    }
}

const R24: &str = "RAM 1500/3990MB (lfb 9x2MB) SWAP 1/8MB (cached 0MB) cpu [3%,off,9%,0%]@510 EMC 2%@665 AVP 7%@80 VDE 0 GR3D 44%@153 EDP limit 1912";
const R28: &str = "RAM 2001/7846MB (lfb 500x4MB) CPU [11%@499,off,off,12%@499,9%@501,3%@499] BCPU@40.5C MCPU@40.5C GPU@39C PLL@40.5C Tboard@35C Tdiode@37.25C PMIC@100C thermal@40.1C VDD_IN 2750/2760 VDD_CPU 300/310 VDD_GPU 150/151 VDD_SOC 600/602 VDD_WIFI 19/38 VDD_DDR 700/701";
const R32: &str = "RAM 700/3950MB (lfb 1x512kB) SWAP 9/1975MB (cached 1MB) IRAM 4/252kB(lfb 248kB) CPU [5%@710,6%@710,off,off] EMC_FREQ 12%@1600 GR3D_FREQ 0%@0 APE 25 MTS fg 3% bg 12% PLL@30C PMIC@50C GPU@30.25C POM_5V_IN 2100/2090 POM_5V_GPU 80/81 POM_5V_CPU 400/410";
const XAVIER: &str = "RAM 1/2MB (lfb 1x4MB) CPU [1%@1190] GPU@38C CPU@39.5C PMIC@100C CV 1/2 SYS5V 3/4 SOC 5/6 GPU 7/8 VDDRQ 9/10 CPU 11/12";
const R35: &str = "02-29-2024 23:59:60 RAM 3000/30000MB (lfb 8x4MB)  SWAP 0/15000MB (cached 0MB) CPU [0%@729,off] EMC_FREQ 1%@2133 GR3D_FREQ 3%@[0,0] GR3D2_FREQ 0%@0 VIC_FREQ 729 CV0@-256C tj@-256C CPU@44.062C NC 0mW/0mW VDD_GPU_SOC 2000mW/2100mW VDD_CPU_CV 400mW/410mW VIN_SYS_5V0 3000mW/3100mW NC 0mW/0mW VDDQ_VDD2_1V8AO 300mW/310mW";
const R36: &str = "12-01-2025 01:02:03 RAM 1/7620MB (lfb 1x4MB) SWAP 0/1MB (cached 0MB) CPU [100%@1728] GR3D_FREQ 55%@[611] NVENC 40%@499 NVDEC off VIC off NVDLA0 12%@[1,2] cpu@50.5C gpu@-0.5C VDD_IN 9000mW/8000mW VDD_CPU_GPU_CV 9500mW/4000mW VDD_SOC -8mW/0mW";
const R38: &str = "01-01-2026 00:00:00 RAM 9/125000MB (lfb 3x4MB) CPU [0%@972] EMC_FREQ 0%@665 GR3D_FREQ @[0,0,0] NVENC0_FREQ @0 PVA0_FREQ off APE 300 tj@41C VDD_GPU 1mW/1mW VDD_CPU_SOC_MSS 20mW/20mW VIN_SYS_5V0 300mW/300mW VIN 4000mW/4000mW";
const R39: &str = "01-01-2027 00:00:00 RAM 9/125000MB (lfb 3x2MB) CPU [0%@972] GR3D_FREQ 87%@[1574,1574] cpu@50C/61.5C tj@51.125C/62C VDD_GPU 5mW/6mW/7mW VDD_CPU_SOC_MSS 20mW/20mW/20mW VIN_SYS_5V0 300mW/300mW/300mW";

const LINES: [&str; 8] = [R24, R28, R32, XAVIER, R35, R36, R38, R39];

#[test]
fn every_release_is_read() {
    check(
        R24,
        &[
            (
                "/cpus",
                json!([{"load": 3, "freq_mhz": 510}, null, {"load": 9, "freq_mhz": 510}, {"load": 0, "freq_mhz": 510}]),
            ),
            ("/emc", json!({"load": 2, "freq_mhz": 665})),
            ("/gr3d", json!({"load": 44, "freq_mhz": [153]})),
            ("/engines", json!({"AVP": {"load": 7, "freq_mhz": [80]}})),
            ("/plain", json!({"VDE": 0, "EDP_limit": 1912})),
            ("/timestamp", Value::Null),
            ("/derived/total_mw", Value::Null),
            ("/derived/max_temp_c", Value::Null),
            ("/derived/cpus_online", json!(3)),
        ],
    );
    check(
        R28,
        &[
            ("/rails_mw/VDD_WIFI", json!({"cur": 19, "avg": 38, "peak": null})),
            ("/derived/total_mw", json!({"cur": 2750, "rule": "VDD_IN"})),
            ("/derived/suspect_zones", json!(["PMIC"])),
            ("/derived/max_temp_c", json!(40.5)),
            ("/swap_used_mb", Value::Null),
        ],
    );
    check(
        R32,
        &[
            ("/lfb_block_kb", json!(512)),
            ("/iram_used_kb", json!(4)),
            ("/iram_total_kb", json!(252)),
            ("/ram_used_mb", json!(700)),
            ("/plain", json!({"APE": 25, "MTS_fg": 3, "MTS_bg": 12})),
            ("/derived/gpu_gated", json!(true)),
            ("/derived/total_mw", json!({"cur": 2100, "rule": "POM_5V_IN"})),
        ],
    );
    check(
        XAVIER,
        &[
            ("/derived/total_mw", json!({"cur": 36, "rule": "GPU+CPU+SOC+CV+VDDRQ+SYS5V"})),
            ("/temps_c", json!({"GPU": 38.0, "CPU": 39.5, "PMIC": 100.0})),
            ("/cpus", json!([{"load": 1, "freq_mhz": 1190}])),
        ],
    );
    check(
        R35,
        &[
            ("/timestamp", json!("02-29-2024 23:59:60")),
            ("/temps_offline", json!(["CV0", "tj"])),
            ("/temps_c", json!({"CPU": 44.062})),
            ("/rails_nc", json!(2)),
            ("/gr3d2", json!({"load": 0, "freq_mhz": [0]})),
            ("/plain", json!({"VIC_FREQ": 729})),
            ("/derived/total_mw", json!({"cur": 5400, "rule": "VDD_GPU_SOC+VDD_CPU_CV+VIN_SYS_5V0"})),
        ],
    );
    check(
        R36,
        &[
            ("/engines/NVENC", json!({"load": 40, "freq_mhz": [499]})),
            ("/engines/NVDEC", json!({"state": "off"})),
            ("/engines/NVDLA0", json!({"load": 12, "freq_mhz": [1, 2]})),
            ("/temps_c/gpu", json!(-0.5)),
            ("/rails_mw/VDD_SOC", json!({"cur": -8, "avg": 0, "peak": null})),
            ("/derived/gpu_gated", json!(false)),
            ("/derived/total_mw/cur", json!(9000)),
            ("/emc", Value::Null),
        ],
    );
    check(
        R38,
        &[
            ("/gr3d", json!({"load": null, "freq_mhz": [0, 0, 0]})),
            ("/engines/NVENC0_FREQ", json!({"load": null, "freq_mhz": [0]})),
            ("/derived/gpu_gated", json!(true)),
            ("/derived/total_mw", json!({"cur": 4000, "rule": "VIN"})),
        ],
    );
    check(
        R39,
        &[
            ("/temps_peak_c", json!({"cpu": 61.5, "tj": 62.0})),
            ("/rails_mw/VDD_GPU", json!({"cur": 5, "avg": 6, "peak": 7})),
            ("/gr3d", json!({"load": 87, "freq_mhz": [1574, 1574]})),
            ("/derived/total_mw", json!({"cur": 325, "rule": "VDD_GPU+VDD_CPU_SOC_MSS+VIN_SYS_5V0"})),
        ],
    );
}

/// Shapes that public logs and NVIDIA's own pages show beside the usual ones, one or more for each board.
#[test]
fn less_usual_shapes_are_read() {
    // TX2, R28: video engines as plain clocks.
    check(
        "RAM 1633/7853MB (lfb 11x4MB) CPU [65%@960,off,off,28%@960] EMC_FREQ 8%@665 GR3D_FREQ 0%@140 MSENC 115 NVDEC 268 APE 150 \
         BCPU@36.5C VDD_IN 2915/2934 VDD_5V0_SD 80/79",
        &[
            ("/plain", json!({"MSENC": 115, "NVDEC": 268, "APE": 150})),
            ("/rails_mw/VDD_5V0_SD/cur", json!(80)),
            ("/derived/total_mw/cur", json!(2915)),
            ("/derived/cpus_online", json!(2)),
        ],
    );
    // Nano and Xavier NX, R32: radios among the zones, the video mixer with a load, no load of the GPU's clock for users.
    check(
        "RAM 2437/3964MB (lfb 107x4MB) SWAP 51/4030MB (cached 2MB) CPU [31%@1479,27%@1479] EMC_FREQ 0% GR3D_FREQ 0% VIC_FREQ 0%@192 \
         PLL@33.5C CPU@36C iwlwifi@35C PMIC@50C thermal@35.25C",
        &[
            ("/gr3d", json!({"load": 0, "freq_mhz": null})),
            ("/engines", json!({"VIC_FREQ": {"load": 0, "freq_mhz": [192]}})),
            ("/temps_c/iwlwifi", json!(35.0)),
            ("/derived/max_temp_c", json!(36.0)),
            ("/derived/gpu_gated", json!(false)),
        ],
    );
    // Xavier NX, R35: units, and one clock in brackets.
    check(
        "CPU [3%@1904,off] EMC_FREQ 0%@1600 GR3D_FREQ 0%@[510] VIC_FREQ 601 AUX@39C VDD_IN 5079mW/5079mW VDD_CPU_GPU_CV 696mW/696mW",
        &[("/gr3d/freq_mhz", json!([510])), ("/plain/VIC_FREQ", json!(601)), ("/derived/total_mw/cur", json!(5079))],
    );
    // Orin NX, R35: offline zones between others, a second GPU entry.
    check(
        "GR3D_FREQ 0%@305 GR3D2_FREQ 0%@0 VIC_FREQ 115 APE 174 CV0@-256C CPU@44.093C GPU@-256C tj@46.968C CV2@-256C VDD_SOC 1431mW/1431mW",
        &[
            ("/gr3d/freq_mhz", json!([305])),
            ("/gr3d2/freq_mhz", json!([0])),
            ("/temps_offline", json!(["CV0", "GPU", "CV2"])),
            ("/derived/max_temp_c", json!(46.968)),
            ("/derived/total_mw", Value::Null),
        ],
    );
    // R36 and later: blanks in lists, capitals, clocks of the memory alone, a zone that is offline with its peak.
    check(
        "CPU [1%@729, OFF, 2%@729] EMC_FREQ @2133 GR3D_FREQ 12%@[1300, 1299, 0] NVENC OFF NVDLA0 3%@[1, 2] PVA0_FREQ off tj@-256C/-256C \
         VDD_IN 9000mW",
        &[
            ("/derived/cpus_online", json!(2)),
            ("/emc", json!({"load": null, "freq_mhz": 2133})),
            ("/gr3d", json!({"load": 12, "freq_mhz": [1300, 1299, 0]})),
            ("/engines/NVENC", json!({"state": "off"})),
            ("/engines/NVDLA0", json!({"load": 3, "freq_mhz": [1, 2]})),
            ("/engines/PVA0_FREQ", json!({"state": "off"})),
            ("/temps_offline", json!(["tj"])),
            ("/rails_mw/VDD_IN", json!({"cur": 9000, "avg": null, "peak": null})),
        ],
    );
    // Thor: GPU clocks without load, an idle rail below zero, no swap.
    check(
        "RAM 1/2MB (lfb 31x4MB) GR3D_FREQ @[0,0,0] OFA_FREQ @315 VDD_GPU -392mW/-196mW VIN 19780mW/19780mW",
        &[
            ("/gr3d", json!({"load": null, "freq_mhz": [0, 0, 0]})),
            ("/engines/OFA_FREQ", json!({"load": null, "freq_mhz": [315]})),
            ("/rails_mw/VDD_GPU/cur", json!(-392)),
            ("/derived/gpu_gated", json!(true)),
            ("/swap_total_mb", Value::Null),
        ],
    );
}

/// Shapes of public captures (TX2 on R27, Thor without root on R39.2) and of NVIDIA's page on R39.2, and dates that the system
/// log, `date` and `ts` put in front.
#[test]
fn dates_of_others_are_no_clocks_and_blanks_no_end() {
    check(
        "RAM 2440/6660MB (lfb 620x4MB) cpu [0%@1994,5%@2035] EMC 0%@1600 GR3D 5%@1275 GR3D_PCI 0%@2607",
        &[
            ("/cpus/1", json!({"load": 5, "freq_mhz": 2035})),
            ("/gr3d", json!({"load": 5, "freq_mhz": [1275]})),
            ("/engines", json!({"GR3D_PCI": {"load": 0, "freq_mhz": [2607]}})),
        ],
    );
    check(
        "07-02-2026 13:45:44 SWAP 11/4096MB (cached 9MB) CPU [0%,5%,off]@2601 EMC_FREQ @4266 gpu@62.906C/64C VDD_GPU 4mW/4mW/4mW \
         VDD_CPU_SOC_MSS 3mW/3mW/3mW VIN_SYS_5V0 2mW/2mW/2mW VIN 87mW/43mW/87mW",
        &[
            ("/cpus/1/freq_mhz", json!(2601)),
            ("/derived/cpus_online", json!(2)),
            ("/gr3d", Value::Null),
            ("/derived/total_mw", json!({"cur": 87, "rule": "VIN"})),
        ],
    );
    check(
        "GR3D_FREQ 12 %@[1300, 1299] EMC_FREQ 3 %@3199 NVENC0_FREQ 4 %@[20] APE 174",
        &[
            ("/gr3d", json!({"load": 12, "freq_mhz": [1300, 1299]})),
            ("/emc", json!({"load": 3, "freq_mhz": 3199})),
            ("/engines", json!({"NVENC0_FREQ": {"load": 4, "freq_mhz": [20]}})),
            ("/plain", json!({"APE": 174})),
        ],
    );
    for front in [
        "Mon Jan  8 01:51:37 UTC 2025",
        "Nov 23 08:20:11 jetson tegrastats[1234]:",
        "2024-05-01T10:00:00+0200",
        "[2024-05-01 10:00:00.123]",
        "10:00:00",
        "1739645853.5",
    ] {
        check(
            &format!("{front} RAM 1/2MB (lfb 1x4MB) APE 25 VIC_FREQ 2000 GPU@20C"),
            &[
                ("/timestamp", Value::Null),
                ("/ram_used_mb", json!(1)),
                ("/plain", json!({"APE": 25, "VIC_FREQ": 2000})),
                ("/temps_c", json!({"GPU": 20.0})),
            ],
        );
    }
}

#[test]
fn what_is_unknown_or_cut_is_left_out() {
    check(
        "1739645853.5---RAM 1/2MB (lfb 1x4MB) GPU@40C",
        &[("/ram_used_mb", json!(1)), ("/temps_c", json!({"GPU": 40.0}))],
    );
    check("1739645853.5--- 01-02-2026 03:04:05 GPU@40C", &[("/timestamp", json!("01-02-2026 03:04:05"))]);
    check(
        "FUTURE_TOKEN value GPU@40C NEW_LIST {1,2} VDD_IN 7mW/7mW",
        &[("/temps_c", json!({"GPU": 40.0})), ("/rails_mw/VDD_IN/cur", json!(7))],
    );
    check(
        "62841MB (lfb 3x4MB) SWAP 0/31421MB (cached 2MB)",
        &[("/swap_cached_mb", json!(2)), ("/ram_used_mb", Value::Null), ("/lfb_count", Value::Null)],
    );
    check("SWAP GPU@40C", &[("/swap_used_mb", Value::Null), ("/temps_c", json!({"GPU": 40.0}))]);
    check(
        "CPU [1%@345, off, 2%@345] EMC_FREQ 3%",
        &[("/derived/cpus_online", json!(2)), ("/emc", json!({"load": 3, "freq_mhz": null}))],
    );
    for cut in [
        "VDD_IN 52",
        "VDD_IN 52mW/5",
        "VDD_IN",
        "GPU@41.5",
        "GPU@",
        "RAM 12/34",
        "CPU [1%@34",
        "GR3D_FREQ 12%@[13",
        "VDD_IN 5216m",
    ] {
        let line = Line::parse(cut);
        assert!(
            line.plain.is_empty() && line.temperatures.is_empty() && line.ram.is_none() && line.gr3d.is_none(),
            "{cut}: {line:?}"
        );
        assert!(line.rails.iter().all(|(_, rail)| rail.now_mw == 52 && rail.mean_mw.is_none()), "{cut}: {line:?}");
    }
    assert!(!Line::parse("").says_something());
    assert!(!Line::parse("tegrastats: command not found").says_something());
}

/// Words that belong together stay together.
fn groups(line: &str) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    let mut value_follows = false;
    for word in line.split_whitespace() {
        let key = word.starts_with(|c: char| c.is_ascii_alphabetic())
            && !word.contains('@')
            && !matches!(word, "off" | "fg" | "bg" | "limit");
        let date = word.len() == 10 && word.as_bytes()[2] == b'-';
        let zone = word.contains('@') && word.starts_with(|c: char| c.is_ascii_alphabetic());
        if (key || date || zone) && !value_follows {
            groups.push(word.to_owned());
        } else {
            let last = groups.last_mut().unwrap();
            *last = format!("{last} {word}");
        }
        value_follows = false;
    }
    groups
}

proptest! {
    #[test]
    fn any_text_is_a_line(text in any::<String>()) {
        let _ = Line::parse(&text).to_json();
    }

    #[test]
    fn any_words_of_its_own_are_a_line(words in prop::collection::vec(
        prop::sample::select(vec!["RAM", "SWAP", "IRAM", "CPU", "[1%@2", "off]", "1/2MB", "(lfb", "0/252kB(lfb", "3x4MB)", "GR3D_FREQ", "@[1", "0%@0", "MTS", "fg", "EDP",
            "limit", "NC", "9/9", "-1mW/2", "99999999999999999999mW/1mW", "x@-256C", "x@9999999999C", "x@-.C", "01-01-2020", "00:00:00", "---", "1---", "@", "/", "%", "(", "[", "]", "-256C", "é@1C"]), 0..24),
        glue in prop::collection::vec(prop::sample::select(vec![" ", "  ", "", "\t"]), 24)) {
        let text: String = words.iter().zip(&glue).flat_map(|(word, glue)| [*word, *glue]).collect();
        let _ = Line::parse(&text).to_json();
    }

    #[test]
    fn the_order_of_words_says_nothing(line in prop::sample::select(LINES.to_vec()), seed in any::<u64>()) {
        let mut groups = groups(line);
        let mut state = seed | 1;
        for place in (1..groups.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            groups.swap(place, usize::try_from(state >> 33).unwrap() % (place + 1));
        }
        let mixed = Line::parse(&groups.join(" "));
        let mut straight = Line::parse(line);
        // Lists keep the order of the line; what they hold must be the same.
        let sorted = |mut line: Line| {
            line.engines.sort_by(|a, b| a.0.cmp(&b.0));
            line.plain.sort();
            line.temperatures.sort_by(|a, b| a.0.cmp(&b.0));
            line.offline.sort();
            line.rails.sort_by(|a, b| a.0.cmp(&b.0));
            line
        };
        straight = sorted(straight);
        prop_assert_eq!(sorted(mixed), straight);
    }

    #[test]
    fn a_cut_line_says_nothing_that_the_whole_one_does_not(line in prop::sample::select(LINES.to_vec()), cut in any::<prop::sample::Index>()) {
        let whole = Line::parse(line);
        let part = Line::parse(&line[..cut.index(line.len())]);
        for (name, temperature) in &part.temperatures {
            prop_assert!(whole.temperatures.iter().any(|(other, same)| other == name && same.now == temperature.now));
        }
        // Without units a number that was cut is a number; with them it is not.
        if line.contains("mW") {
            for (name, rail) in &part.rails {
                prop_assert!(whole.rails.iter().any(|(other, same)| other == name && same.now_mw == rail.now_mw));
            }
        }
        prop_assert!(part.cpus.len() <= whole.cpus.len());
    }
}
