//! Explanations of each kind, word for word.

use super::*;
use crate::cluster::{Node, NodeAddr, NodeIndex, Shard, Slot, SlotMap, SlotMapBuilder};

/// Three primaries with a third of the slots each, and a replica of the first.
fn map() -> SlotMap {
    let mut builder = SlotMapBuilder::new();
    let node = |port, shard| Node {
        addr: NodeAddr::new("10.0.0.1", port),
        id: "".into(),
        shard,
        epoch: 1,
    };
    let primaries: Vec<NodeIndex> = (1..=3)
        .map(|port| builder.add(node(port, Shard::Primary)).unwrap())
        .collect();
    builder
        .add(node(4, Shard::ReplicaOf(Some(primaries[0]))))
        .unwrap();
    // The last slots have no owner.
    for slot in Slot::all().take(16_000) {
        builder.assign(slot, primaries[slot.index() / 5_462]);
    }
    builder.build(1)
}

fn explain_with(words: &[&str], config: &Config, known: &Known) -> String {
    let said = match words {
        [line] => Said::Line((*line).to_owned()),
        words => Said::Words(words.iter().map(|w| (*w).to_owned()).collect()),
    };
    match explain(&[said], config, known) {
        Ok(told) => text(&told),
        Err(error) => format!("error: {error}"),
    }
}

fn offline(line: &str) -> String {
    let config = Config::default();
    explain_with(&[line], &config, &Known::built_in(&config))
}

fn online(line: &str) -> String {
    let config = Config::default();
    explain_with(&[line], &config, &Known::built_in(&config).with_map(map()))
}

fn with_policy(line: &str, change: impl Fn(&mut Config)) -> String {
    let mut config = Config::default();
    change(&mut config);
    explain_with(&[line], &config, &Known::built_in(&config))
}

