//! A synthetic AGX Orin on JetPack 6 as files: laid out like the real one, every value made up.

#![allow(dead_code, unreachable_pub, reason = "a module of several test programs, each of which uses a part")]

use std::path::{Path, PathBuf};

/// The folder of the GPU's clock.
pub const GPU: &str = "/sys/devices/platform/bus@0/17000000.gpu/devfreq/17000000.gpu";

/// The fan's device; below it lies hwmonN.
pub const FAN: &str = "/sys/devices/platform/pwm-fan/hwmon";

/// State of the cooling device that caps the GPU.
pub const CAP: &str = "/sys/class/thermal/cooling_device2/cur_state";

/// Temperature of the junction.
pub const TJ: &str = "/sys/class/thermal/thermal_zone8/temp";

/// Clocks of the board, Hz.
pub const TABLE_HZ: [u64; 11] = [
    306_000_000,
    408_000_000,
    510_000_000,
    612_000_000,
    714_000_000,
    816_000_000,
    918_000_000,
    1_020_000_000,
    1_122_000_000,
    1_224_000_000,
    1_300_500_000,
];

/// Every file with its content.
pub fn files() -> Vec<(PathBuf, String)> {
    let table = TABLE_HZ.map(|hz| hz.to_string()).join(" ");
    let gpu = |name: &str| format!("{GPU}/{name}");
    let hwmon = |number: u8, name: &str| format!("/sys/class/hwmon/hwmon{number}/{name}");
    let zone = |number: u8, name: &str| format!("/sys/class/thermal/thermal_zone{number}/{name}");
    let cooling = |number: u8, name: &str| format!("/sys/class/thermal/cooling_device{number}/{name}");
    let mut files = vec![
        ("/etc/nv_tegra_release".into(), "# R36 (release), REVISION: 4.4, GCID: 1, BOARD: generic\n".into()),
        ("/proc/device-tree/model".into(), "NVIDIA Jetson AGX Orin Developer Kit\0".into()),
        ("/proc/device-tree/compatible".into(), "nvidia,p3737-0000+p3701-0005\0nvidia,tegra234\0".into()),
        ("/proc/sys/kernel/osrelease".into(), "5.15.148-tegra\n".into()),
        ("/proc/sys/kernel/random/boot_id".into(), "6e3f1c52-0000-4000-8000-3f1c526e0000\n".into()),
        ("/var/lib/nvpmodel/status".into(), "pmode:0000\n".into()),
        ("/etc/nvpmodel.conf".into(), "< POWER_MODEL ID=0 NAME=MAXN >\nGPU MIN_FREQ 0\nGPU MAX_FREQ -1\n".into()),
        (gpu("available_frequencies"), format!("{table}\n")),
        (gpu("min_freq"), "306000000\n".into()),
        (gpu("max_freq"), "1300500000\n".into()),
        (gpu("cur_freq"), "306000000\n".into()),
        (gpu("governor"), "nvhost_podgov\n".into()),
        ("/sys/devices/platform/bus@0/17000000.gpu/load".into(), "0\n".into()),
        (format!("{FAN}/hwmon2/name"), "pwmfan\n".into()),
        (format!("{FAN}/hwmon2/pwm1"), "66\n".into()),
        (hwmon(4, "name"), "ina3221\n".into()),
        (hwmon(5, "name"), "pwm_tach\n".into()),
        (hwmon(5, "rpm"), "750\n".into()),
        (zone(8, "type"), "tj-thermal\n".into()),
        (zone(8, "temp"), "45000\n".into()),
        (zone(8, "trip_point_0_type"), "critical\n".into()),
        (zone(8, "trip_point_0_temp"), "104500\n".into()),
        (zone(8, "trip_point_0_hyst"), "0\n".into()),
        (zone(8, "trip_point_1_type"), "passive\n".into()),
        (zone(8, "trip_point_1_temp"), "99000\n".into()),
        (zone(8, "trip_point_1_hyst"), "0\n".into()),
        (zone(1, "type"), "gpu-thermal\n".into()),
        (zone(1, "temp"), "44500\n".into()),
        (cooling(2, "type"), "devfreq-17000000.gpu\n".into()),
        (cooling(2, "cur_state"), "0\n".into()),
        (cooling(3, "type"), "pwm-fan\n".into()),
        (cooling(3, "cur_state"), "0\n".into()),
        (
            "/etc/nvfancontrol.conf".into(),
            "<FAN 1>\n\tTMARGIN ENABLED\n\tFAN_PROFILE quiet {\n\t\t10 0 255 2900\n\t\t30 0 215 2440\n\t\t60 0 66 750\n\t}\n\
             \tTHERMAL_GROUP 0 {\n\t\tGROUP_MAX_TEMP 105\n\t}\n"
                .into(),
        ),
    ];
    for (channel, label, millivolt, milliampere) in
        [(1, "VDD_GPU_SOC", 20_000, 480), (2, "VDD_CPU_CV", 20_000, 120), (3, "VIN_SYS_5V0", 5_000, 800)]
    {
        files.push((hwmon(4, &format!("in{channel}_label")), format!("{label}\n")));
        files.push((hwmon(4, &format!("in{channel}_input")), format!("{millivolt}\n")));
        files.push((hwmon(4, &format!("curr{channel}_input")), format!("{milliampere}\n")));
    }
    files.into_iter().map(|(path, content)| (path.into(), content)).collect()
}

/// The links that lead to them.
pub fn links() -> Vec<(PathBuf, PathBuf)> {
    vec![
        ("/sys/class/devfreq/17000000.gpu".into(), GPU.into()),
        (format!("{GPU}/device").into(), "/sys/devices/platform/bus@0/17000000.gpu".into()),
        ("/sys/class/hwmon/hwmon2".into(), format!("{FAN}/hwmon2").into()),
    ]
}

/// Lays the board out below a folder.
pub fn unpack(root: &Path) {
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap());
    for (path, content) in files() {
        let path = below(&path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    for (path, target) in links() {
        let path = below(&path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }
}

/// Every file below a folder with its content, for comparing two moments; what lies in `except` is left out.
pub fn contents(root: &Path, except: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            if path == except {
            } else if kind.is_dir() {
                folders.push(path);
            } else if kind.is_symlink() {
                let target = std::fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
                found.push((path, target));
            } else {
                let content = std::fs::read(&path).unwrap();
                found.push((path, content));
            }
        }
    }
    found.sort();
    found
}
