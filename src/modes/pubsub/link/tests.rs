//! What nodes answer, in every order there is.

use super::*;
use std::time::Duration;

fn now() -> Instant {
    Instant::now()
}

fn push(word: &str, name: &str) -> Vec<u8> {
    format!(
        ">3\r\n${}\r\n{word}\r\n${}\r\n{name}\r\n:1\r\n",
        word.len(),
        name.len()
    )
    .into_bytes()
}

#[test]
fn confirmations_answer_the_oldest_command() {
    let mut link = Link::default();
    let (a, s, t) = (
        Item::new(Kind::Channel, "a"),
        Item::new(Kind::Shard, "s"),
        Item::new(Kind::Shard, "t"),
    );
    let mut out = Vec::new();
    link.subscribe(&[a.clone(), s.clone(), t.clone()], now(), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.matches("ssubscribe").count(), 2, "one for each slot");
    assert!(matches!(link.hear(&push("subscribe", "a")), Heard::Settled));
    assert!(link.has(&a) && link.wants(&s) && !link.has(&s));
    assert_eq!(link.common(), 1);
    let Heard::Refused(items, _) = link.hear(b"-MOVED 1 127.0.0.1:1\r\n") else {
        panic!("s was refused");
    };
    assert!(items == [s.clone()] && link.lacks(&s));
    assert!(matches!(
        link.hear(&push("ssubscribe", "t")),
        Heard::Settled
    ));
    // Ended by the node, before and after it was asked to end it.
    assert!(matches!(link.hear(&push("sunsubscribe", "t")), Heard::Ended(i) if i == t));
    link.unsubscribe(std::slice::from_ref(&t), now(), &mut Vec::new());
    assert!(!link.lacks(&t) && !link.wants(&t));
    assert!(matches!(
        link.hear(&push("sunsubscribe", "t")),
        Heard::Settled
    ));
    assert!(matches!(
        link.hear(&push("sunsubscribe", "t")),
        Heard::Settled
    ));
    assert!(link.lacks(&t) && !link.is_empty());
    assert_eq!(link.common(), 1, "sharded ones are not counted");
    link.unsubscribe(std::slice::from_ref(&a), now(), &mut Vec::new());
    assert_eq!(link.common(), 0);
}

#[test]
fn asked_again_while_leaving_it_stays() {
    let mut link = Link::default();
    let a = Item::new(Kind::Channel, "a");
    for verb in [Verb::Subscribe, Verb::Unsubscribe, Verb::Subscribe] {
        match verb {
            Verb::Subscribe => link.subscribe(std::slice::from_ref(&a), now(), &mut Vec::new()),
            Verb::Unsubscribe => link.unsubscribe(std::slice::from_ref(&a), now(), &mut Vec::new()),
        }
    }
    link.hear(&push("subscribe", "a"));
    link.hear(&push("unsubscribe", "a"));
    assert!(link.wants(&a));
    link.hear(&push("subscribe", "a"));
    assert!(link.has(&a) && link.common() == 1);
    assert!(matches!(link.hear(b"-ERR what\r\n"), Heard::Odd));
    assert!(matches!(link.hear(&push("subscribe", "b")), Heard::Odd));
}

/// The client was told that it has not subscribed: what the node says until it has heard the end is not for it.
#[test]
fn what_is_disowned_brings_no_messages() {
    let mut link = Link::default();
    let [a, b] = ["a", "b"].map(|name| Item::new(Kind::Channel, name));
    let message = |name: &str| {
        let text = format!(">3\r\n$7\r\nmessage\r\n$1\r\n{name}\r\n$1\r\nx\r\n");
        text.into_bytes()
    };
    link.subscribe(&[a.clone(), b.clone()], now(), &mut Vec::new());
    link.unsubscribe(std::slice::from_ref(&a), now(), &mut Vec::new());
    link.disown(&[a.clone(), b.clone()]);
    assert!(link.wants(&b) && !link.wants(&a) && link.wanted().eq([&b]));
    for name in ["a", "b"] {
        link.hear(&push("subscribe", name));
    }
    assert!(matches!(link.hear(&message("a")), Heard::Stray));
    assert!(matches!(link.hear(&message("b")), Heard::Message(_)));
    // Asked for again before it has ended: the confirmation is waited for.
    link.subscribe(std::slice::from_ref(&a), now(), &mut Vec::new());
    assert!(matches!(link.hear(&message("a")), Heard::Message(_)));
    link.unsubscribe(std::slice::from_ref(&a), now(), &mut Vec::new());
    link.disown(std::slice::from_ref(&a));
    for word in ["unsubscribe", "subscribe", "unsubscribe"] {
        link.hear(&push(word, "a"));
    }
    assert!(link.lacks(&a) && link.disowned == 0 && link.unanswered.is_empty());
}

