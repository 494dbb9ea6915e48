//! What the request decoder costs: memory only for what has come, and work that is linear in it.

use super::super::number::take_work;
use super::super::{Decoded, RequestDecoder, encode};
use super::every;
use super::fuzzed::requests::LIMITS;

#[test]
fn an_idle_decoder_is_small_and_a_declared_count_allocates_nothing() {
    assert!(
        size_of::<RequestDecoder>() <= 64,
        "{}",
        size_of::<RequestDecoder>()
    );
    let mut decoder = RequestDecoder::new();
    decoder
        .decode(b"*1048576\r\n$536870000\r\nab", &LIMITS)
        .unwrap();
    assert_eq!(decoder.heap_bytes(), 0);
    assert_eq!(decoder.wanted(), 536_870_000);

    let mut decoder = RequestDecoder::new();
    let set = b"*4\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n$2\r\nNX\r\n";
    decoder.decode(set, &LIMITS).unwrap();
    assert_eq!(decoder.heap_bytes(), 0, "small commands need none");
    assert_eq!(decoder.wanted(), 0);

    let mut large = Vec::new();
    encode::command(&mut large, &vec!["a"; 1000]);
    decoder.decode(&large, &LIMITS).unwrap();
    assert!(decoder.heap_bytes() > 0);
    decoder.shrink();
    assert_eq!(decoder.heap_bytes(), 0);
    decoder.decode(b"PING\r\n", &LIMITS).unwrap();
    assert!(decoder.heap_bytes() > 0);
    decoder.shrink();
    assert_eq!(decoder.heap_bytes(), 0);
}

#[test]
fn shrinking_in_mid_request_loses_nothing() {
    let mut stream = Vec::new();
    encode::command(&mut stream, &vec!["a"; 1000]);
    let mut decoder = RequestDecoder::new();
    assert_eq!(
        decoder.decode(&stream[..stream.len() - 1], &LIMITS),
        Ok(Decoded::Incomplete)
    );
    decoder.shrink();
    let consumed = stream.len();
    assert_eq!(
        decoder.decode(&stream, &LIMITS),
        Ok(Decoded::Request { consumed })
    );
    assert_eq!(decoder.request(&stream).len(), 1000);
}

/// Decodes one request that arrives in steps, and says how many bytes were looked at and in how many calls.
fn work(stream: &[u8], step: usize) -> (usize, usize) {
    let mut decoder = RequestDecoder::new();
    let arrivals = every(step, stream.len());
    take_work();
    for (call, &arrived) in arrivals.iter().enumerate() {
        let decoded = decoder.decode(&stream[..arrived], &LIMITS);
        if call + 1 < arrivals.len() {
            assert_eq!(decoded, Ok(Decoded::Incomplete));
        } else {
            assert_ne!(decoded, Ok(Decoded::Incomplete));
        }
    }
    (take_work(), arrivals.len())
}

#[test]
fn work_is_linear_in_the_bytes_however_they_arrive() {
    /// The length line that is looked at again in each call, in bytes at most.
    const AGAIN_MAX: usize = 13;

    let mut many = Vec::new();
    encode::command(&mut many, &vec!["a"; 1_000_000]);
    let (bytes, calls) = work(&many, 16 * 1024);
    assert!(
        bytes <= many.len() + calls * AGAIN_MAX,
        "{bytes} bytes in {calls} calls"
    );

    let mut some = Vec::new();
    encode::command(&mut some, &vec!["abc"; 2_000]);
    let (bytes, calls) = work(&some, 1);
    assert!(
        bytes <= some.len() + calls * AGAIN_MAX,
        "{bytes} bytes in {calls} calls"
    );

    let mut long = Vec::new();
    encode::command(&mut long, &[vec![b'a'; 32 << 20]]);
    let (bytes, calls) = work(&long, 64 * 1024);
    assert!(
        bytes <= calls * AGAIN_MAX + 16,
        "{bytes} bytes in {calls} calls: no payload is looked at"
    );

    for first in [b'*', b'a'] {
        let mut line = vec![b'1'; 60_000];
        line[0] = first;
        line.extend_from_slice(b"\r\n");
        let (bytes, calls) = work(&line, 1);
        assert!(
            bytes <= line.len() + calls * AGAIN_MAX,
            "{bytes} bytes in {calls} calls"
        );
    }
}
