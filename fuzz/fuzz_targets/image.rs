//! Any bytes as a policy image: refused by name, or a policy that decides within its action
//! space. Once as they are, and then with length, checksum and schema hash put right, so that the
//! fuzzer gets past them.
#![no_main]

use controller_core::observation::{MAX_FEATURES, ONE};
use controller_core::policy::{ImageError, PREFIX_LEN, Policy, PolicyImage};
use controller_core::protocol::checksum;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if bytes.len() < PREFIX_LEN {
        assert!(PolicyImage::new_checked(bytes).is_err());
        return;
    }
    decide(bytes);
    let mut sealed = bytes.to_vec();
    let length = u32::try_from(bytes.len()).expect("fuzz inputs are short");
    sealed[8..12].copy_from_slice(&length.to_le_bytes());
    seal(&mut sealed);
    if let Err(ImageError::Schema { expected, .. }) = PolicyImage::new_checked(&sealed) {
        sealed[12..16].copy_from_slice(&expected.to_le_bytes());
        seal(&mut sealed);
    }
    decide(&sealed);
});

fn seal(image: &mut [u8]) {
    let summed = [&image[..PREFIX_LEN - 4], &image[PREFIX_LEN..]].concat();
    image[PREFIX_LEN - 4..PREFIX_LEN].copy_from_slice(&checksum(&summed).to_le_bytes());
}

fn decide(bytes: &[u8]) {
    let Ok(image) = PolicyImage::new_checked(bytes) else { return };
    assert!(image.goldens().count() == usize::from(image.header().goldens));
    let Ok(policy) = Policy::new(image) else { return };
    let actions = &policy.image().header().actions;
    let ends = [[-ONE; MAX_FEATURES], [ONE; MAX_FEATURES], [i16::MIN; MAX_FEATURES], [i16::MAX; MAX_FEATURES]];
    let own: Vec<i16> = bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    for observation in ends.iter().map(|end| &end[..]).chain([&[], &own[..], &own[own.len() / 2..]]) {
        let action = policy.decide(observation);
        assert!(actions.setting(action).is_some(), "{action:?} is outside the action space");
        assert_eq!(action, policy.evaluate(observation).action);
    }
}
