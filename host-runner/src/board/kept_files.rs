//! Which files of a kept state may be written.
//!
//! A state is read from a file, often by root: it must not name any file of the system. Each is judged by where it lies
//! behind all links and what it is called, and not by what discovery finds now: a driver that hangs, or a chip with another
//! number, would keep the board from its place.

use super::baseline::{Baseline, FanDrive, GpuRange};
use super::tree::{FileTree, resolve};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Takes out of a state what is no knob of its kind. Returns a sentence for each.
pub(super) fn refuse_others(tree: &dyn FileTree, baseline: &mut Baseline) -> Vec<String> {
    let mut refused = Vec::new();
    if let Some(gpu) = &baseline.gpu
        && !is_gpu_range(tree, gpu)
    {
        refused.push(sentence(&[&gpu.min.path, &gpu.max.path], "the range of a GPU's clock"));
        baseline.gpu = None;
    }
    baseline.fans.retain(|fan| {
        let right = is_fan_drive(tree, fan);
        if !right {
            let paths: Vec<&Path> =
                std::iter::once(&fan.pwm).chain(&fan.control).map(|knob| knob.path.as_path()).collect();
            refused.push(sentence(&paths, "the drive of a fan"));
        }
        right
    });
    refused
}

fn sentence(paths: &[&Path], kind: &str) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    format!(
        "the kept state names {} as {kind}, which is not one below /sys, so it was not written; if nobody has edited \
         baseline.json, report this; otherwise see that the board is as it should be, and remove baseline.json",
        paths.join(" and ")
    )
}

/// The file behind all links, if it lies in sysfs.
fn in_sysfs(tree: &dyn FileTree, path: &Path) -> Option<PathBuf> {
    resolve(tree, path).ok().filter(|path| path.starts_with("/sys"))
}

fn is_gpu_range(tree: &dyn FileTree, gpu: &GpuRange) -> bool {
    let is = |path: &Path, name: &str| {
        let place = in_sysfs(tree, path).filter(|place| place.file_name() == Some(OsStr::new(name)))?;
        let folder = place.parent()?;
        (folder.parent()?.file_name() == Some(OsStr::new("devfreq"))).then(|| folder.to_owned())
    };
    let folder = is(&gpu.min.path, "min_freq");
    folder.is_some() && folder == is(&gpu.max.path, "max_freq")
}

fn is_fan_drive(tree: &dyn FileTree, fan: &FanDrive) -> bool {
    let Some(pwm) = in_sysfs(tree, &fan.pwm.path) else { return false };
    let name = pwm.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let number = name.strip_prefix("pwm").and_then(|number| number.parse::<u8>().ok());
    let control = match (name, number) {
        // JetPack 4.
        ("target_pwm", _) => "temp_control".to_owned(),
        (_, Some(_)) => format!("{name}_enable"),
        _ => return false,
    };
    fan.control.as_ref().is_none_or(|knob| in_sysfs(tree, &knob.path) == Some(pwm.with_file_name(&control)))
}

#[cfg(test)]
mod tests {
    use super::super::baseline::Knob;
    use super::super::tree::CapturedTree;
    use super::*;

    fn tree() -> CapturedTree {
        CapturedTree::parse(
            r#"{"files": {"/etc/passwd": "root", "/sys/d/devfreq/1.gpu/min_freq": "1", "/sys/d/devfreq/1.gpu/max_freq": "2"},
            "links": {"/sys/class/devfreq/1.gpu": "/sys/d/devfreq/1.gpu", "/sys/class/hwmon/hwmon9": "/etc"}}"#,
        )
        .unwrap()
    }

    fn knob(path: &str) -> Knob {
        Knob { path: path.into(), text: "1\n".into() }
    }

    #[test]
    fn only_knobs_of_their_kind_below_sys_are_written() {
        let range = |min: &str, max: &str| {
            is_gpu_range(&tree(), &GpuRange { min: knob(min), max: knob(max), throttled: false })
        };
        assert!(range("/sys/class/devfreq/1.gpu/min_freq", "/sys/d/devfreq/1.gpu/max_freq"));
        assert!(!range("/sys/class/devfreq/1.gpu/min_freq", "/sys/class/devfreq/2.gpu/max_freq"));
        assert!(!range("/sys/class/devfreq/1.gpu/max_freq", "/sys/class/devfreq/1.gpu/min_freq"));
        assert!(!range("/etc/devfreq/1.gpu/min_freq", "/etc/devfreq/1.gpu/max_freq"));
        assert!(!range("/sys/kernel/min_freq", "/sys/kernel/max_freq"));
        let fan = |pwm: &str, control: Option<&str>| {
            is_fan_drive(&tree(), &FanDrive { pwm: knob(pwm), control: control.map(knob) })
        };
        let chip = "/sys/class/hwmon/hwmon2";
        assert!(fan(&format!("{chip}/pwm1"), None));
        assert!(fan(&format!("{chip}/pwm2"), Some(&format!("{chip}/pwm2_enable"))));
        assert!(fan("/sys/devices/pwm-fan/target_pwm", Some("/sys/devices/pwm-fan/temp_control")));
        assert!(!fan(&format!("{chip}/pwm2"), Some(&format!("{chip}/pwm1_enable"))));
        assert!(!fan(&format!("{chip}/pwm1"), Some("/etc/passwd")));
        // Out of sysfs by steps or by a link; and what is no fan there.
        for path in
            ["/sys/../etc/pwm1", "/sys/class/hwmon/hwmon9/pwm1", "/etc/pwm1", "/sys/kernel/profiling", "/sys/power/pwm"]
        {
            assert!(!fan(path, None), "{path}");
        }
    }

    #[test]
    fn what_is_refused_is_named_and_the_rest_stays() {
        let gpu = GpuRange { min: knob("/etc/passwd"), max: knob("/etc/shadow"), throttled: false };
        let fans = ["/sys/class/hwmon/hwmon2/pwm1", "/tmp/x"].map(|pwm| FanDrive { pwm: knob(pwm), control: None });
        let mut baseline = Baseline { gpu: Some(gpu), fans: fans.to_vec(), ..Baseline::default() };
        let refused = refuse_others(&tree(), &mut baseline);
        assert!(refused[0].contains("/etc/passwd and /etc/shadow") && refused[1].contains("/tmp/x"), "{refused:?}");
        assert_eq!((baseline.gpu, &baseline.fans[..]), (None, &fans[..1]));
    }
}
