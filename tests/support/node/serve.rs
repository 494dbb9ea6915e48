//! A scripted node's connections: reads commands, decides what to do with each, does it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slotway::cluster::Slot;

use super::{Action, Call, Mark, PLAY_TIMEOUT, Shared, State, answers, describe};

/// Reads connections until the cluster is stopped; each gets a thread, all are joined here.
pub(super) fn accept(shared: &Arc<Shared>, node: usize, listener: &TcpListener) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        if shared.stop.is_requested() {
            break;
        }
        let Ok(stream) = stream else { continue };
        let _ = stream.set_nodelay(true);
        let connection = {
            let mut state = shared.state();
            let copy = stream.try_clone().expect("a file descriptor");
            state.connections.push((node, copy));
            state.connections.len() - 1
        };
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || {
            serve(&shared, node, connection, &stream);
            // The copy that is kept for tests would hold the connection open.
            let _ = stream.shutdown(Shutdown::Both);
        }));
    }
    for thread in threads {
        let _ = thread.join();
    }
}

fn serve(shared: &Shared, node: usize, connection: usize, stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    let mut proto = 2;
    let (mut asking, mut multi) = (false, false);
    let mut proof = 0;
    loop {
        let args = match read_command(shared, &mut reader) {
            Ok(Some(args)) => args,
            Ok(None) => return,
            Err(text) => {
                shared.state().failures.push(format!("node {node}: {text}"));
                return;
            }
        };
        if let Some(reply) = prove(&args, &mut proof) {
            let no_multi = shared.state().no_multi.get(&node).cloned();
            let reply = no_multi.unwrap_or_else(|| reply.to_vec());
            if perform(stream, Action::Send(reply)).is_err() {
                return;
            }
            continue;
        }
        let call = Call {
            node,
            connection,
            proto,
            asking,
            args,
        };
        // As in a server, ASKING holds for one command, whatever that is, and for what MULTI begins.
        asking = match call.name().as_str() {
            "ASKING" => true,
            "MULTI" => asking,
            "EXEC" | "DISCARD" => false,
            _ => asking && multi,
        };
        multi = match call.name().as_str() {
            "MULTI" => true,
            "EXEC" | "DISCARD" => false,
            _ => multi,
        };
        if call.name() == "HELLO" {
            proto = if call.args.get(1).is_some_and(|v| v == b"3") {
                3
            } else {
                2
            };
        }
        let actions = decide(shared, &call, proto);
        for action in actions {
            if perform(stream, action).is_err() {
                return;
            }
        }
    }
}

/// The transaction of nothing that a lane or lease tries out behind its name; scripts do not see it. `proof` is how
/// much of it has come.
fn prove(args: &[Vec<u8>], proof: &mut usize) -> Option<&'static [u8]> {
    const PROOF: &[(&[&[u8]], &[u8])] = &[
        (&[b"MULTI"], b"+OK\r\n"),
        (&[b"EXEC"], b"*0\r\n"),
        (&[b"DISCARD"], b"-ERR DISCARD without MULTI\r\n"),
    ];
    let named = |name: &[u8]| args == [b"CLIENT", &b"SETNAME"[..], name];
    if named(b"slotway") || named(b"slotway-lease") {
        *proof = 1;
        return None;
    }
    let expected = PROOF.get(proof.checked_sub(1)?);
    let step = expected.filter(|(command, _)| args == *command);
    *proof = step.map_or(0, |_| *proof + 1);
    step.map(|(_, reply)| *reply)
}

/// An error ends the connection.
fn perform(mut stream: &TcpStream, action: Action) -> Result<(), ()> {
    match action {
        Action::Send(bytes) => stream.write_all(&bytes).map_err(drop),
        Action::Wait(gate) => {
            gate.wait();
            Ok(())
        }
        Action::Until(moment) => {
            std::thread::sleep(moment.saturating_duration_since(Instant::now()));
            Ok(())
        }
        Action::Close => Err(()),
        Action::Reset => {
            let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
            Err(())
        }
    }
}

