//! New policies over the line, and power that goes at the worst moment.

use super::world::{IMAGE, SLOT, World, announcement, configuration, draw_turn, learned, slots, small_image, turns};
use controller_core::policy::{PREFIX_LEN, PolicyImage};
use controller_core::protocol::{EventKind, InCharge, Refusal, Reply, Request, Upload, UploadRefusal, checksum};
use controller_core::rng::Pcg32;
use firmware_sim::app::App;
use firmware_sim::app::storage::{Storage, commit, install};

/// Slots for small policies.
const SMALL: usize = 1536;

fn refused(why: UploadRefusal) -> Reply {
    Reply::Refused(Refusal::Upload(why))
}

fn step<const N: usize>(world: &mut World<N>, turn: u32) -> Reply {
    let (now, telemetry, _) = draw_turn(&mut Pcg32::new(u64::from(turn)), turn);
    world.ask(&Request::Telemetry { now, telemetry })
}

#[test]
fn an_uploaded_policy_takes_over_at_the_next_step_and_stays_after_a_reset() {
    let (old, new) = (small_image(1), small_image(2));
    let mut world = World::<SMALL>::new(slots(&old));
    world.begin();
    // One past for both policies: what the supervisor makes of a request depends on what it let pass before.
    let (mut turns, mut governors) = (turns(), [learned(&old), learned(&new)]);
    let mut decide = |world: &mut World<SMALL>, turn: u32, uploaded: usize| {
        let (now, telemetry, _) = draw_turn(&mut Pcg32::new(u64::from(turn)), turn);
        let other = turns.clone().step(&mut governors[1 - uploaded], now, &telemetry);
        let expected = turns.step(&mut governors[uploaded], now, &telemetry);
        assert_eq!(world.ask(&Request::Telemetry { now, telemetry }), Reply::Decision(expected), "turn {turn}");
        expected.requested != other.requested
    };
    let differ = (1..100).filter(|&turn| decide(&mut world, turn, 0)).count();
    assert!(differ > 0, "the two policies must be told apart");
    world.upload(&new).unwrap();
    assert_eq!(world.image(), checksum(&old), "not before the next step");
    let differ = (100..200).filter(|&turn| decide(&mut world, turn, 1)).count();
    assert!(differ > 0);
    assert_eq!(world.image(), checksum(&new));
    let kinds: Vec<EventKind> = world.app.log().read(0).iter().map(|event| event.kind).collect();
    assert!(kinds.contains(&EventKind::PolicySwapped { slot: 1 }), "{kinds:?}");
    // And back into the first slot, and over a reset.
    world.upload(&old).unwrap();
    let storage = world.app.clone().power_off();
    world.app = App::boot(storage, world.now);
    assert_eq!(world.image(), checksum(&old));
}

/// At every byte that is erased or written: the microcontroller boots with the old policy, or,
/// once the mark is complete, with the new one. Never with none, never with another.
#[test]
fn power_may_go_at_every_byte_of_an_upload() {
    let (old, new) = (small_image(1), small_image(2));
    let mut whole = World::<SMALL>::new(slots(&old));
    whole.begin();
    let before = whole.app.storage().operations;
    whole.upload(&new).unwrap();
    let after = whole.app.storage().operations;
    assert_eq!(after - before, (SMALL + new.len() + 16) as u64);
    for cut in before..=after {
        let mut storage = slots::<SMALL>(&old);
        storage.power_until = cut;
        let mut world = World::new(storage);
        world.begin();
        let outcome = world.upload(&new);
        assert_eq!(outcome.is_ok(), cut == after, "cut after {cut}: {outcome:?}");
        let mut storage = world.app.power_off();
        storage.power_until = u64::MAX;
        let mut world = World::new(storage);
        world.begin();
        let expected = if cut == after { &new } else { &old };
        assert_eq!(world.image(), checksum(expected), "cut after {cut}");
        assert_eq!(world.status().in_charge, InCharge::Policy);
        // The next upload works, whatever the last one left.
        world.upload(&new).unwrap();
        assert!(matches!(step(&mut world, 1), Reply::Decision(_)));
        assert_eq!(world.image(), checksum(&new));
    }
}

/// The same with the shipped policy, at every chunk and some bytes around it.
#[test]
fn power_may_go_at_every_chunk_of_the_shipped_policy() {
    let old = small_image(1);
    for cut in (0..=SLOT + IMAGE.len() + 16).step_by(256).flat_map(|chunk| [chunk, chunk + 1, chunk + 255]) {
        let mut storage = slots::<SLOT>(&old);
        storage.power_until = storage.operations + cut as u64;
        let mut world = World::new(storage);
        world.begin();
        let done = world.upload(IMAGE).is_ok();
        assert_eq!(done, cut >= SLOT + IMAGE.len() + 16);
        let mut world = World::new(world.app.power_off());
        assert_eq!(world.image(), checksum(if done { IMAGE } else { &old }), "cut after {cut}");
    }
}

