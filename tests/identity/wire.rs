//! Bytes on their way: inline requests, where a write ends, and what a request looks like in a message.

use rand::Rng;
use rand::rngs::StdRng;

/// A command as an inline request.
pub fn inline(args: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, arg) in args.iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(if rng.random_bool(0.1) { b" \t " } else { b" " });
        }
        let bare = !arg.is_empty() && arg.iter().all(u8::is_ascii_alphanumeric);
        if bare && rng.random_bool(0.8) {
            out.extend_from_slice(arg);
        } else if arg
            .iter()
            .all(|byte| matches!(byte, b' '..=b'&' | b'('..=b'[' | b']'..=b'~'))
            && rng.random_bool(0.3)
        {
            out.extend([b"'", &arg[..], b"'"].concat());
        } else {
            out.push(b'"');
            for byte in arg {
                out.extend_from_slice(&match byte {
                    b'"' | b'\\' => vec![b'\\', *byte],
                    b' '..=b'~' => vec![*byte],
                    b'\n' => b"\\n".to_vec(),
                    _ => format!("\\x{byte:02x}").into_bytes(),
                });
            }
            out.push(b'"');
        }
    }
    out.extend_from_slice(if rng.random_bool(0.2) { b"\n" } else { b"\r\n" });
    out
}

/// Where the writes of a pipeline end: all in one, anywhere, or each byte by itself.
pub fn cuts(len: usize, rng: &mut StdRng) -> Vec<usize> {
    let anywhere = |count: usize, rng: &mut StdRng| {
        let mut cuts: Vec<usize> = (0..count).map(|_| rng.random_range(0..=len)).collect();
        cuts.sort_unstable();
        cuts
    };
    match rng.random_range(0..10) {
        0..3 => Vec::new(),
        3 if len < 2000 => (1..len).collect(),
        4..7 => {
            let piece = rng.random_range(1..200).max(len / 300);
            (0..len).step_by(piece).collect()
        }
        _ => {
            let count = rng.random_range(1..8);
            anywhere(count, rng)
        }
    }
}

/// As much of some bytes as a message may have.
pub fn show(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 400;
    let shown = &bytes[..bytes.len().min(SHOWN_MAX)];
    let more = bytes.len() - shown.len();
    let tail = if more > 0 {
        format!(" … and {more} bytes more")
    } else {
        String::new()
    };
    format!("{}{tail}", shown.escape_ascii())
}
