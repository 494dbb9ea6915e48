//! Replies of shards, put together.

use super::*;
use crate::resp::parse_request;
use crate::route::split;

fn gathered(mut gathering: Gathering, replies: &[&str]) -> String {
    for (part, reply) in replies.iter().enumerate().rev() {
        assert_eq!(gathering.put(part, reply.as_bytes()), part == 0);
    }
    let mut out = b"before".to_vec();
    gathering.finish(
        &Facts {
            random: 5,
            ..Facts::default()
        },
        &mut out,
    );
    String::from_utf8(out).unwrap().split_off(6)
}

fn fan_out(merge: Merge, replies: &[&str]) -> String {
    let targets = replies.len() / questions(merge);
    gathered(Gathering::of_fan_out(merge, targets, 3), replies)
}

fn split_of(kind: Split, words: &[&str], replies: &[&str]) -> String {
    let mut bytes = Vec::new();
    encode::command(&mut bytes, words);
    let mut spans = Vec::new();
    let plan = split(kind, &parse_request(&bytes, &mut spans).unwrap()).unwrap();
    gathered(Gathering::of_split(plan), replies)
}

#[test]
fn elements_come_back_in_the_order_of_the_keys() {
    let keys = ["MGET", "a", "b", "{a}", "c"];
    let replies = [
        "*2\r\n$1\r\n1\r\n$-1\r\n",
        "*1\r\n$2\r\n\r\n\r\n",
        "*1\r\n$1\r\n4\r\n",
    ];
    let merged = split_of(Split::Mget, &keys, &replies);
    assert_eq!(merged, "*4\r\n$1\r\n1\r\n$2\r\n\r\n\r\n$-1\r\n$1\r\n4\r\n");
}

#[test]
fn a_part_with_too_few_elements_is_an_error_not_a_shifted_reply() {
    for short in [
        "*0\r\n",
        "*2\r\n:1\r\n:2\r\n",
        "$1\r\na\r\n",
        "*-1\r\n",
        ":1\r\n",
    ] {
        let merged = split_of(Split::Mget, &["MGET", "a", "b"], &["*1\r\n$-1\r\n", short]);
        assert!(
            merged.starts_with("-ERR slotway: ") && merged.contains("reply 2 of 2"),
            "{merged}"
        );
    }
}

#[test]
fn one_parts_error_is_the_commands_error_the_first_by_part() {
    let error = split_of(
        Split::Count,
        &["DEL", "a", "b", "c"],
        &[":1\r\n", "-OOM x\r\n", "-ERR y\r\n"],
    );
    assert_eq!(error, "-OOM x\r\n");
    assert_eq!(
        split_of(
            Split::Mset,
            &["MSET", "a", "1", "b", "2"],
            &["+OK\r\n", "!5\r\nERR z\r\n"]
        ),
        "!5\r\nERR z\r\n"
    );
}

#[test]
fn counts_are_added_and_every_ok_is_needed() {
    assert_eq!(
        split_of(Split::Count, &["DEL", "a", "b"], &[":1\r\n", ":2\r\n"]),
        ":3\r\n"
    );
    assert_eq!(
        split_of(
            Split::Mset,
            &["MSET", "a", "1", "b", "2"],
            &["+OK\r\n", "+OK\r\n"]
        ),
        "+OK\r\n"
    );
    assert!(
        split_of(
            Split::Mset,
            &["MSET", "a", "1", "b", "2"],
            &["+OK\r\n", "+QUEUED\r\n"]
        )
        .starts_with("-ERR slotway")
    );
    assert!(fan_out(Merge::Sum, &[":1\r\n", "+1\r\n"]).starts_with("-ERR slotway"));
    assert!(
        fan_out(Merge::Sum, &[":9223372036854775807\r\n", ":1\r\n"]).starts_with("-ERR slotway")
    );
}

#[test]
fn integers_combine_as_the_command_says() {
    let replies = [":3\r\n", ":1\r\n", ":2\r\n"];
    assert_eq!(fan_out(Merge::Sum, &replies), ":6\r\n");
    assert_eq!(fan_out(Merge::Min, &replies), ":1\r\n");
    assert_eq!(fan_out(Merge::Max, &replies), ":3\r\n");
    assert_eq!(fan_out(Merge::Max, &replies), ":3\r\n");
    assert_eq!(fan_out(Merge::Or, &[":0\r\n", ":1\r\n"]), ":1\r\n");
    assert_eq!(fan_out(Merge::And, &[":0\r\n", ":1\r\n"]), ":0\r\n");
}

#[test]
fn a_script_exists_where_every_node_has_it() {
    let replies = ["*3\r\n:1\r\n:0\r\n:1\r\n", "*3\r\n:1\r\n:1\r\n:0\r\n"];
    assert_eq!(
        fan_out(Merge::ScriptExists, &replies),
        "*3\r\n:1\r\n:0\r\n:0\r\n"
    );
    assert!(
        fan_out(Merge::ScriptExists, &["*1\r\n:1\r\n", "*2\r\n:1\r\n:1\r\n"])
            .starts_with("-ERR slotway")
    );
    let known = Gathering::of_script_exists(2, vec![false, false, true]);
    assert_eq!(gathered(known, &replies), "*3\r\n:1\r\n:0\r\n:1\r\n");
}

#[test]
fn what_was_skipped_has_no_part_in_the_reply() {
    let mut gathering = Gathering::of_fan_out(Merge::AllOk, 3, 0);
    assert!(!gathering.skip(0));
    assert!(!gathering.put(1, b"+OK\r\n"));
    assert!(gathering.skip(2));
    let mut out = Vec::new();
    gathering.finish(&Facts::default(), &mut out);
    assert_eq!(out, b"+OK\r\n");
}