fn decide(shared: &Shared, call: &Call, proto: u8) -> Vec<Action> {
    let mut guard = shared.state();
    let state = &mut *guard;
    state.calls.push(call.clone());
    if let Some(actions) = state.handlers[call.node].as_ref().and_then(|h| h(call)) {
        return actions;
    }
    if let Some(reply) = answers::standing(shared, state, call, proto) {
        return vec![Action::Send(reply)];
    }
    if let Some(refusal) = refuse(shared, state, call) {
        return vec![Action::Send(refusal)];
    }
    let expected = state.scripts[call.node].pop_front();
    match expected {
        Some(step) if step.command != call.args => {
            let text = format!("expected {}", describe(&step.command));
            fail(state, call, &text)
        }
        Some(step) if step.asking.is_some_and(|asking| asking != call.asking) => {
            fail(state, call, "ASKING is not as expected")
        }
        Some(step) => step.actions,
        None => fail(state, call, "nothing was expected"),
    }
}

fn fail(state: &mut State, call: &Call, text: &str) -> Vec<Action> {
    let text = format!("node {}: {}: {text}", call.node, describe(&call.args));
    state.failures.push(text);
    vec![Action::Send(b"-ERR not in the script\r\n".to_vec())]
}

/// What a server says to keys that are not its own.
fn refuse(shared: &Shared, state: &mut State, call: &Call) -> Option<Vec<u8>> {
    let keys = answers::keys(&call.args);
    let mut slots = keys.iter().map(|key| Slot::of(key).number());
    let slot = slots.next()?;
    if slots.any(|other| other != slot) {
        fail(state, call, "keys of several slots");
        return Some(b"-CROSSSLOT Keys in request don't hash to the same slot\r\n".to_vec());
    }
    let owner = state.owners[usize::from(slot)];
    let importing = state.marks.get(&(call.node, slot)) == Some(&Mark::Importing);
    if owner == call.node || importing && call.asking {
        return None;
    }
    state.refusals.push(call.clone());
    Some(format!("-MOVED {slot} {}\r\n", shared.addr(owner)).into_bytes())
}

/// One command; `None` at the end of the connection; an error for anything but canonical RESP.
fn read_command(
    shared: &Shared,
    reader: &mut impl BufRead,
) -> Result<Option<Vec<Vec<u8>>>, String> {
    let Some(count) = read_length(reader, b'*')? else {
        return Ok(None);
    };
    let mut args = Vec::new();
    for _ in 0..count {
        let Some(len) = read_length(reader, b'$')? else {
            return Ok(None);
        };
        let mut arg = vec![0; len + 2];
        let (sip, sips) = match shared.state().sips.take_if(|(sip, _)| len > *sip) {
            Some((sip, sips)) => (sip, Some(sips)),
            None => (arg.len(), None),
        };
        for piece in arg.chunks_mut(sip) {
            // Nobody sends any more: the rest at once.
            let _ = sips.as_ref().map(|sips| sips.recv_timeout(PLAY_TIMEOUT));
            if reader.read_exact(piece).is_err() {
                return Ok(None);
            }
        }
        if !arg.ends_with(b"\r\n") {
            return Err("an argument without CRLF".into());
        }
        arg.truncate(len);
        args.push(arg);
    }
    if args.is_empty() {
        return Err("a command without a name".into());
    }
    Ok(Some(args))
}

fn read_length(reader: &mut impl BufRead, kind: u8) -> Result<Option<usize>, String> {
    let mut line = Vec::new();
    match reader.read_until(b'\n', &mut line) {
        Ok(n) if n > 0 && line.ends_with(b"\n") => {}
        _ => return Ok(None),
    }
    let length = line
        .strip_suffix(b"\r\n")
        .and_then(|line| line.strip_prefix(&[kind]))
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    match length {
        Some(length) => Ok(Some(length)),
        None => Err(format!("no canonical command: {}", line.escape_ascii())),
    }
}