#[test]
fn an_upload_goes_on_where_it_stopped() {
    let new = small_image(2);
    let mut world = World::<SMALL>::new(slots(&small_image(1)));
    world.begin();
    let begin = announcement(&new);
    assert_eq!(world.ask(&Request::Upload(Upload::Progress)), refused(UploadRefusal::NotBegun));
    assert_eq!(world.ask(&Request::Upload(begin)), Reply::Received(0));
    let chunk = Upload::Chunk { offset: 0, bytes: &new[..100] };
    assert_eq!(world.ask(&Request::Upload(chunk)), Reply::Received(100));
    // The host dies and comes back.
    world.idle(controller_core::time::Duration::from_secs(5));
    world.begin();
    assert_eq!(world.ask(&Request::Upload(begin)), Reply::Received(100));
    let overlapping = Upload::Chunk { offset: 50, bytes: &new[50..200] };
    assert_eq!(world.ask(&Request::Upload(overlapping)), Reply::Received(200));
    let known = Upload::Chunk { offset: 10, bytes: &new[10..20] };
    assert_eq!(world.ask(&Request::Upload(known)), Reply::Received(200));
    let gap = Upload::Chunk { offset: 201, bytes: &new[201..210] };
    assert_eq!(world.ask(&Request::Upload(gap)), refused(UploadRefusal::OutOfOrder { received: 200 }));
    assert_eq!(world.ask(&Request::Upload(Upload::Commit)), refused(UploadRefusal::Incomplete { received: 200 }));
    world.upload(&new).unwrap();
    assert!(matches!(step(&mut world, 1), Reply::Decision(_)));
    assert_eq!(world.image(), checksum(&new));
    assert_eq!(world.ask(&Request::Upload(begin)), Reply::Received(0));
    assert_eq!(world.ask(&Request::Upload(Upload::Abort)), Reply::Received(0));
    assert_eq!(world.ask(&Request::Upload(Upload::Commit)), refused(UploadRefusal::NotBegun));
}

#[test]
fn a_bad_image_is_refused_by_name_and_the_old_one_stays() {
    let old = small_image(1);
    let good = small_image(2);
    let sealed = |mut image: Vec<u8>| {
        let summed = [&image[..PREFIX_LEN - 4], &image[PREFIX_LEN..]].concat();
        image[PREFIX_LEN - 4..PREFIX_LEN].copy_from_slice(&checksum(&summed).to_le_bytes());
        image
    };
    let mut wrong_example = good.clone();
    *wrong_example.last_mut().unwrap() ^= 1;
    let wrong_example = sealed(wrong_example);
    assert!(PolicyImage::new_checked(&wrong_example).is_ok());
    let mut no_image = good.clone();
    no_image[0] = b'X';
    let mut world = World::<SMALL>::new(slots(&old));
    world.begin();
    for (image, why) in [
        (wrong_example, UploadRefusal::Examples),
        (no_image, UploadRefusal::Image),
        (vec![7; SMALL], UploadRefusal::Length { room: 1520 }),
        (Vec::new(), UploadRefusal::Length { room: 1520 }),
    ] {
        assert_eq!(world.upload(&image), Err(Refusal::Upload(why)));
    }
    let length = u32::try_from(good.len()).unwrap();
    for (checksum, schema, why) in [(1, 0, UploadRefusal::Checksum), (checksum(&good), 1, UploadRefusal::Schema)] {
        world.ask(&Request::Upload(Upload::Begin { length, checksum, schema }));
        for (number, bytes) in good.chunks(200).enumerate() {
            let offset = u32::try_from(number * 200).unwrap();
            assert!(matches!(world.ask(&Request::Upload(Upload::Chunk { offset, bytes })), Reply::Received(_)));
        }
        assert_eq!(world.ask(&Request::Upload(Upload::Commit)), refused(why));
    }
    let mut other_board = configuration();
    other_board.actions.fan_pwm.pop();
    assert_eq!(world.ask(&Request::Configure(other_board)), Reply::Acknowledged);
    assert_eq!(world.upload(&good), Err(Refusal::Upload(UploadRefusal::OtherActions)));
    world.begin();
    assert!(matches!(step(&mut world, 1), Reply::Decision(_)));
    assert_eq!(world.image(), checksum(&old));
}

/// The image was good when it was committed and is not any more when it is to take over.
#[test]
fn a_policy_that_fails_its_self_test_at_the_swap_is_rolled_back() {
    let (old, new) = (small_image(1), small_image(2));
    let mut world = World::<SMALL>::new(slots(&old));
    world.begin();
    world.upload(&new).unwrap();
    world.app.storage_mut().write(1, new.len() - 4, &[0; 4]).unwrap();
    assert!(matches!(step(&mut world, 1), Reply::Decision(_)));
    assert_eq!(world.image(), checksum(&old));
    let kinds: Vec<EventKind> = world.app.log().read(0).iter().map(|event| event.kind).collect();
    assert!(kinds.contains(&EventKind::RolledBack { why: UploadRefusal::Checksum }), "{kinds:?}");
    let mut world = World::new(world.app.power_off());
    assert_eq!(world.image(), checksum(&old));
}

/// A newer image that fails at boot is passed over for the older one.
#[test]
fn boot_takes_the_newest_image_that_passes() {
    let (old, new) = (small_image(1), small_image(2));
    let mut storage = slots::<SMALL>(&old);
    install(&mut storage, 1, &new).unwrap();
    assert_eq!(World::new(storage.clone()).image(), checksum(&new));
    storage.erase(1).unwrap();
    storage.write(1, 0, &new[..200]).unwrap();
    commit(&mut storage, 1, u32::try_from(new.len()).unwrap(), checksum(&new)).unwrap();
    let mut world = World::new(storage);
    assert_eq!(world.image(), checksum(&old));
    let kinds: Vec<EventKind> = world.app.log().read(0).iter().map(|event| event.kind).collect();
    assert!(kinds.contains(&EventKind::PolicyRefused { slot: 1, why: UploadRefusal::Checksum }), "{kinds:?}");
}
