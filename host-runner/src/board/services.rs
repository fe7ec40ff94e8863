//! Services of the system that drive the same knobs.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The vendor's fan daemon, on `JetPack` 5 and later.
pub const FAN_SERVICE: &str = "nvfancontrol.service";

/// Longest wait for systemctl and nvpmodel. What it was asked to do goes on without it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts and stops services, or knows that it cannot.
pub trait Services: Send + Sync + std::fmt::Debug {
    /// Whether a service runs; `None` when nobody knows.
    fn is_active(&self, service: &str) -> Option<bool>;

    /// Stops a service and returns when it has stopped.
    fn stop(&self, service: &str) -> Result<(), ServiceError>;

    /// Asks for the start of a service.
    fn start(&self, service: &str) -> Result<(), ServiceError>;

    /// Sets the power mode with this number and returns when `nvpmodel` has.
    fn set_power_mode(&self, id: u32) -> Result<(), ServiceError>;
}

/// Why a service could not be started or stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{verb} {service}` failed: {cause}; run it yourself as root")]
pub struct ServiceError {
    /// What was asked for.
    pub verb: &'static str,
    /// Of which service.
    pub service: String,
    /// What went wrong.
    pub cause: String,
}

/// The services of this machine, through systemctl.
#[derive(Clone, Copy, Debug)]
pub struct Systemd;

/// A tree that is not this machine has files and no services.
#[derive(Clone, Copy, Debug)]
pub struct NoServices;

impl Services for NoServices {
    fn is_active(&self, _: &str) -> Option<bool> {
        None
    }

    fn stop(&self, service: &str) -> Result<(), ServiceError> {
        Err(ServiceError {
            verb: "systemctl stop",
            service: service.to_owned(),
            cause: "this tree has no services".to_owned(),
        })
    }

    fn start(&self, service: &str) -> Result<(), ServiceError> {
        Err(ServiceError {
            verb: "systemctl start",
            service: service.to_owned(),
            cause: "this tree has no services".to_owned(),
        })
    }

    fn set_power_mode(&self, id: u32) -> Result<(), ServiceError> {
        Err(ServiceError {
            verb: "nvpmodel -m",
            service: id.to_string(),
            cause: "this tree has no nvpmodel".to_owned(),
        })
    }
}

impl Services for Systemd {
    fn is_active(&self, service: &str) -> Option<bool> {
        succeeds("systemctl", &["is-active", "--quiet", service]).ok()
    }

    fn stop(&self, service: &str) -> Result<(), ServiceError> {
        ask("systemctl stop", "systemctl", &["stop", service], service)
    }

    fn start(&self, service: &str) -> Result<(), ServiceError> {
        // Whoever gives a board back has no time to wait for a daemon.
        ask("systemctl start", "systemctl", &["start", "--no-block", service], service)
    }

    fn set_power_mode(&self, id: u32) -> Result<(), ServiceError> {
        // Modes that need a reboot ask for it on the terminal; without one nothing happens, and the caller finds
        // the old mode in force.
        ask("nvpmodel -m", "nvpmodel", &["-m", &id.to_string()], &id.to_string())
    }
}

fn ask(verb: &'static str, program: &str, arguments: &[&str], service: &str) -> Result<(), ServiceError> {
    let failed = |cause: String| ServiceError { verb, service: service.to_owned(), cause };
    match succeeds(program, arguments) {
        Ok(true) => Ok(()),
        Ok(false) => Err(failed("it said no".to_owned())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Whether a program succeeded.
fn succeeds(program: &str, arguments: &[&str]) -> std::io::Result<bool> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    wait(command.spawn()?, PATIENCE)
}

/// Whether a child succeeded in time; it is killed otherwise.
fn wait(mut child: Child, patience: Duration) -> std::io::Result<bool> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_hangs_is_given_up() {
        let sleep = |seconds: &str| Command::new("sleep").arg(seconds).spawn().unwrap();
        assert!(wait(sleep("0"), PATIENCE).unwrap());
        let error = wait(sleep("60"), Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    }
}
