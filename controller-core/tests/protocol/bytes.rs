//! One frame at a time: what goes in comes out, and nothing else ever does.

use super::generate::{large, random};
use controller_core::action::MAX_VALUES;
use controller_core::observation::MAX_FEATURES;
use controller_core::protocol::{
    CHUNK, Decoder, EVENTS_PER_REPLY, EncodeError, Event, FrameError, Order, REPLY_FRAME, REPLY_LEN, REQUEST_FRAME,
    REQUEST_LEN, Received, Reply, Request, Tag, Upload, VERSION, checksum, encode,
};
use controller_core::wire::from_bytes;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

const SESSION: u16 = 0x0301;

fn tag(number: u16) -> Tag {
    Tag { session: SESSION, number }
}

/// A frame before stuffing, put together by hand.
fn raw<M: Serialize>(tag: Tag, message: &M) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let mut raw = vec![VERSION];
    raw.extend(tag.session.to_le_bytes());
    raw.extend(tag.number.to_le_bytes());
    raw.extend(&*postcard::to_slice(message, &mut buffer).unwrap());
    raw.extend(checksum(&raw).to_le_bytes());
    raw
}

/// The same frame by the `cobs` crate, which knows nothing of ours.
fn stuffed(raw: &[u8]) -> Vec<u8> {
    let mut buffer = vec![0; cobs::max_encoding_length(raw.len())];
    let length = cobs::encode(raw, &mut buffer);
    [&[0], &buffer[..length], &[0]].concat()
}

/// All that a decoder in a session makes of some bytes, as owned replies.
fn receive(bytes: &[u8]) -> Vec<Result<Received<Reply>, FrameError>> {
    let mut decoder = Decoder::<REPLY_LEN>::new();
    decoder.restart(SESSION);
    bytes.iter().filter_map(|byte| decoder.push::<Reply>(*byte)).collect()
}

