//! Properties of the two scanners: what they find does not depend on how the bytes were cut, their work is linear, and
//! no bytes make them panic or stand still.

mod replies;
mod reply_properties;
mod request_costs;
mod request_properties;
mod requests;

/// What holds for any bytes is said once, in the targets of `tests/fuzz`.
#[allow(
    dead_code,
    unreachable_pub,
    reason = "modules of other tests: these use a part"
)]
#[path = "../../../tests/fuzz/targets"]
mod fuzzed {
    pub(super) mod reference;
    pub(super) mod replies;
    pub(super) mod requests;
}

use proptest::prelude::*;

/// Where a stream of `len` bytes is cut: the lengths of what has arrived, the last one everything.
fn arrivals(len: usize, cuts: &[prop::sample::Index]) -> Vec<usize> {
    let mut arrivals: Vec<usize> = cuts.iter().map(|cut| cut.index(len + 1)).collect();
    arrivals.push(len);
    arrivals.sort_unstable();
    arrivals
}

/// Every arrival of `step` bytes, up to `len`.
fn every(step: usize, len: usize) -> Vec<usize> {
    (step..len).step_by(step).chain([len]).collect()
}

/// Bytes that look enough like RESP to get far, and then go wrong.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        4 => prop::sample::select(&[
            "*", "$", "+", "-", ":", "_", "#t", ",", "(", "!", "=", "%", "~", ">", "|", ";", ".", "?",
        ][..]).prop_map(|text| text.as_bytes().to_vec()),
        6 => prop::sample::select(&["\r\n", "\r", "\n", " ", "\"", "'", "\\", "\0"][..])
            .prop_map(|text| text.as_bytes().to_vec()),
        4 => prop::sample::select(&[
            "0", "1", "2", "3", "-1", "05", "+1", "9999999999", "18446744073709551616",
        ][..]).prop_map(|text| text.as_bytes().to_vec()),
        8 => prop::sample::select(&[
            "*1\r\n", "*2\r\n", "*0\r\n", "%1\r\n", "|1\r\n", "$4\r\nPING\r\n", "$1\r\na\r\n", ":1\r\n", "+OK\r\n",
            "PING\r\n", "=5\r\ntxt:a\r\n", "POST ",
        ][..]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}
