//! Any bytes from the line: the decoder sorts every segment, and an unharmed frame behind them
//! arrives. The bytes once as they are, and once as the content of an unharmed frame, so that the
//! fuzzer gets past the checksum to the messages.
#![no_main]

use controller_core::protocol::{
    Decoder, Order, REPLY_FRAME, REPLY_LEN, REQUEST_FRAME, REQUEST_LEN, Received, Reply, Request, Tag, checksum, encode,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    line(bytes);
    let framed = [bytes, &checksum(bytes).to_le_bytes()].concat();
    let mut stuffed = cobs::encode_vec(&framed);
    stuffed.push(0);
    line(&stuffed);
});

/// Both directions, for their messages and their lengths differ.
fn line(bytes: &[u8]) {
    let mut requests = Decoder::<REQUEST_LEN>::new();
    requests.restart(7);
    for byte in bytes {
        if let Some(Ok(Received { tag, message, .. })) = requests.push::<Request>(*byte) {
            // What was understood can be said again, and means the same.
            let mut buffer = [0; REQUEST_FRAME];
            let frame = encode(tag, &message, &mut buffer).expect("it came in a frame");
            let mut again = Decoder::<REQUEST_LEN>::new();
            let heard = frame.iter().map(|byte| again.push::<Request>(*byte).is_some_and(|heard| heard.is_ok()));
            assert_eq!(heard.filter(|heard| *heard).count(), 1);
        }
    }
    assert_eq!(requests.counters().sorted(), requests.counters().segments);

    let mut replies = Decoder::<REPLY_LEN>::new();
    replies.restart(7);
    for byte in bytes {
        if let Some(Ok(Received { tag, message, .. })) = replies.push::<Reply>(*byte) {
            let mut buffer = [0; REPLY_FRAME];
            let frame = encode(tag, &message, &mut buffer).expect("it came in a frame").to_vec();
            let mut again = Decoder::<REPLY_LEN>::new();
            let heard: Vec<Reply> =
                frame.iter().filter_map(|byte| Some(again.push::<Reply>(*byte)?.ok()?.message)).collect();
            assert_eq!(heard, [message]);
        }
    }
    // Ends a segment that the bytes left open; it may well have been a whole greeting.
    let _ = replies.push::<Reply>(0);
    let before = replies.counters().greetings;
    let mut buffer = [0; REPLY_FRAME];
    let acknowledged: Reply = Reply::Acknowledged;
    let greeting = encode(Tag::greeting(8), &acknowledged, &mut buffer).expect("short");
    let last = greeting.iter().filter_map(|byte| replies.push::<Reply>(*byte)).last();
    let arrived = Received { tag: Tag::greeting(8), order: Order::Greeting, message: acknowledged };
    assert_eq!(last, Some(Ok(arrived)));
    assert_eq!(replies.counters().greetings, before + 1);
    assert_eq!(replies.counters().sorted(), replies.counters().segments);
}