proptest! {
    #[test]
    fn any_reply_comes_back(seed in any::<u64>(), number in 1u16..=0x7FFF) {
        let message: Reply = random(seed);
        let mut buffer = [0; REPLY_FRAME];
        let frame = encode(tag(number), &message, &mut buffer).unwrap();
        prop_assert_eq!(receive(frame), [Ok(Received { tag: tag(number), order: Order::Next, message })]);
    }

    #[test]
    fn any_request_comes_back(seed in any::<u64>(), number in any::<u16>()) {
        let message: Request = random(seed);
        let mut buffer = [0; REQUEST_FRAME];
        let frame = encode(tag(number), &message, &mut buffer).unwrap();
        let mut decoder = Decoder::<REQUEST_LEN>::new();
        let (last, front) = frame.split_last().unwrap();
        for byte in front {
            prop_assert!(decoder.push::<Request>(*byte).is_none());
        }
        let received = decoder.push::<Request>(*last).unwrap().unwrap();
        prop_assert_eq!((received.tag, received.message), (tag(number), message));
    }

    /// The frame is what the specification says, by two encoders that share no code.
    #[test]
    fn frames_are_standard_cobs(seed in any::<u64>(), number in any::<u16>()) {
        let message: Reply = random(seed);
        let mut buffer = [0; REPLY_FRAME];
        let frame = encode(tag(number), &message, &mut buffer).unwrap();
        let (inner, expected) = (&frame[1..frame.len() - 1], raw(tag(number), &message));
        prop_assert!(!inner.contains(&0));
        let mut unstuffed = vec![0; inner.len()];
        let length = cobs::decode(inner, &mut unstuffed).unwrap();
        prop_assert_eq!(&unstuffed[..length], &expected[..]);
        let theirs = receive(&stuffed(&expected));
        prop_assert_eq!(&theirs[0].as_ref().unwrap().message, &message);
    }

    /// Long runs without a zero, where the stuffing adds a byte.
    #[test]
    fn chunks_of_any_bytes_come_back(bytes in prop::collection::vec(prop_oneof![3 => 1u8.., 1 => Just(0)], 0..=CHUNK)) {
        let message = Request::Upload(Upload::Chunk { offset: 0, bytes: &bytes });
        let mut buffer = [0; REQUEST_FRAME];
        let frame = encode(tag(1), &message, &mut buffer).unwrap().to_vec();
        for frame in [frame, stuffed(&raw(tag(1), &message))] {
            let mut decoder = Decoder::<REQUEST_LEN>::new();
            let (last, front) = frame.split_last().unwrap();
            for byte in front {
                prop_assert!(decoder.push::<Request>(*byte).is_none());
            }
            prop_assert_eq!(&decoder.push::<Request>(*last).unwrap().unwrap().message, &message);
        }
    }

    #[test]
    fn a_changed_bit_is_never_another_message(seed in any::<u64>(), bit in any::<prop::sample::Index>()) {
        let message: Reply = random(seed);
        let mut buffer = [0; REPLY_FRAME];
        let mut frame = encode(tag(5), &message, &mut buffer).unwrap().to_vec();
        let bit = bit.index(frame.len() * 8);
        frame[bit / 8] ^= 1 << (bit % 8);
        frame.push(0); // in case the last zero was hit
        let unharmed = Ok(Received { tag: tag(5), order: Order::Next, message });
        // The zero in front only separates: without it the frame is not lost, but its first byte
        // belongs to what came before.
        prop_assert!(receive(&frame).iter().all(|received| *received == unharmed || received.is_err()));
        prop_assert!(bit < 8 || receive(&frame).iter().all(Result::is_err));
    }

    #[test]
    fn a_cut_frame_is_never_a_message(seed in any::<u64>(), cut in any::<prop::sample::Index>()) {
        let mut buffer = [0; REPLY_FRAME];
        let frame = encode(tag(5), &random::<Reply>(seed), &mut buffer).unwrap();
        let (begin, end) = (&frame[..cut.index(frame.len() - 1)], &frame[1 + cut.index(frame.len() - 2) + 1..]);
        for piece in [[begin, &[0]].concat(), [&[0], end].concat()] {
            prop_assert!(receive(&piece).iter().all(Result::is_err), "{:02x?}", piece);
        }
    }
}

#[test]
fn every_single_bit_of_every_kind_of_reply_is_guarded() {
    let mut kinds = [0; 8];
    for seed in 0..200 {
        let message: Reply = random(seed);
        kinds[usize::from(raw(tag(5), &message)[5])] += 1;
        let mut buffer = [0; REPLY_FRAME];
        let frame = encode(tag(5), &message, &mut buffer).unwrap().to_vec();
        for bit in 8..frame.len() * 8 {
            let mut harmed = frame.clone();
            harmed[bit / 8] ^= 1 << (bit % 8);
            harmed.push(0);
            assert!(receive(&harmed).iter().all(Result::is_err), "seed {seed}, bit {bit}");
        }
    }
    assert!(kinds.iter().all(|&count| count > 0), "{kinds:?}");
}

/// The most bytes that `message` makes of values with the largest numbers and lists.
fn most_bytes<T: DeserializeOwned, M: Serialize>(lengths: &[usize], message: impl Fn(T) -> M) -> usize {
    (0..5_000).map(|seed| raw(tag(9), &message(large(seed, lengths))).len()).max().unwrap()
}

