//! Streams of frames over bad lines.

use super::generate::random;
use controller_core::protocol::{
    Decoder, FrameError, LinkCounters, Order, REPLY_FRAME, REPLY_LEN, Received, Reply, Tag, encode,
};
use controller_core::rng::Pcg32;
use proptest::prelude::*;

type Outcome = Result<Received<Reply>, FrameError>;

const SESSION: u16 = 9;

fn tag(number: u16) -> Tag {
    Tag { session: SESSION, number }
}

fn frame(tag: Tag, message: &Reply) -> Vec<u8> {
    encode(tag, message, &mut [0; REPLY_FRAME]).unwrap().to_vec()
}

fn in_session() -> Decoder<REPLY_LEN> {
    let mut decoder = Decoder::new();
    decoder.restart(SESSION);
    decoder
}

fn receive(decoder: &mut Decoder<REPLY_LEN>, bytes: &[u8]) -> Vec<Outcome> {
    bytes.iter().filter_map(|byte| decoder.push::<Reply>(*byte)).collect()
}

/// What is true of the counters of any decoder at any time.
fn assert_counted(outcomes: &[Outcome], counters: &LinkCounters) {
    let count = |wanted: fn(&Outcome) -> bool| u32::try_from(outcomes.iter().filter(|o| wanted(o)).count()).unwrap();
    let expected = LinkCounters {
        accepted: count(|o| matches!(o, Ok(Received { order: Order::Next, .. }))),
        greetings: count(|o| matches!(o, Ok(Received { order: Order::Greeting, .. }))),
        repeated: count(|o| matches!(o, Ok(Received { order: Order::Repeated, .. }))),
        late: count(|o| matches!(o, Ok(Received { order: Order::Late, .. }))),
        foreign: count(|o| matches!(o, Ok(Received { order: Order::Foreign, .. }))),
        corrupt: count(|o| *o == Err(FrameError::Corrupt)),
        oversize: count(|o| *o == Err(FrameError::Oversize)),
        other_version: count(|o| matches!(o, Err(FrameError::Version { .. }))),
        malformed: count(|o| matches!(o, Err(FrameError::Malformed { .. }))),
        segments: u32::try_from(outcomes.len()).unwrap(),
        lost: counters.lost,
    };
    assert_eq!(*counters, expected);
    assert_eq!(counters.sorted(), counters.segments);
}