#[test]
fn one_slot_is_one_request() {
    insta::assert_snapshot!(online("GET foo"), @r"
    command  get (readonly)
    key      foo in slot 12182 at 10.0.0.1:3
    plan     one request, passed on as it is, to slot 12182 at 10.0.0.1:3
    timeout  5s (timeouts.command)
    if lost  it only reads: sent once more
    ");
    insta::assert_snapshot!(offline("set {t}a 'x y'"), @r"
    command  set (write)
    key      {t}a in slot 15891
    plan     one request, passed on as it is, to slot 15891
    timeout  5s (timeouts.command)
    if lost  not sent again once its bytes were handed over: the client is told that the outcome is unknown
    ");
}

#[test]
fn several_slots_are_split() {
    insta::assert_snapshot!(online("MGET a b {a}c"), @r"
    command  mget (readonly)
    key      a in slot 15495 at 10.0.0.1:3
    key      b in slot 3300 at 10.0.0.1:1
    key      {a}c in slot 15495 at 10.0.0.1:3
    plan     2 requests, one per slot, all sent at once; values come back in the order of the keys
             MGET a {a}c → slot 15495 at 10.0.0.1:3
             MGET b → slot 3300 at 10.0.0.1:1
    timeout  5s (timeouts.command)
    if lost  it only reads: sent once more
    ");
    insta::assert_snapshot!(offline("DEL a b"), @r"
    command  del (write)
    key      a in slot 15495
    key      b in slot 3300
    plan     2 requests, one per slot, all sent at once; their numbers are added
             DEL a → slot 15495
             DEL b → slot 3300
    note     each part is atomic, the whole is not; policy.split_writes = false refuses it instead
    timeout  60s (timeouts.slow_command)
    if lost  not sent again once its bytes were handed over: the client is told that the outcome is unknown
    ");
}

#[test]
fn what_cannot_be_split_is_refused_with_a_hint() {
    insta::assert_snapshot!(offline("RENAME a b"), @r"
    command  rename (write)
    key      a in slot 15495
    key      b in slot 3300
    refused  CROSSSLOT Keys in request don't hash to the same slot (slotway: 'a' and 'b'; give keys that belong together one hash tag, as in {tag}key)
    ");
    insta::assert_snapshot!(with_policy("MSET a 1 b 2", |c| c.policy.split_writes = false), @r"
    command  mset (write)
    key      a in slot 15495
    key      b in slot 3300
    refused  CROSSSLOT Keys in request don't hash to the same slot (slotway: 'a' and 'b'; policy.split_writes = true would split it)
    ");
    // Reading is not a write, whatever the option says.
    let reads = with_policy("EXISTS a b", |c| c.policy.split_writes = false);
    assert!(reads.contains("2 requests"), "{reads}");
}

#[test]
fn keyless_commands_say_whom_they_ask() {
    insta::assert_snapshot!(online("DBSIZE"), @r"
    command  dbsize (readonly)
    plan     one request to each primary; their numbers are added
             10.0.0.1:1, 10.0.0.1:2, 10.0.0.1:3
    timeout  5s (timeouts.command)
    if lost  it only reads: sent once more
    ");
    insta::assert_snapshot!(online("SCRIPT LOAD 'return 1'"), @r"
    command  script load (noscript)
    plan     one request to each node, replicas that cannot be reached left out; all must succeed
             10.0.0.1:1, 10.0.0.1:2, 10.0.0.1:3, 10.0.0.1:4
    timeout  5s (timeouts.command)
    if lost  not sent again once its bytes were handed over: the client is told that the outcome is unknown
    ");
    insta::assert_snapshot!(offline("PING"), @r"
    command  ping
    plan     answered by slotway itself, as a standalone server would; no node is asked
    ");
    insta::assert_snapshot!(offline("SCAN 0"), @r"
    command  scan (readonly)
    plan     one request to one primary per call; the cursor says which, and they follow in the order of their slots
    ");
    assert!(online("PUBLISH c m").contains("one primary, the same for all clients"));
}

#[test]
fn refusals_say_why() {
    insta::assert_snapshot!(offline("MULTI"), @r"
    command  multi (noscript no_multi)
    plan     answered by slotway itself; the commands up to EXEC are kept
    ");
    insta::assert_snapshot!(offline("GETT foo"), @r"
    refused  ERR unknown command 'GETT', with args beginning with: 'foo'
             known are the commands of the built-in table and, with --nodes or --running, those of the servers
    ");
    insta::assert_snapshot!(offline("GET"), @r"
    command  get (readonly)
    refused  ERR wrong number of arguments for 'get' command
    ");
    let denied = with_policy("KEYS *", |c| c.policy.deny = vec!["keys".into()]);
    assert!(
        denied.contains("refused  ERR slotway: 'keys' is denied by policy.deny"),
        "{denied}"
    );
    assert!(!offline("KEYS *").contains("refused"));
}

#[test]
fn a_conversation_is_explained_line_by_line() {
    let config = Config::default();
    let known = Known::built_in(&config);
    let lines = ["MULTI", "SET a 1", "PING", "EXEC"].map(|line| Said::Line(line.to_owned()));
    let told = explain(&lines, &config, &known).unwrap();
    insta::assert_snapshot!(text(&told), @r"
    > MULTI
    command  multi (noscript no_multi)
    plan     answered by slotway itself; the commands up to EXEC are kept

    > SET a 1
    command  set (write)
    key      a in slot 15495
    plan     kept for EXEC

    > PING
    command  ping
    plan     kept for EXEC, answered by slotway then

    > EXEC
    command  exec (noscript)
    plan     1 command between MULTI and EXEC, in one piece, to slot 15495
    ");
    insta::assert_snapshot!(json(&told[1..2]), @r#"{"commands":[{"said":"SET a 1","verdict":"queued","error":null,"keys":[{"key":"a","slot":15495,"node":null}],"details":{"command":["set (write)"],"key":["a in slot 15495"],"plan":["kept for EXEC"]}}]}"#);
    let many = vec![Said::Line("PING".to_owned()); COMMANDS_MAX + 1];
    assert!(explain(&many, &config, &known).is_err());
}

#[test]
fn a_slot_without_owner_is_said_so() {
    let key = (0..)
        .map(|i| format!("k{i}"))
        .find(|k| Slot::of(k.as_bytes()).index() >= 16_000)
        .unwrap();
    assert!(online(&format!("GET {key}")).contains("which no node owns"));
}

#[test]
fn several_words_are_arguments() {
    let config = Config::default();
    let known = Known::built_in(&config);
    let text = explain_with(&["GET", "a b"], &config, &known);
    assert!(text.contains("key      \"a b\" in slot "), "{text}");
}

#[test]
fn what_is_no_command_is_an_error() {
    assert_eq!(
        offline("  "),
        "error: one command is needed, such as 'MGET a b'"
    );
    assert_eq!(
        offline("GET 'a"),
        "error: a client would get -ERR Protocol error: unbalanced quotes in request, and be closed"
    );
    assert_eq!(
        offline("*1\r\n"),
        "error: one command is needed, such as 'MGET a b'"
    );
    assert_eq!(
        offline("GET a\nGET b"),
        "error: one command is needed, such as 'MGET a b'"
    );
}

#[test]
fn long_lists_are_cut() {
    let keys: Vec<String> = (0..200).map(|i| format!("k{i}")).collect();
    let text = online(&format!("MGET {}", keys.join(" ")));
    assert!(text.contains("and 150 more keys"), "{text}");
    assert!(text.lines().count() < 120);
}
