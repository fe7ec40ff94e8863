//! A scripted board in a session.

use crate::scripted::{Kernel, Scripted};
use crate::synthetic::GPU;
use host_runner::board::actuator::clock::GpuClock;
use host_runner::board::actuator::fan::FanControl;
use host_runner::board::baseline::Baseline;
use host_runner::board::discover::Found;
use host_runner::board::fan_curve::FanCurve;
use host_runner::board::services::{ServiceError, Services};
use host_runner::board::session::{Session, SessionError};
use host_runner::board::snapshot::cap_of;
use host_runner::board::tree::FileTree;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The vendor's fan daemon, which writes down what becomes of it.
#[derive(Debug)]
pub struct FanDaemon {
    pub running: Mutex<bool>,
    /// Power modes that were set.
    pub modes: Mutex<Vec<u32>>,
}

impl Services for FanDaemon {
    fn is_active(&self, _: &str) -> Option<bool> {
        Some(*self.running.lock().unwrap())
    }

    fn stop(&self, _: &str) -> Result<(), ServiceError> {
        *self.running.lock().unwrap() = false;
        Ok(())
    }

    fn start(&self, _: &str) -> Result<(), ServiceError> {
        *self.running.lock().unwrap() = true;
        Ok(())
    }

    fn set_power_mode(&self, id: u32) -> Result<(), ServiceError> {
        self.modes.lock().unwrap().push(id);
        Ok(())
    }
}

pub struct World {
    pub board: Arc<Scripted>,
    pub daemon: Arc<FanDaemon>,
    pub state: TempDir,
}

impl World {
    pub fn new(kernel: Kernel) -> Self {
        Self {
            board: Arc::new(Scripted::new(kernel)),
            daemon: Arc::new(FanDaemon { running: Mutex::new(true), modes: Mutex::default() }),
            state: tempfile::tempdir().unwrap(),
        }
    }

    pub fn found(&self) -> Found {
        Found::discover(self.board.as_ref())
    }

    pub fn tree(&self) -> Arc<dyn FileTree> {
        Arc::clone(&self.board) as Arc<dyn FileTree>
    }

    pub fn open(&self, apply: bool) -> Result<Session, SessionError> {
        let services = Arc::clone(&self.daemon) as Arc<dyn Services>;
        Ok(Session::open(&self.tree(), services, self.state.path(), &self.found(), apply)?.0)
    }

    pub fn session(&self) -> Session {
        self.open(true).unwrap()
    }

    /// Keeps a state as a session that was killed leaves it.
    pub fn keep(&self, baseline: &Baseline) {
        // A session that ends well takes its folder away.
        std::fs::create_dir_all(self.state.path()).unwrap();
        baseline.save(self.state.path()).unwrap();
    }

    /// The clock of a session.
    pub fn clock(&self, session: &Session) -> GpuClock {
        let found = self.found();
        let gpu = found.gpu.as_ref().unwrap();
        let allowed = session.baseline().gpu.unwrap().allowed(&gpu.frequencies_hz);
        let gate = Arc::clone(session.gate());
        let clock = GpuClock::new(gate, Path::new(GPU), &gpu.frequencies_hz, allowed, cap_of(&found, gpu)).unwrap();
        clock.with_pause(std::time::Duration::ZERO)
    }

    /// The fan of a session.
    pub fn fan(&self, session: &Session) -> FanControl {
        let soft_limit = self.found().thermal.unwrap().soft_limit().unwrap();
        let curve = FanCurve::of_board(self.board.as_ref());
        let (gate, services) = (Arc::clone(session.gate()), Arc::clone(session.services()));
        FanControl::new(gate, services, &session.baseline(), curve, soft_limit)
    }

    /// What the user of the board has asked for, Hz.
    pub fn request(&self) -> (u64, u64) {
        self.board.state().request
    }

    /// The duty of the fan as it is written.
    pub fn duty(&self, hwmon: u8) -> String {
        self.board.state().files[&Path::new(crate::synthetic::FAN).join(format!("hwmon{hwmon}/pwm1"))].clone()
    }

    /// Writes so far.
    pub fn writes(&self) -> usize {
        self.board.state().writes.len()
    }
}