#[test]
fn the_largest_messages_fit() {
    // The values of five knobs, and a quality per depth where the reward has one.
    let configuration = most_bytes(&[MAX_VALUES; 6], Request::Configure);
    let chunk = raw(tag(9), &Request::Upload(Upload::Chunk { offset: u32::MAX, bytes: &[1; CHUNK] })).len();
    assert!(configuration.max(chunk) <= REQUEST_LEN, "{configuration} and {chunk} bytes");
    let record = most_bytes(&[MAX_FEATURES], <Reply>::Settled);
    let status = most_bytes(&[], <Reply>::Status);
    let identity = most_bytes(&[16], <Reply>::Hello);
    let events = most_bytes(&[], |event: Event| -> Reply {
        Reply::Events { events: std::iter::repeat_n(event, EVENTS_PER_REPLY).collect(), next: u32::MAX }
    });
    let largest = record.max(status).max(identity).max(events);
    assert!(largest <= REPLY_LEN, "{record}, {status}, {identity} and {events} bytes");
    println!("configuration {configuration}, chunk {chunk}, record {record}, status {status}, events {events}");
    // Stuffing needs most room where there is no zero at all.
    assert!(stuffed(&[1; REQUEST_LEN]).len() <= REQUEST_FRAME);
    assert!(stuffed(&[1; REPLY_LEN]).len() <= REPLY_FRAME);
}

#[test]
fn a_small_buffer_is_refused_at_every_size() {
    let message: Reply = random(3);
    let length = encode(tag(9), &message, &mut [0; REPLY_FRAME]).unwrap().len();
    for room in 0..length {
        assert_eq!(encode(tag(9), &message, &mut [0; REPLY_FRAME][..room]), Err(EncodeError::BufferTooSmall), "{room}");
    }
    encode(tag(9), &message, &mut [0; REPLY_FRAME][..length]).unwrap();
}

#[test]
fn unharmed_frames_that_are_no_message_are_told_apart() {
    let mut future = raw(tag(7), &<Reply>::Acknowledged);
    future[0] = VERSION + 1;
    let body = future.len() - 4;
    let sum = checksum(&future[..body]);
    future[body..].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(receive(&stuffed(&future)), [Err(FrameError::Version { found: VERSION + 1 })]);
    // A variant that does not exist, and bytes behind the message.
    for content in [&[200u8][..], &[2, 0]] {
        let mut frame = vec![VERSION, 1, 3, 7, 0];
        frame.extend(content);
        frame.extend(checksum(&frame).to_le_bytes());
        assert_eq!(receive(&stuffed(&frame)), [Err(FrameError::Malformed { tag: tag(7) })]);
    }
    assert_eq!(receive(&[0, 1, 0]), [Err(FrameError::Corrupt)], "an empty segment has no checksum");
    let too_long = vec![1; REPLY_LEN + 1];
    assert_eq!(receive(&stuffed(&too_long)), [Err(FrameError::Oversize)]);
    let longest = vec![1; REPLY_LEN];
    assert_eq!(receive(&stuffed(&longest)), [Err(FrameError::Corrupt)]);
}

#[test]
fn numbers_start_again_at_one() {
    assert_eq!([0, 1, u16::MAX].map(|number| tag(number).following()), [1, 2, 1].map(tag));
}

proptest! {
    /// Harmed messages mean the same to us as to the postcard crate: another message, or none.
    #[test]
    fn harmed_messages_are_read_as_postcard_reads_them(
        seed in any::<u64>(),
        harm in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        fn theirs<'a, M: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Option<M> {
            postcard::take_from_bytes(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(message, _)| message)
        }
        let mut buffer = [0; 2048];
        let (request, reply): (Request, Reply) = (random(seed), random(seed));
        for is_request in [true, false] {
            let bytes = if is_request {
                postcard::to_slice(&request, &mut buffer).unwrap()
            } else {
                postcard::to_slice(&reply, &mut buffer).unwrap()
            };
            for (at, byte) in &harm {
                *at.get_mut(bytes) = *byte;
            }
            let kept = bytes.len() - cut.index(bytes.len() * 2).saturating_sub(bytes.len()).min(bytes.len());
            let bytes = &bytes[..kept];
            prop_assert_eq!(from_bytes::<Request>(bytes), theirs(bytes));
            prop_assert_eq!(from_bytes::<Reply>(bytes), theirs(bytes));
        }
    }
}
