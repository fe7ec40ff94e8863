//! The folder that `./x cuda` makes starts its program, or says what the machine lacks. Needs a C compiler, as the build does.

#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output};

/// A shared library without code, which needs others.
fn library(folder: &Path, name: &str, needs: &[&str]) {
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-nostdlib", "-xc", "/dev/null", "-Wl,--no-as-needed"]);
    cc.arg(format!("-Wl,-soname,{name}")).arg("-o").arg(folder.join(name)).arg("-L").arg(folder);
    cc.args(needs.iter().map(|needed| format!("-l:{needed}")));
    assert!(cc.status().unwrap().success());
}

#[test]
fn a_machine_without_a_gpu_is_told_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let (cuda, lib) = (folder.path().join("cuda"), folder.path().join("a folder/lib"));
    fs::create_dir_all(&cuda).unwrap();
    fs::create_dir_all(&lib).unwrap();
    library(&cuda, "libcuda.so.1", &[]);
    library(&cuda, "libcudart.so.13", &[]);
    library(&cuda, "libggml-cuda.so.0", &["libcuda.so.1", "libcudart.so.13"]);
    fs::rename(cuda.join("libggml-cuda.so.0"), lib.join("libggml-cuda.so.0")).unwrap();
    let program = lib.join("energyllm");
    fs::write(&program, "#!/bin/sh\necho \"it runs: $* ($LD_LIBRARY_PATH)\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let launcher = lib.with_file_name("energyllm");
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/../packaging/energyllm_cuda.sh"), &launcher).unwrap();
    // From wherever it is called.
    let called = folder.path().join("link");
    symlink(&launcher, &called).unwrap();
    let start = |libraries: Option<&Path>| -> (Output, String) {
        let mut command = Command::new(&called);
        command.args(["llm", "check"]).env_remove("LD_LIBRARY_PATH");
        libraries.map(|folder| command.env("LD_LIBRARY_PATH", folder));
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        (output, said)
    };

    let (output, said) = start(None);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
    assert!(said.starts_with("energyllm: ") && said.lines().count() == 1, "{said}");
    for part in ["NVIDIA", "libcuda.so.1", "libcudart.so.13", "; install the driver"] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    let (output, said) = start(Some(&cuda));
    assert_eq!(output.status.code(), Some(0), "{said}");
    let expected = format!("it runs: llm check ({}:{})\n", lib.display(), cuda.display());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    // A driver, but no CUDA.
    fs::remove_file(cuda.join("libcudart.so.13")).unwrap();
    let (output, said) = start(Some(&cuda));
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("libcudart.so.13; ") && !said.contains("driver") && said.contains("LD_LIBRARY_PATH"),
        "{said}"
    );
}
