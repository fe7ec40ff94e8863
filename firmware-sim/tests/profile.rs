//! The board profile: file and built-in agree, broken ones are refused by name.

use firmware_sim::plant::{Profile, ProfileError};

const FILE: &str = include_str!("../../models/boards/agx-orin-hf.toml");

/// The table `[plant]` of the shipped file, with one more field if asked for.
fn plant_table(surprise: Option<&str>) -> Result<Profile, toml::de::Error> {
    let mut file: toml::Table = toml::from_str(FILE).expect("the shipped profile is TOML");
    let plant = file.get_mut("plant").and_then(toml::Value::as_table_mut).expect("it has a table [plant]");
    if let Some(name) = surprise {
        plant.insert(name.to_owned(), toml::Value::Integer(1));
    }
    toml::Value::Table(plant.clone()).try_into()
}

#[test]
fn file_equals_built_in() {
    let file = plant_table(None).expect("the shipped profile parses");
    assert_eq!(file.check(), Ok(()));
    assert_eq!(file, Profile::agx_orin_hf());
}

#[test]
fn unknown_fields_are_refused() {
    let error = plant_table(Some("surprise")).expect_err("one field too many");
    assert!(error.to_string().contains("surprise"), "{error}");
}

#[test]
fn broken_profiles_are_refused_by_name() {
    type Break = fn(&mut Profile);
    let cases: [(Break, ProfileError); 7] = [
        (|p| p.name.clear(), ProfileError::Name),
        (|p| p.gpu_clock_khz.clear(), ProfileError::Empty("gpu_clock_khz")),
        (|p| p.gpu_clock_khz.reverse(), ProfileError::NotAscending("gpu_clock_khz")),
        (|p| p.throttle.period_s = 0.3, ProfileError::NotATick("throttle.period_s")),
        (|p| p.throttle.release_c = 99.5, ProfileError::ThrottleOrder),
        (|p| p.fan.cooling[0].pwm = 1, ProfileError::NoCoolingAtRest),
        (|p| p.fan.cooling[1].sink_to_ambient_k_per_w = 9.0, ProfileError::CoolingFalls),
    ];
    for (damage, expected) in cases {
        let mut profile = Profile::agx_orin_hf();
        damage(&mut profile);
        assert_eq!(profile.check(), Err(expected));
        assert!(expected.to_string().starts_with("the profile's `"));
    }
    let mut profile = Profile::agx_orin_hf();
    profile.name.push('\u{1b}').expect("room for one more");
    assert_eq!(profile.check(), Err(ProfileError::Name));
}

/// Every field that a hostile profile used to hang or spoil a run with, and the ends that are no numbers.
#[test]
fn numbers_that_no_board_has_are_refused() {
    type Break = fn(&mut Profile);
    let cases: [(Break, &str); 22] = [
        (|p| p.gpu_clock_khz[0] = 0, "gpu_clock_khz"),
        (|p| p.gpu_clock_khz[10] = u32::MAX, "gpu_clock_khz"),
        (|p| p.layers = 0, "layers"),
        (|p| p.layers = u32::MAX, "layers"),
        (|p| p.actuation_delay_s = 1e300, "actuation_delay_s"),
        (|p| p.decode.floor_s = 1e12, "decode.floor_s"),
        (|p| p.decode.floor_s = f64::NAN, "decode.floor_s"),
        (|p| p.decode.sharpness = 1e-300, "decode.sharpness"),
        (|p| p.decode.floor_per_sequence_s = f64::NEG_INFINITY, "decode.floor_per_sequence_s"),
        (|p| p.prefill.tiles[0].per_token_s_ghz = 1e9, "prefill.tiles.per_token_s_ghz"),
        (|p| p.power.idle_w = 1e6, "power.idle_w"),
        (|p| p.power.leakage.reference_c = -1e300, "power.leakage.reference_c"),
        (|p| p.power.leakage.knee_c = f64::INFINITY, "power.leakage.knee_c"),
        (|p| p.thermal.die_j_per_k = 1e-300, "thermal.die_j_per_k"),
        (|p| p.fan.vendor_period_s = 0.0, "fan.vendor_period_s"),
        (|p| p.throttle.shutdown_c = 1e300, "throttle.shutdown_c"),
        (|p| p.sensor.noise_sd_k = 1e300, "sensor.noise_sd_k"),
        (|p| p.sensor.resolution_k = 1e300, "sensor.resolution_k"),
        (|p| p.sensor.lag_s = -1.0, "sensor.lag_s"),
        (|p| p.sensor.lag_s = 1e300, "sensor.lag_s"),
        (|p| p.noise.decode_time_sd = 1e300, "noise.decode_time_sd"),
        (|p| p.noise.prefill_stall_probability = 2.0, "noise.prefill_stall_probability"),
    ];
    for (damage, field) in cases {
        let mut profile = Profile::agx_orin_hf();
        damage(&mut profile);
        let error = profile.check().expect_err(field);
        assert!(matches!(error, ProfileError::OutOfRange { what, .. } if what == field), "{field}: {error}");
        assert!(error.to_string().starts_with(&format!("the profile's `{field}` must lie between")), "{error}");
    }
}
