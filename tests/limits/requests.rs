//! How large a request may be. One that is larger is a protocol error in the words of Redis; nothing of it goes on.

use super::{hits, others_are_served, start};
use crate::support::{Proxy, encode, show};

/// A request that is as large as it may be, one that is larger, and what is said to that.
struct Case {
    option: &'static str,
    fits: Vec<u8>,
    too_large: Vec<u8>,
    error: &'static str,
}

impl Case {
    fn check(&self, proxy: &Proxy, answered: &[u8]) {
        let mut client = proxy.client();
        client.send(&self.fits);
        let got = client.reply();
        assert!(got.starts_with(answered), "{}: {}", self.option, show(&got));
        assert_eq!(hits(proxy, self.option), 0.0, "{}", self.option);
        client.send(&self.too_large);
        let got = client.rest();
        let expected = format!("-ERR Protocol error: {}\r\n", self.error);
        assert!(
            got == expected.as_bytes(),
            "{}: {}",
            self.option,
            show(&got)
        );
        assert_eq!(hits(proxy, self.option), 1.0, "{}", self.option);
    }
}

fn mget(keys: usize) -> Vec<u8> {
    let keys = std::iter::repeat_n("k", keys);
    encode(&["MGET"].into_iter().chain(keys).collect::<Vec<_>>())
}

/// `MSET k value …`, with so many bytes in all.
fn mset(bytes: usize) -> Vec<u8> {
    let full = "v".repeat(900);
    let with = |len: usize| encode(&["MSET", "k", &full, "k", &full, "k", &"v".repeat(len)]);
    with(100 + bytes - with(100).len())
}

#[test]
fn what_is_too_large_is_a_protocol_error() {
    let (cluster, proxy, _gate) = start(&[
        "limits.request=2KB",
        "limits.argument=1KB",
        "limits.preauth_argument=1KB",
        "limits.arguments=16",
        "limits.inline=512B",
    ]);
    let echo = |bytes: usize| encode(&["ECHO", &"v".repeat(bytes)]);
    let cases = [
        Case {
            option: "limits.request",
            fits: mset(2048),
            too_large: mset(2049),
            error: "request larger than limits.request",
        },
        Case {
            option: "limits.argument",
            fits: echo(1024),
            too_large: echo(1025),
            error: "invalid bulk length",
        },
        Case {
            option: "limits.arguments",
            fits: mget(15),
            too_large: mget(16),
            error: "invalid multibulk length",
        },
        Case {
            option: "limits.inline",
            fits: format!("ECHO {}\r\n", "v".repeat(500)).into_bytes(),
            too_large: format!("ECHO {}\r\n", "v".repeat(600)).into_bytes(),
            error: "too big inline request",
        },
    ];
    for case in cases {
        let echoed: &[u8] = if case.fits.ends_with(b"v\r\n") && case.option != "limits.request" {
            b"$"
        } else {
            b"+taken"
        };
        case.check(&proxy, echoed);
        others_are_served(&proxy);
    }
    cluster.finish();
}

#[test]
fn less_is_allowed_before_auth() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "secret\n").expect("writing it");
    let password = format!("auth.password_file={}", file.path().display());
    let (cluster, proxy, _gate) = start(&[
        &password,
        "limits.preauth_arguments=4",
        "limits.preauth_argument=64B",
    ]);
    let mut client = proxy.client();
    client.expect("AUTH secret", b"+OK\r\n");
    Case {
        option: "limits.preauth_arguments",
        fits: encode(&["ECHO", "a", "b", "c"]),
        too_large: encode(&["ECHO", "a", "b", "c", "d"]),
        error: "unauthenticated multibulk length",
    }
    .check(&proxy, b"-");
    Case {
        option: "limits.preauth_argument",
        fits: encode(&["ECHO", &"v".repeat(64)]),
        too_large: encode(&["ECHO", &"v".repeat(65)]),
        error: "unauthenticated bulk length",
    }
    .check(&proxy, b"-NOAUTH");
    // Whoever has said the password may send more.
    client.send(&mget(15));
    assert_eq!(client.reply(), b"+taken\r\n");
    cluster.finish();
}