#[test]
fn arrays_and_sets_are_joined_in_the_type_of_the_first() {
    assert_eq!(
        fan_out(
            Merge::Concat,
            &["*1\r\n+a\r\n", "*0\r\n", "*2\r\n+b\r\n+a\r\n"]
        ),
        "*3\r\n+a\r\n+b\r\n+a\r\n"
    );
    assert_eq!(
        fan_out(Merge::Concat, &["~1\r\n+a\r\n", "~1\r\n+b\r\n"]),
        "~2\r\n+a\r\n+b\r\n"
    );
    assert_eq!(
        fan_out(Merge::Concat, &["%1\r\n+a\r\n:1\r\n", "%1\r\n+b\r\n:2\r\n"]),
        "%2\r\n+a\r\n:1\r\n+b\r\n:2\r\n"
    );
    assert_eq!(
        fan_out(Merge::Union, &["*1\r\n+a\r\n", "*2\r\n+b\r\n+a\r\n"]),
        "*2\r\n+a\r\n+b\r\n"
    );
}

#[test]
fn attributes_in_front_of_a_reply_hide_neither_its_type_nor_an_error() {
    let one = "|1\r\n+a\r\n+b\r\n~1\r\n:1\r\n";
    assert_eq!(
        fan_out(Merge::Concat, &[one, "~1\r\n:2\r\n"]),
        "~2\r\n:1\r\n:2\r\n"
    );
    let error = "|0\r\n-ERR no\r\n";
    assert_eq!(fan_out(Merge::AllOk, &["+OK\r\n", error]), error);
}

#[test]
fn subscribers_are_added_per_channel() {
    let replies = [
        "*4\r\n+a\r\n:1\r\n+b\r\n:0\r\n",
        "*4\r\n+a\r\n:2\r\n+b\r\n:5\r\n",
    ];
    assert_eq!(
        fan_out(Merge::NumSub, &replies),
        "*4\r\n+a\r\n:3\r\n+b\r\n:5\r\n"
    );
    assert_eq!(
        fan_out(Merge::NumSub, &["%1\r\n+a\r\n:1\r\n", "%1\r\n+a\r\n:2\r\n"]),
        "%1\r\n+a\r\n:3\r\n"
    );
    assert!(
        fan_out(Merge::NumSub, &["*2\r\n+a\r\n:1\r\n", "*2\r\n+b\r\n:2\r\n"])
            .starts_with("-ERR slotway")
    );
}

#[test]
fn who_listens_to_events_everywhere_is_one_subscriber() {
    let event = "$16\r\n__keyevent@0__:x\r\n";
    let replies = [3, 4].map(|n| format!("*2\r\n{event}:{n}\r\n"));
    assert_eq!(
        fan_out(Merge::NumSub, &[&replies[0], &replies[1]]),
        replies[1]
    );
}

#[test]
fn the_first_reply_stands_for_all_when_all_succeed() {
    let replies = ["$2\r\nab\r\n", "$2\r\nab\r\n"];
    assert_eq!(fan_out(Merge::AllOk, &replies), replies[0]);
    assert_eq!(
        fan_out(Merge::AllOk, &["+OK\r\n", "-ERR no\r\n"]),
        "-ERR no\r\n"
    );
}

#[test]
fn the_newest_log_entries_come_first() {
    let entry = |id, time| format!("*2\r\n:{id}\r\n:{time}\r\n");
    let one = format!("*2\r\n{}{}", entry(8, 100), entry(7, 10));
    let other = format!("*2\r\n{}{}", entry(3, 50), entry(2, 9));
    let expected = format!("*3\r\n{}{}{}", entry(8, 100), entry(3, 50), entry(7, 10));
    assert_eq!(fan_out(Merge::Slowlog, &[&one, &other]), expected);

    let asked = |words: &[&str]| {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, words);
        limit(
            Merge::Slowlog,
            &parse_request(&bytes, &mut Vec::new()).unwrap(),
        )
    };
    assert_eq!(asked(&["SLOWLOG", "GET"]), 10);
    assert_eq!(asked(&["SLOWLOG", "GET", "3"]), 3);
    assert_eq!(asked(&["SLOWLOG", "GET", "-1"]), usize::MAX);
}

#[test]
fn a_random_key_comes_from_a_shard_that_has_one() {
    // Sizes 4 and 3, random number 5: the second shard.
    let replies = [":4\r\n", "$1\r\na\r\n", ":3\r\n", "$1\r\nb\r\n"];
    assert_eq!(fan_out(Merge::RandomKey, &replies), "$1\r\nb\r\n");
    assert_eq!(
        fan_out(
            Merge::RandomKey,
            &[":0\r\n", "_\r\n", ":3\r\n", "$1\r\nb\r\n"]
        ),
        "$1\r\nb\r\n"
    );
    assert_eq!(
        fan_out(
            Merge::RandomKey,
            &[":9\r\n", "$-1\r\n", ":0\r\n", "$-1\r\n"]
        ),
        "$-1\r\n"
    );
}

#[test]
fn one_success_is_enough_where_the_command_says_so() {
    let idle = "-NOTBUSY No scripts in execution right now.\r\n";
    let stubborn = "-UNKILLABLE Sorry\r\n";
    assert_eq!(fan_out(Merge::First, &[idle, "+OK\r\n"]), "+OK\r\n");
    assert_eq!(fan_out(Merge::First, &[idle, stubborn]), stubborn);
    let down = "-CLUSTERDOWN slotway: not sent\r\n";
    assert_eq!(fan_out(Merge::First, &[idle, down, stubborn]), stubborn);
    assert_eq!(fan_out(Merge::First, &[idle, down]), down);
    assert_eq!(fan_out(Merge::First, &[idle, idle]), idle);
}
