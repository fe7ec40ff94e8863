//! What a board was like before its first change, kept in a file that survives whoever changes it.

use super::services::FAN_SERVICE;
use super::tree::{FileTree, TreeError};
use crate::atomic_file::{remove, replace};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of the file.
const FORMAT: u32 = 1;

/// Name of the file in the state folder.
const NAME: &str = "baseline.json";

/// Longest content of a knob that is kept; sysfs never has more than a page.
const PAGE: usize = 4096;

/// A file of the board and what stood in it, byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knob {
    /// The file, as the board names it.
    pub path: PathBuf,
    /// Its content, line feed included.
    pub text: String,
}

impl Knob {
    /// Reads a knob.
    pub fn read(tree: &dyn FileTree, path: &Path) -> Result<Self, TreeError> {
        let mut buffer = [0; PAGE];
        let length = tree.read(path, &mut buffer)?;
        let text = buffer.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
        let text = text.ok_or_else(|| TreeError::from(rustix::io::Errno::ILSEQ))?.to_owned();
        Ok(Self { path: path.to_owned(), text })
    }

    /// Its content as a number.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.text.trim().parse().ok()
    }
}

/// The clock range of the GPU as it is given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuRange {
    /// Its lower bound, Hz.
    pub min: Knob,
    /// Its upper bound, Hz.
    pub max: Knob,
    /// The board throttled when it was read, so the bounds are those of the table or of the power
    /// mode: what could be read was the throttle's, and giving it back would make that permanent.
    pub throttled: bool,
}

/// The drive of one fan as it is given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FanDrive {
    /// Duty, 0 to 255.
    pub pwm: Knob,
    /// Who drives the fan: `pwm1_enable` where there is one, `temp_control` of JetPack 4.
    pub control: Option<Knob>,
}

/// A board before its first change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// Version of the file.
    pub format: u32,
    /// Boot that it belongs to: the settings of sysfs do not outlive it.
    pub boot_id: Option<String>,
    /// The GPU's clocks.
    pub gpu: Option<GpuRange>,
    /// The fans.
    pub fans: Vec<FanDrive>,
    /// The vendor's fan service was running.
    pub fan_service: bool,
    /// The power mode that was in force. When another is in force in the end, somebody has set it, and the GPU gets
    /// the range of that one.
    pub mode: Option<u32>,
    /// The power mode to go back to, for those who were allowed to leave it.
    pub power_mode: Option<u32>,
}

