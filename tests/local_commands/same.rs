//! When two replies are the same: byte for byte, but for what belongs to one process or one connection — ids,
//! addresses, times, buffers — each named here with its command.

use crate::support::reply_end;

/// Fields of a client's line that two servers have in common; of the others only the names are compared.
const COMPARED: &[&str] = &[
    "name", "flags", "capa", "db", "sub", "psub", "ssub", "multi", "watch", "cmd", "user", "redir",
    "resp", "lib-name", "lib-ver",
];

/// Fields of INFO that two servers have in common.
const INFO_COMPARED: &[&str] = &[
    "redis_version",
    "valkey_version",
    "server_name",
    "redis_mode",
    "server_mode",
    "os",
    "arch_bits",
    "cluster_enabled",
    "role",
    "connected_slaves",
    "connected_replicas",
    "loading",
    "maxmemory_policy",
];

/// A name, and the value if it is compared.
pub(crate) type Field = (String, Option<String>);

pub(crate) fn same(line: &str, theirs: Option<&Vec<u8>>, ours: Option<&Vec<u8>>) -> bool {
    let (Some(theirs), Some(ours)) = (theirs, ours) else {
        return theirs == ours;
    };
    if theirs == ours {
        return true;
    }
    let line = line.to_ascii_uppercase();
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        // The connection's number is the proxy's; a module's file is the nodes' business.
        ["HELLO", ..] => hello(theirs) == hello(ours),
        ["CLIENT", "ID"] => theirs[0] == b':' && ours[0] == b':',
        ["CLIENT", "INFO" | "LIST", ..] => {
            clients(theirs).is_some() && clients(theirs) == clients(ours)
        }
        // Two moments.
        ["TIME"] => [theirs, ours]
            .iter()
            .all(|t| t.starts_with(b"*2\r\n$10\r\n")),
        ["LOLWUT", ..] => last_line(theirs).is_some() && last_line(theirs) == last_line(ours),
        ["INFO", ..] => info(theirs) == info(ours),
        // In the order of a hash table: commands, their flags and subcommands, options of the configuration.
        ["COMMAND", ..] => deep(theirs) == deep(ours),
        ["CONFIG", "GET", ..] => pairs(theirs) == pairs(ours),
        _ => false,
    }
}

fn elements(reply: &[u8]) -> Vec<&[u8]> {
    let Some(mut at) = reply.windows(2).position(|w| w == b"\r\n").map(|at| at + 2) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    while at < reply.len() {
        let end = reply_end(reply, at).expect("whole");
        found.push(&reply[at..end]);
        at = end;
    }
    found
}

/// The reply with the elements of every aggregate in an order of our own.
fn deep(reply: &[u8]) -> Vec<u8> {
    if !matches!(reply[0], b'*' | b'~' | b'%') {
        return reply.to_vec();
    }
    let mut all: Vec<Vec<u8>> = elements(reply).into_iter().map(deep).collect();
    all.sort_unstable();
    let head = reply.iter().position(|b| *b == b'\n').expect("a line");
    [&reply[..head], &all.concat()].concat()
}

fn pairs(reply: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<_> = elements(reply).chunks(2).map(<[&[u8]]>::concat).collect();
    all.sort_unstable();
    all.push(reply[..1].to_vec());
    all
}

fn hello(reply: &[u8]) -> Vec<String> {
    let mut all: Vec<String> = elements(reply)
        .iter()
        .map(|e| String::from_utf8_lossy(e).into_owned())
        .collect();
    if let Some(at) = all.iter().position(|e| e == "$2\r\nid\r\n") {
        all[at + 1] = ":1\r\n".into();
    }
    all.push(String::from_utf8_lossy(&reply[..1]).into_owned());
    all
}

/// The text of a bulk or verbatim string, with its type in front.
fn text(reply: &[u8]) -> Option<String> {
    let reply = String::from_utf8_lossy(reply);
    let (head, body) = reply.split_once("\r\n")?;
    let kind = head.chars().next()?;
    matches!(kind, '$' | '=').then(|| format!("{kind}{}", body.trim_start_matches("txt:")))
}

/// Every client's fields, and the values of those that are compared.
fn clients(reply: &[u8]) -> Option<Vec<Vec<Field>>> {
    let text = text(reply)?;
    let mut all = vec![vec![(text[..1].to_owned(), None)]];
    all.extend(text[1..].trim_end_matches("\r\n").lines().map(|line| {
        let fields = line.split(' ').map(|field| {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let compared = COMPARED.contains(&name);
            (name.to_owned(), compared.then(|| value.to_owned()))
        });
        fields.collect()
    }));
    Some(all)
}

/// A drawing, made by chance, ends with the version.
fn last_line(reply: &[u8]) -> Option<String> {
    let text = text(reply)?;
    let line = text.trim_end().lines().next_back()?;
    line.contains(" ver. ")
        .then(|| line.rsplit_once(' ').map(|(_, v)| v.to_owned()))?
}

/// Sections whose fields are whatever the server has been asked.
const COUNTING: &[&str] = &["# Commandstats", "# Errorstats", "# Latencystats"];

/// The names of the fields, section by section, and the values of those that are compared.
pub(crate) fn info(reply: &[u8]) -> Option<Vec<Field>> {
    let text = text(reply)?;
    let mut counting = false;
    // Where the nodes listen is not told.
    let shown = text.lines().filter(|line| !line.starts_with("listener"));
    let lines = shown.filter_map(|line| match line.split_once(':') {
        Some(_) if counting => None,
        Some((name, value)) => {
            let compared = INFO_COMPARED.contains(&name);
            Some((name.to_owned(), compared.then(|| value.to_owned())))
        }
        None => {
            counting = COUNTING.contains(&line);
            Some((line.to_owned(), None))
        }
    });
    Some(lines.collect())
}
