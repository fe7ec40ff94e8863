//! Streams of frames over bad lines.

use super::generate::random;
use controller_core::protocol::{
    Decoder, FrameError, LinkCounters, Order, REPLY_FRAME, REPLY_LEN, Received, Reply, encode, following,
};
use controller_core::rng::Pcg32;
use proptest::prelude::*;

type Outcome = Result<Received<Reply>, FrameError>;

fn frame(sequence: u16, message: &Reply) -> Vec<u8> {
    encode(sequence, message, &mut [0; REPLY_FRAME]).unwrap().to_vec()
}

fn in_session() -> Decoder<REPLY_LEN> {
    let mut decoder = Decoder::new();
    decoder.restart();
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
        sessions: count(|o| matches!(o, Ok(Received { order: Order::Session, .. }))),
        repeated: count(|o| matches!(o, Ok(Received { order: Order::Repeated, .. }))),
        late: count(|o| matches!(o, Ok(Received { order: Order::Late, .. }))),
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
        let (mut stream, mut sent, mut sequence) = (Vec::new(), Vec::new(), 0);
        for (seed, rubbish) in &parts {
            sequence = following(sequence);
            let message: Reply = random(*seed);
            stream.extend(rubbish);
            stream.extend(frame(sequence, &message));
            sent.push(Received { sequence, order: Order::Next, message });
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
        let mut sequence = 0;
        let mut line: Vec<(usize, u8)> = Vec::new();
        let mut sent = Vec::new();
        for number in 0..frames {
            sequence = following(sequence);
            let message: Reply = random(seed.wrapping_add(number as u64));
            line.extend(frame(sequence, &message).into_iter().map(|byte| (number, byte)));
            sent.push(Received { sequence, order: Order::Next, message });
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
            prop_assert!(*touched || arrived.contains(received), "frame {} was not touched", received.sequence);
        }
        let counters = decoder.counters();
        let newest = arrived.last().map_or(0, |received| u32::from(received.sequence));
        prop_assert_eq!(counters.accepted + counters.lost, newest);
        assert_counted(&outcomes, counters);
    }

    /// Frames doubled, dropped and out of order: nothing is accepted twice or backwards.
    #[test]
    fn numbers_only_rise(seed in any::<u64>(), start in any::<u16>(), count in 1usize..200) {
        let mut rng = Pcg32::new(seed);
        let mut decoder = in_session();
        let mut sequence = start.max(1);
        let mut line = vec![frame(sequence, &Reply::Acknowledged)];
        for _ in 1..count {
            sequence = following(sequence);
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
                receive(&mut decoder, &frame(number, &Reply::Acknowledged));
            }
        }
        let (before, mut newest) = (*decoder.counters(), None::<u32>);
        for outcome in receive(&mut decoder, &line.concat()) {
            let Received { sequence, order, .. } = outcome.unwrap();
            // The position in the session, over the end of the numbers.
            let position = (u32::from(sequence) + 65_535 - u32::from(start.max(1))) % 65_535;
            let position = if position > 60_000 { 0 } else { position };
            match order {
                Order::Next => {
                    prop_assert!(newest.is_none_or(|newest| position > newest));
                    newest = Some(position);
                }
                Order::Repeated => prop_assert_eq!(Some(position), newest),
                Order::Late => prop_assert!(newest.is_some_and(|newest| position < newest)),
                Order::Session => prop_assert!(false, "0 is not among the numbers"),
            }
        }
        let counters = decoder.counters();
        let accepted = counters.accepted - before.accepted;
        prop_assert!(accepted > 0 && counters.sorted() == counters.segments);
    }
}

#[test]
fn only_a_greeting_passes_before_a_session() {
    let mut decoder = Decoder::<REPLY_LEN>::new();
    let orders = |decoder: &mut Decoder<REPLY_LEN>, numbers: &[u16]| -> Vec<Order> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| frame(*number, &Reply::Acknowledged)).collect();
        receive(decoder, &bytes).into_iter().map(|outcome| outcome.unwrap().order).collect()
    };
    assert_eq!(orders(&mut decoder, &[1, 0]), [Order::Late, Order::Session]);
    assert_eq!(orders(&mut decoder, &[1]), [Order::Late], "nobody has accepted the greeting");
    decoder.restart();
    assert_eq!(
        orders(&mut decoder, &[1, 1, 3, 2, 0]),
        [Order::Next, Order::Repeated, Order::Next, Order::Late, Order::Session]
    );
    assert_eq!(decoder.counters().lost, 1);
}

#[test]
fn an_endless_segment_is_one_error_and_the_next_frame_arrives() {
    let mut decoder = in_session();
    assert_eq!(receive(&mut decoder, &vec![1; 100_000]), []);
    let outcomes = receive(&mut decoder, &frame(1, &Reply::Acknowledged));
    let arrived = Received { sequence: 1, order: Order::Next, message: Reply::Acknowledged };
    assert_eq!(outcomes, [Err(FrameError::Oversize), Ok(arrived)]);
}