/// The node gives the slot away, ends the subscription, and only then hears that it is to end.
#[test]
fn what_was_given_away_may_be_ended_late() {
    let (a, b) = (Item::new(Kind::Shard, "a"), Item::new(Kind::Shard, "b"));
    let moved = |item: &Item| {
        let slot = Slot::of(&item.name).number();
        format!("-MOVED {slot} 127.0.0.1:1\r\n").into_bytes()
    };
    let mut link = Link::default();
    link.subscribe(std::slice::from_ref(&a), now(), &mut Vec::new());
    link.hear(&push("ssubscribe", "a"));
    link.unsubscribe(std::slice::from_ref(&a), now(), &mut Vec::new());
    link.subscribe(std::slice::from_ref(&b), now(), &mut Vec::new());
    assert!(matches!(
        link.hear(&push("sunsubscribe", "a")),
        Heard::Settled
    ));
    assert!(matches!(link.hear(&moved(&a)), Heard::Settled));
    assert!(matches!(
        link.hear(&push("ssubscribe", "b")),
        Heard::Settled
    ));
    assert!(link.lacks(&a) && link.has(&b));
    assert!(matches!(link.hear(&moved(&a)), Heard::Odd), "once only");
    // It had been ended before the client's command, which is all that is answered.
    link.unsubscribe(std::slice::from_ref(&b), now(), &mut Vec::new());
    assert!(matches!(link.hear(&moved(&b)), Heard::Settled));
    assert!(link.is_empty());
}

#[test]
fn what_is_unanswered_is_as_old_as_the_oldest_question() {
    let (a, b) = (Item::new(Kind::Shard, "a"), Item::new(Kind::Shard, "b"));
    let [first, second, third, fourth] =
        [0, 1, 2, 3].map(|hour| now() + Duration::from_secs(hour * 3600));
    let mut link = Link::default();
    assert_eq!(link.asked_at(), None);
    link.subscribe(std::slice::from_ref(&a), first, &mut Vec::new());
    link.hear(&push("ssubscribe", "a"));
    link.unsubscribe(std::slice::from_ref(&a), second, &mut Vec::new());
    link.subscribe(std::slice::from_ref(&b), third, &mut Vec::new());
    assert_eq!(link.asked_at(), Some(second));
    link.hear(&push("sunsubscribe", "a"));
    link.hear(&push("ssubscribe", "b"));
    link.unsubscribe(std::slice::from_ref(&b), fourth, &mut Vec::new());
    assert_eq!(link.asked_at(), Some(fourth));
}

/// A client that was refused asks again, and the node has answered nothing yet: each answer is that of its own command.
#[test]
fn only_the_last_command_s_answer_changes_how_it_stands() {
    for (kind, prefix) in [(Kind::Shard, "s"), (Kind::Channel, "")] {
        let item = Item::new(kind, "a");
        let a = std::slice::from_ref(&item);
        let [begun, ended] =
            ["subscribe", "unsubscribe"].map(|w| push(&format!("{prefix}{w}"), "a"));
        let message = push(&format!("{prefix}message"), "a");
        let message = message.strip_suffix(b":1\r\n").unwrap();
        let message = [message, b"$1\r\nx\r\n"].concat();

        // Refused twice: it stays nobody's until the second end.
        let mut link = Link::default();
        for _ in 0..2 {
            link.subscribe(a, now(), &mut Vec::new());
            link.unsubscribe(a, now(), &mut Vec::new());
            link.disown(a);
        }
        for answer in [&begun, &ended, &begun] {
            assert!(matches!(link.hear(answer), Heard::Settled));
            assert!(matches!(link.hear(&message), Heard::Stray));
            assert!(!link.lacks(&item) && !link.wants(&item));
        }
        assert!(matches!(link.hear(&ended), Heard::Settled));
        assert!(link.is_empty() && link.disowned == 0 && link.unanswered.is_empty());

        // Asked for again at last: the first answer does not confirm it.
        link.subscribe(a, now(), &mut Vec::new());
        link.unsubscribe(a, now(), &mut Vec::new());
        link.subscribe(a, now(), &mut Vec::new());
        for answer in [&begun, &ended] {
            assert!(matches!(link.hear(answer), Heard::Settled));
            assert!(link.wants(&item) && !link.has(&item) && link.common() == 0);
        }
        assert!(matches!(link.hear(&begun), Heard::Settled));
        assert!(link.has(&item) && link.unanswered.is_empty());
    }
}

/// The same, with a node that refuses, and with one that gives the slot away meanwhile.
#[test]
fn what_was_asked_for_since_outlives_a_refusal_and_an_end() {
    let (item, other) = (Item::new(Kind::Shard, "a"), Item::new(Kind::Shard, "b"));
    let a = std::slice::from_ref(&item);
    let moved = format!("-MOVED {} 127.0.0.1:1\r\n", Slot::of(b"a").number()).into_bytes();
    let mut link = Link::default();
    link.subscribe(a, now(), &mut Vec::new());
    link.unsubscribe(a, now(), &mut Vec::new());
    link.subscribe(a, now(), &mut Vec::new());
    assert!(matches!(link.hear(&moved), Heard::Refused(..)));
    assert!(matches!(link.hear(&moved), Heard::Settled));
    assert!(link.wants(&item) && !link.has(&item));
    link.hear(&push("ssubscribe", "a"));
    assert!(link.has(&item));
    // The end of what was, unasked, while the commands behind another one are on their way.
    link.subscribe(std::slice::from_ref(&other), now(), &mut Vec::new());
    link.unsubscribe(a, now(), &mut Vec::new());
    link.subscribe(a, now(), &mut Vec::new());
    let ended = push("sunsubscribe", "a");
    assert!(matches!(link.hear(&ended), Heard::Settled));
    link.hear(&push("ssubscribe", "b"));
    assert!(matches!(link.hear(&moved), Heard::Settled));
    assert!(link.wants(&item) && link.has(&other));
    assert!(matches!(link.hear(&moved), Heard::Refused(..)));
    assert!(link.lacks(&item) && link.unanswered.is_empty());
}