proptest! {
    /// However the bytes are cut, whatever lies between the frames: every frame arrives, in order.
    #[test]
    fn rubbish_between_frames_costs_no_frame(
        parts in prop::collection::vec((any::<u64>(), prop::collection::vec(any::<u8>(), 0..60)), 1..20),
    ) {
        let (mut stream, mut sent, mut sequence) = (Vec::new(), Vec::new(), tag(0));
        for (seed, rubbish) in &parts {
            sequence = sequence.following();
            let message: Reply = random(*seed);
            stream.extend(rubbish);
            stream.extend(frame(sequence, &message));
            sent.push(Received { tag: sequence, order: Order::Next, message });
        }
        let mut decoder = in_session();
        let outcomes = receive(&mut decoder, &stream);
        let arrived: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.clone().ok()).collect();
        prop_assert_eq!(arrived, sent);
        prop_assert_eq!(decoder.counters().lost, 0);
        assert_counted(&outcomes, decoder.counters());
    }

    /// Bytes changed, added and removed anywhere: whatever was not touched arrives, nothing else
    /// does, and the numbers add up.
    #[test]
    fn harm_costs_only_what_it_touches(
        seed in any::<u64>(),
        frames in 1usize..30,
        harms in prop::collection::vec((any::<prop::sample::Index>(), 0u8..3, any::<u8>()), 0..12),
    ) {
        let mut sequence = tag(0);
        let mut line: Vec<(usize, u8)> = Vec::new();
        let mut sent = Vec::new();
        for number in 0..frames {
            sequence = sequence.following();
            let message: Reply = random(seed.wrapping_add(number as u64));
            line.extend(frame(sequence, &message).into_iter().map(|byte| (number, byte)));
            sent.push(Received { tag: sequence, order: Order::Next, message });
        }
        let mut touched = vec![false; frames];
        for (place, harm, byte) in harms {
            let place = place.index(line.len());
            touched[line[place].0] = true;
            // A zero that is gone joins two segments.
            if line[place].1 == 0 && harm != 1 {
                touched[line[place].0.saturating_sub(1)] = true;
                touched[(line[place].0 + 1).min(frames - 1)] = true;
            }
            match harm {
                0 => line[place].1 ^= byte,
                1 => line.insert(place, (line[place].0, byte)),
                _ => drop(line.remove(place)),
            }
        }
        let bytes: Vec<u8> = line.iter().map(|(_, byte)| *byte).collect();
        let mut decoder = in_session();
        let mut outcomes = receive(&mut decoder, &bytes);
        outcomes.extend(receive(&mut decoder, &[0]));
        let arrived: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.clone().ok()).collect();
        for received in &arrived {
            prop_assert!(sent.contains(received), "not sent: {:?}", received);
        }
        for (received, touched) in sent.iter().zip(&touched) {
            prop_assert!(*touched || arrived.contains(received), "{:?} was not touched", received.tag);
        }
        let counters = decoder.counters();
        let newest = arrived.last().map_or(0, |received| u32::from(received.tag.number));
        prop_assert_eq!(counters.accepted + counters.lost, newest);
        assert_counted(&outcomes, counters);
    }

    /// Frames doubled, dropped and out of order: nothing is accepted twice or backwards.
    #[test]
    fn numbers_only_rise(seed in any::<u64>(), start in any::<u16>(), count in 1usize..200) {
        let mut rng = Pcg32::new(seed);
        let mut decoder = in_session();
        let mut sequence = tag(start.max(1));
        let mut line = vec![frame(sequence, &Reply::Acknowledged)];
        for _ in 1..count {
            sequence = sequence.following();
            match rng.below(10) {
                0 => {}
                1 => line.extend([frame(sequence, &Reply::Acknowledged), frame(sequence, &Reply::Acknowledged)]),
                2 => line.insert(line.len() - 1, frame(sequence, &Reply::Acknowledged)),
                _ => line.push(frame(sequence, &Reply::Acknowledged)),
            }
        }
        // Bring the window to the start, in strides that count as ahead.
        for number in [0x7000, 0xE000] {
            if number < start {
                receive(&mut decoder, &frame(tag(number), &Reply::Acknowledged));
            }
        }
        let (before, mut newest) = (*decoder.counters(), None::<u32>);
        for outcome in receive(&mut decoder, &line.concat()) {
            let Received { tag, order, .. } = outcome.unwrap();
            // The position in the session, over the end of the numbers.
            let position = (u32::from(tag.number) + 65_535 - u32::from(start.max(1))) % 65_535;
            let position = if position > 60_000 { 0 } else { position };
            match order {
                Order::Next => {
                    prop_assert!(newest.is_none_or(|newest| position > newest));
                    newest = Some(position);
                }
                Order::Repeated => prop_assert_eq!(Some(position), newest),
                Order::Late => prop_assert!(newest.is_some_and(|newest| position < newest)),
                Order::Greeting | Order::Foreign => prop_assert!(false, "{tag:?}"),
            }
        }
        let counters = decoder.counters();
        let accepted = counters.accepted - before.accepted;
        prop_assert!(accepted > 0 && counters.sorted() == counters.segments);
    }
}

#[test]
fn frames_of_other_sessions_are_told_apart() {
    let mut decoder = Decoder::<REPLY_LEN>::new();
    let orders = |decoder: &mut Decoder<REPLY_LEN>, tags: &[(u16, u16)]| -> Vec<Order> {
        let tags = tags.iter().map(|&(session, number)| Tag { session, number });
        let bytes: Vec<u8> = tags.flat_map(|tag| frame(tag, &Reply::Acknowledged)).collect();
        receive(decoder, &bytes).into_iter().map(|outcome| outcome.unwrap().order).collect()
    };
    assert_eq!(orders(&mut decoder, &[(9, 1), (9, 0)]), [Order::Foreign, Order::Greeting]);
    assert_eq!(orders(&mut decoder, &[(9, 1)]), [Order::Foreign], "nobody has accepted the greeting");
    decoder.restart(9);
    let tags = [(9, 1), (9, 1), (8, 2), (9, 3), (9, 2), (7, 0), (9, 4)];
    let expected =
        [Order::Next, Order::Repeated, Order::Foreign, Order::Next, Order::Late, Order::Greeting, Order::Next];
    assert_eq!(orders(&mut decoder, &tags), expected);
    assert_eq!(decoder.counters().lost, 1);
}

#[test]
fn an_endless_segment_is_one_error_and_the_next_frame_arrives() {
    let mut decoder = in_session();
    assert_eq!(receive(&mut decoder, &vec![1; 100_000]), []);
    let outcomes = receive(&mut decoder, &frame(tag(1), &Reply::Acknowledged));
    let arrived = Received { tag: tag(1), order: Order::Next, message: Reply::Acknowledged };
    assert_eq!(outcomes, [Err(FrameError::Oversize), Ok(arrived)]);
}
