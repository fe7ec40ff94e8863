//! The self-test on this machine prints what the reference beside the policy says. `./x firmware`
//! asks the same of the Cortex-M4 and, with `--accept`, writes the reference.

use std::fs;
use std::process::Command;

#[test]
fn this_machine_decides_as_the_reference_says() {
    let run = Command::new(env!("CARGO_BIN_EXE_selftest")).output().expect("the self-test starts");
    let printed = String::from_utf8(run.stdout).expect("the self-test prints text");
    assert!(run.status.success(), "{printed}{}", String::from_utf8_lossy(&run.stderr));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/policies/service.digest");
    let reference = fs::read_to_string(path).expect("the reference is there; `./x firmware --accept` writes it");
    assert_eq!(printed, reference, "a new policy? `./x firmware --accept` takes its decisions as the reference");
}

#[test]
fn a_million_decisions_are_those_of_the_reference() {
    let run = Command::new(env!("CARGO_BIN_EXE_selftest")).arg("--million").output().expect("the self-test starts");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/policies/service.million.digest");
    let reference = fs::read_to_string(path).expect("the reference is there; `./x firmware --accept` writes it");
    assert_eq!(String::from_utf8_lossy(&run.stdout), reference, "a new policy? `./x firmware --accept` takes it");
}

#[test]
fn the_footprint_image_accepts_its_policy() {
    let status = Command::new(env!("CARGO_BIN_EXE_footprint")).status().expect("the footprint program starts");
    assert!(status.success());
}
