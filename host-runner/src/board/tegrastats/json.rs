//! A line as JSON, with the names of the conformance files: absent is null, temperatures are °C.

use super::{Engine, Line, Rate};
use controller_core::units::MilliCelsius;
use serde_json::{Map, Value, json};

impl Line {
    /// The line as one object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let cpus: Vec<Value> = self
            .cpus
            .iter()
            .map(|core| core.map_or(Value::Null, |core| json!({"load": core.load, "freq_mhz": core.freq_mhz})))
            .collect();
        let peaks = self.temperatures.iter().filter_map(|(name, t)| Some((name.clone(), celsius(t.peak?))));
        json!({
            "timestamp": self.timestamp,
            "ram_used_mb": self.ram.map(|ram| ram.used),
            "ram_total_mb": self.ram.map(|ram| ram.total),
            "lfb_count": self.free_blocks.map(|blocks| blocks.count),
            "lfb_block_kb": self.free_blocks.map(|blocks| blocks.block_kb),
            "swap_used_mb": self.swap.map(|swap| swap.used),
            "swap_total_mb": self.swap.map(|swap| swap.total),
            "swap_cached_mb": self.swap_cached_mb,
            "iram_used_kb": self.iram.map(|iram| iram.used),
            "iram_total_kb": self.iram.map(|iram| iram.total),
            "cpus": cpus,
            "emc": self.emc.as_ref().map(|emc| json!({"load": emc.load, "freq_mhz": emc.freq_mhz.as_ref().and_then(|f| f.first())})),
            "gr3d": self.gr3d.as_ref().map(rate),
            "gr3d2": self.gr3d2.as_ref().map(rate),
            "engines": object(self.engines.iter().map(|(name, engine)| (name.clone(), self::engine(engine)))),
            "plain": object(self.plain.iter().map(|(name, number)| (name.clone(), json!(number)))),
            "temps_c": object(self.temperatures.iter().map(|(name, t)| (name.clone(), celsius(t.now)))),
            "temps_peak_c": object(peaks),
            "temps_offline": self.offline,
            "rails_mw": object(self.rails.iter().map(|(name, rail)| {
                (name.clone(), json!({"cur": rail.now_mw, "avg": rail.mean_mw, "peak": rail.peak_mw}))
            })),
            "rails_nc": self.not_connected,
            "derived": {
                "total_mw": self.total_mw().map(|(total, rule)| json!({"cur": total, "rule": rule})),
                "max_temp_c": self.max_temperature().map(celsius),
                "suspect_zones": self.dummy_zones().collect::<Vec<_>>(),
                "cpus_online": self.cpus.iter().flatten().count(),
                "gpu_gated": self.gpu_gated(),
            },
        })
    }
}

fn object(entries: impl Iterator<Item = (String, Value)>) -> Value {
    Value::Object(entries.collect::<Map<_, _>>())
}

fn rate(rate: &Rate) -> Value {
    json!({"load": rate.load, "freq_mhz": rate.freq_mhz})
}

fn engine(engine: &Engine) -> Value {
    match engine {
        Engine::Off => json!({"state": "off"}),
        Engine::On(rate) => self::rate(rate),
    }
}

fn celsius(temperature: MilliCelsius) -> Value {
    json!(f64::from(temperature.0) / 1000.0)
}