/// Why a baseline cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum BaselineError {
    /// It cannot be written.
    #[error(
        "cannot keep the board's state in {}: {source}; nothing was changed. Make room there, or choose another folder \
         with --state", path.display()
    )]
    Save {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It cannot be read.
    #[error("cannot read the board's state in {}: {source}; run as root", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is something else.
    #[error(
        "{} is not a board's state: {cause}; set the power mode again (nvpmodel -m MODE), which sets all clocks, give the \
         fan back (systemctl start {FAN_SERVICE}), then remove the file", path.display()
    )]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// It cannot be removed.
    #[error("the board is as it was, but {} cannot be removed: {source}; remove it", path.display())]
    Discard {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl Baseline {
    /// A baseline without knobs, of this boot.
    #[must_use]
    pub fn of_this_boot(tree: &dyn FileTree) -> Self {
        Self { format: FORMAT, boot_id: boot_id(tree), ..Self::default() }
    }

    /// Belongs to this boot, as far as the board tells.
    #[must_use]
    pub fn is_of_this_boot(&self, tree: &dyn FileTree) -> bool {
        self.boot_id.is_none() || self.boot_id == boot_id(tree)
    }

    /// Writes it to the disk before it returns: file and folder are synchronized, so that neither
    /// a crash of the program nor of the machine loses it.
    pub fn save(&self, folder: &Path) -> Result<(), BaselineError> {
        let path = folder.join(NAME);
        let written = serde_json::to_vec_pretty(self).map_err(Into::into).and_then(|bytes| replace(&path, &bytes));
        written.map_err(|source| BaselineError::Save { path, source })
    }

    /// Reads the baseline that is kept in a folder; `None` when there is none.
    pub fn load(folder: &Path) -> Result<Option<Self>, BaselineError> {
        let path = folder.join(NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(BaselineError::Read { path, source }),
        };
        let baseline: Self = serde_json::from_slice(&bytes)
            .map_err(|error| BaselineError::Content { path: path.clone(), cause: error.to_string() })?;
        if baseline.format != FORMAT {
            let cause = format!("its format is {}, this program knows {FORMAT}", baseline.format);
            return Err(BaselineError::Content { path, cause });
        }
        Ok(Some(baseline))
    }

    /// Something is kept in a folder.
    #[must_use]
    pub fn is_kept(folder: &Path) -> bool {
        folder.join(NAME).exists()
    }

    /// Removes what is kept in a folder, and what is left of a baseline whose writer was killed; nothing to remove is fine.
    /// Synchronized, or a power cut could bring an old baseline back.
    pub fn discard(folder: &Path) -> Result<(), BaselineError> {
        let path = folder.join(NAME);
        remove(&path).map_err(|source| BaselineError::Discard { path, source })
    }
}

fn boot_id(tree: &dyn FileTree) -> Option<String> {
    Some(Knob::read(tree, Path::new("/proc/sys/kernel/random/boot_id")).ok()?.text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::tree::RealTree;

    fn knob(path: &str, text: &str) -> Knob {
        Knob { path: path.into(), text: text.into() }
    }

    fn baseline() -> Baseline {
        Baseline {
            format: FORMAT,
            boot_id: Some("7".into()),
            gpu: Some(GpuRange {
                min: knob("/sys/a/min_freq", "306000000\n"),
                max: knob("/sys/a/max_freq", "1300500000\n"),
                throttled: false,
            }),
            fans: vec![FanDrive { pwm: knob("/sys/b/pwm1", "66\n"), control: None }],
            fan_service: true,
            mode: Some(0),
            power_mode: None,
        }
    }

    #[test]
    fn what_is_kept_comes_back_and_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Baseline::load(folder.path()).unwrap(), None);
        baseline().save(folder.path()).unwrap();
        assert!(Baseline::is_kept(folder.path()));
        assert_eq!(Baseline::load(folder.path()).unwrap(), Some(baseline()));
        // Of a writer that was killed.
        std::fs::write(folder.path().join(".partial-baseline.json-x"), "{").unwrap();
        Baseline::discard(folder.path()).unwrap();
        Baseline::discard(folder.path()).unwrap();
        assert_eq!(Baseline::load(folder.path()).unwrap(), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn damage_and_other_formats_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        for (content, cause) in [("{\"format\":", "EOF"), ("{}", "missing field"), ("[]", "invalid")] {
            std::fs::write(&path, content).unwrap();
            let message = Baseline::load(folder.path()).unwrap_err().to_string();
            assert!(message.contains(cause) && message.contains("nvpmodel"), "{message}");
            assert!(message.contains("systemctl start nvfancontrol"), "{message}");
        }
        Baseline { format: 2, ..baseline() }.save(folder.path()).unwrap();
        assert!(Baseline::load(folder.path()).unwrap_err().to_string().contains("format is 2"));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named_before_anything_is_changed() {
        let folder = tempfile::tempdir().unwrap();
        let message = baseline().save(&folder.path().join("nowhere")).unwrap_err().to_string();
        assert!(message.contains("nothing was changed") && message.contains("--state"), "{message}");
    }

    #[test]
    fn a_baseline_of_another_boot_is_told() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("proc/sys/kernel/random");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("boot_id"), "7\n").unwrap();
        let tree = RealTree::new(root.path()).unwrap();
        assert!(baseline().is_of_this_boot(&tree));
        std::fs::write(folder.join("boot_id"), "8\n").unwrap();
        assert!(!baseline().is_of_this_boot(&tree));
        assert_eq!(Baseline::of_this_boot(&tree).boot_id.as_deref(), Some("8"));
    }
}
