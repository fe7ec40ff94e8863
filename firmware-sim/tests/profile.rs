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
    let cases: [(Break, ProfileError); 10] = [
        (|p| p.gpu_clock_khz.clear(), ProfileError::Empty("gpu_clock_khz")),
        (|p| p.gpu_clock_khz.reverse(), ProfileError::NotAscending("gpu_clock_khz")),
        (|p| p.layers = 0, ProfileError::NotPositive("layers")),
        (|p| p.decode.floor_s = f64::NAN, ProfileError::NotPositive("decode.floor_s")),
        (|p| p.power.leakage.knee_c = f64::INFINITY, ProfileError::NotFinite("power.leakage.knee_c")),
        (|p| p.sensor.lag_s = -1.0, ProfileError::Negative("sensor.lag_s")),
        (|p| p.throttle.period_s = 0.3, ProfileError::NotATick("throttle.period_s")),
        (|p| p.throttle.release_c = 99.5, ProfileError::ThrottleOrder),
        (|p| p.fan.cooling[0].pwm = 1, ProfileError::NoCoolingAtRest),
        (|p| p.noise.prefill_stall_probability = 2.0, ProfileError::NotAProbability("noise.prefill_stall_probability")),
    ];
    for (damage, expected) in cases {
        let mut profile = Profile::agx_orin_hf();
        damage(&mut profile);
        assert_eq!(profile.check(), Err(expected));
        assert!(expected.to_string().starts_with("the profile's `"));
    }
}
