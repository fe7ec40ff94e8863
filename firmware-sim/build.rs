//! Links the programs of this crate for a microcontroller when that is what they are built for.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=memory.x");
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        // cortex-m-rt's link.x, which includes our memory.x.
        println!("cargo::rustc-link-arg-bins=-Tlink.x");
        println!("cargo::rustc-link-search={}", env!("CARGO_MANIFEST_DIR"));
    }
}
