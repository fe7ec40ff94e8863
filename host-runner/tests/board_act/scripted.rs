//! A board that behaves, and misbehaves, as kernels do.

use crate::synthetic::{self, GPU};
use host_runner::board::tree::{FileTree, TreeError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard};

/// EINVAL.
pub const INVALID: TreeError = TreeError::Io(22);

/// How bounds are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// 4.9: crossing bounds are rejected, what was written reads back.
    Rejects,
    /// 5.10 and later: anything is taken, the range in force reads back.
    Clips,
}

/// The board.
pub struct Scripted {
    state: Mutex<State>,
    released: Condvar,
}

pub struct State {
    kernel: Kernel,
    pub files: BTreeMap<PathBuf, String>,
    links: BTreeMap<PathBuf, PathBuf>,
    /// What the user has asked for, Hz.
    pub request: (u64, u64),
    /// What everybody else allows at most, Hz.
    pub cap: Option<u64>,
    /// Where the firmware holds the clock, whatever the bounds say, Hz.
    pub held_at: Option<u64>,
    /// The clock follows its bounds after so many looks at it.
    pub lag: u32,
    /// Where the clock runs until then, Hz.
    pub lags_at: u64,
    /// The next writes to a file fail so often.
    pub failing: BTreeMap<PathBuf, (TreeError, u32)>,
    /// Reads of this file do not return.
    pub stuck: Option<PathBuf>,
    /// Writes of this file do not return.
    pub stuck_write: Option<PathBuf>,
    /// Readers and writers that do not return now.
    pub waiting: u32,
    /// Every write that was tried, with its outcome.
    pub writes: Vec<(PathBuf, String, Result<(), TreeError>)>,
}

impl Scripted {
    pub fn new(kernel: Kernel) -> Self {
        let mut files: BTreeMap<_, _> = synthetic::files().into_iter().collect();
        if kernel == Kernel::Rejects {
            files.insert("/proc/sys/kernel/osrelease".into(), "4.9.337-tegra\n".into());
        }
        let state = State {
            kernel,
            files,
            links: synthetic::links().into_iter().collect(),
            request: (306_000_000, 1_300_500_000),
            cap: None,
            held_at: None,
            lag: 0,
            lags_at: 306_000_000,
            failing: BTreeMap::new(),
            stuck: None,
            stuck_write: None,
            waiting: 0,
            writes: Vec::new(),
        };
        Self { state: Mutex::new(state), released: Condvar::new() }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets readers and writers that are stuck go on.
    pub fn release(&self) {
        let mut state = self.state();
        (state.stuck, state.stuck_write) = (None, None);
        drop(state);
        self.released.notify_all();
    }

    /// Waits until somebody is stuck.
    pub fn wait_until_stuck(&self) {
        let state = self.state();
        drop(self.released.wait_while(state, |state| state.waiting == 0).unwrap());
    }
}

impl State {
    /// The thermal core caps the GPU, or lets it go.
    pub fn throttle(&mut self, cap: Option<u64>) {
        self.cap = cap;
        self.files.insert(synthetic::CAP.into(), if cap.is_some() { "3\n" } else { "0\n" }.into());
    }

    fn range(&self) -> (u64, u64) {
        let (min, max) = self.request;
        match self.kernel {
            Kernel::Rejects => (min, max),
            Kernel::Clips => {
                let max = max.min(self.cap.unwrap_or(u64::MAX));
                (min.min(max), max)
            }
        }
    }

    /// The clock as it runs: in its range, unless it has no power or the firmware holds it.
    fn running(&mut self, file: &str) -> u64 {
        if file.trim() == "0" {
            return 0;
        }
        if self.lag > 0 {
            self.lag -= 1;
            return self.lags_at;
        }
        self.held_at.unwrap_or_else(|| self.range().0)
    }

    fn set(&mut self, path: &Path, text: &str) -> Result<(), TreeError> {
        if let Some((error, left)) = self.failing.get_mut(path)
            && *left > 0
        {
            *left -= 1;
            return Err(*error);
        }
        let min = path == Path::new(GPU).join("min_freq");
        if min || path == Path::new(GPU).join("max_freq") {
            let hz: u64 = text.trim().parse().map_err(|_| INVALID)?;
            let crosses = if min { hz > self.request.1 } else { hz < self.request.0 };
            if self.kernel == Kernel::Rejects && crosses {
                return Err(INVALID);
            }
            *(if min { &mut self.request.0 } else { &mut self.request.1 }) = hz;
            return Ok(());
        }
        if path.ends_with("pwm1") && !text.trim().parse::<u32>().is_ok_and(|pwm| pwm <= 255) {
            return Err(INVALID);
        }
        text.clone_into(self.files.get_mut(path).ok_or(TreeError::NotFound)?);
        Ok(())
    }

    fn folders(&self) -> BTreeSet<PathBuf> {
        let all = self.files.keys().chain(self.links.keys());
        all.flat_map(|path| path.ancestors().skip(1).map(Path::to_owned)).collect()
    }
}

/// A path with the links in it followed.
fn follow(state: &State, path: &Path) -> PathBuf {
    let link = state.links.iter().find_map(|(link, target)| Some(target.join(path.strip_prefix(link).ok()?)));
    link.map_or_else(|| path.to_owned(), |path| follow(state, &path))
}

impl FileTree for Scripted {
    fn read(&self, path: &Path, buffer: &mut [u8]) -> Result<usize, TreeError> {
        let mut state = self.state();
        let path = follow(&state, path);
        if state.stuck.as_ref() == Some(&path) {
            state.waiting += 1;
            self.released.notify_all();
            state = self.released.wait_while(state, |state| state.stuck.as_ref() == Some(&path)).unwrap();
            state.waiting -= 1;
        }
        let (min, max) = state.range();
        let text = match path.strip_prefix(GPU).ok().and_then(Path::to_str) {
            Some("min_freq") => format!("{min}\n"),
            Some("max_freq") => format!("{max}\n"),
            Some("cur_freq") => {
                let file = state.files.get(&path).ok_or(TreeError::NotFound)?.clone();
                format!("{}\n", state.running(&file))
            }
            _ => state.files.get(&path).ok_or(TreeError::NotFound)?.clone(),
        };
        let length = text.len().min(buffer.len());
        buffer[..length].copy_from_slice(&text.as_bytes()[..length]);
        Ok(length)
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), TreeError> {
        let mut state = self.state();
        let path = follow(&state, path);
        if state.stuck_write.as_ref() == Some(&path) {
            state.waiting += 1;
            self.released.notify_all();
            state = self.released.wait_while(state, |state| state.stuck_write.as_ref() == Some(&path)).unwrap();
            state.waiting -= 1;
        }
        let outcome = state.set(&path, text);
        state.writes.push((path, text.to_owned(), outcome));
        outcome
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, TreeError> {
        let state = self.state();
        let folder = follow(&state, folder);
        let all = state.folders();
        let below = all.iter().chain(state.files.keys()).chain(state.links.keys());
        let names = below.filter(|path| path.parent() == Some(&folder)).filter_map(|path| path.file_name()?.to_str());
        let names: BTreeSet<String> = names.map(str::to_owned).collect();
        if names.is_empty() { Err(TreeError::NotFound) } else { Ok(names.into_iter().collect()) }
    }

    fn link(&self, path: &Path) -> Result<PathBuf, TreeError> {
        self.state().links.get(path).cloned().ok_or(INVALID)
    }

    fn exists(&self, path: &Path) -> bool {
        let state = self.state();
        let path = follow(&state, path);
        state.files.contains_key(&path) || state.folders().contains(&path)
    }
}
