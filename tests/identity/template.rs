//! Templates of commands: one line says what the arguments of a command look like, and every use of it draws
//! others. `SET $k $v [EX $e|KEEPTTL|]` is a SET of some key of the sequence with one of two options or none;
//! `DEL [$a]*` has one or more keys. The tables are in `catalog`, what a placeholder becomes in `values`.

use rand::Rng;
use rand::rngs::StdRng;

use super::values::Values;

/// One drawn command.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// Its arguments, name included.
    pub args: Vec<Vec<u8>>,
    /// Which arguments are numbers that the template fixes: where a broken one is interesting.
    pub counts: Vec<usize>,
    /// The hash tag that all its keys have, if they must be in one slot.
    pub tag: Option<String>,
}

/// Draws a command from a template. `kind` is the type of value that `$k` and `$t` are meant to hold.
pub fn draw(template: &str, kind: &str, rng: &mut StdRng) -> Drawn {
    let tag = template.contains("$t").then(|| Values::tag(rng));
    draw_tagged(template, kind, tag, rng)
}

/// The same with all keys in one slot.
pub fn draw_in_one_slot(template: &str, kind: &str, tag: &str, rng: &mut StdRng) -> Drawn {
    let template = template.replace("$k", "$t").replace("$a", "$t");
    draw_tagged(&template, kind, Some(tag.to_owned()), rng)
}

fn draw_tagged(template: &str, kind: &str, tag: Option<String>, rng: &mut StdRng) -> Drawn {
    let mut drawn = Drawn {
        args: Vec::new(),
        counts: Vec::new(),
        tag,
    };
    let mut rest = template;
    while let Some(open) = rest.find('[') {
        words(&rest[..open], kind, &mut drawn, rng);
        let close = open
            + rest[open..]
                .find(']')
                .expect("a template closes its brackets");
        let group = &rest[open + 1..close];
        rest = &rest[close + 1..];
        if let Some(after) = rest.strip_prefix('*') {
            rest = after;
            for _ in 0..Values::repetitions(rng) {
                words(group, kind, &mut drawn, rng);
            }
        } else {
            let choices: Vec<&str> = group.split('|').collect();
            words(
                choices[rng.random_range(0..choices.len())],
                kind,
                &mut drawn,
                rng,
            );
        }
    }
    words(rest, kind, &mut drawn, rng);
    drawn
}

fn words(text: &str, kind: &str, drawn: &mut Drawn, rng: &mut StdRng) {
    for word in text.split_ascii_whitespace() {
        let arg = match word.strip_prefix('$') {
            Some(what) => Values::of(what, kind, drawn.tag.as_deref(), rng),
            // `_` is a blank inside an argument: scripts have some.
            None => word.replace('_', " ").replace('\u{b7}', "_").into_bytes(),
        };
        if !drawn.args.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) {
            drawn.counts.push(drawn.args.len());
        }
        drawn.args.push(arg);
    }
}

/// Breaks a command: too few arguments, too many, a number that is none.
pub fn spoil(drawn: &mut Drawn, rng: &mut StdRng) {
    match rng.random_range(0..3) {
        0 => drawn.args.truncate(rng.random_range(1..=drawn.args.len())),
        1 => {
            // It may be taken for a key, and then has to be in the slot of the others.
            let tag = drawn
                .tag
                .as_ref()
                .map_or_else(String::new, |tag| format!("{{{tag}}}"));
            for _ in 0..rng.random_range(1..3) {
                drawn.args.push(format!("{tag}more").into_bytes());
            }
        }
        _ => {
            let Some(&at) = drawn
                .counts
                .get(rng.random_range(0..drawn.counts.len().max(1)))
            else {
                return;
            };
            let bad = ["abc", "-1", "99", "", "1.5", " 1", "9223372036854775808"];
            drawn.args[at] = bad[rng.random_range(0..bad.len())].into();
        }
    }
}
