//! What was seen of the load, as JSON: hot keys, big values, slow commands, errors, clients. Keys and names come from clients: bytes that are no
//! printable ASCII are escaped, as `redis-cli` does. Of values there is nothing but their length.

use crate::cluster::{NodeAddr, Slot};
use crate::config::Settings;
use crate::observe::{BIG_FOR, BigValue, Direction, HALF_LIFE, Metrics, SAMPLED, SlowCommand};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime};

/// Tells which node owns a slot.
pub(super) type Owner = Box<dyn Fn(Slot) -> Option<NodeAddr> + Send + Sync>;

/// `/hotkeys`.
pub(super) fn hot_keys(metrics: &Metrics, owner: &Owner) -> Value {
    let hottest = metrics.hottest(Instant::now());
    let keys = hottest.keys.iter().map(|key| {
        json!({
            "key": printable(&key.text),
            "bytes": key.bytes,
            "cut": key.bytes > key.text.len(),
            "slot": key.slot,
            "node": node(owner, key.slot),
            "per_second": rounded(key.per_second),
            "share": rounded(key.per_second / hottest.per_second),
        })
    });
    json!({
        "sampled_one_in": SAMPLED,
        "half_life_seconds": HALF_LIFE.as_secs(),
        "per_second": rounded(hottest.per_second),
        "keys": keys.collect::<Vec<_>>(),
    })
}

/// `/bigkeys`.
pub(super) fn big_keys(metrics: &Metrics, owner: &Owner) -> Value {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let biggest = metrics.big_values(now);
    let keys = biggest.iter().map(|big| big_key(big, owner));
    json!({
        "from_bytes": metrics.observed().big_value,
        "kept_seconds": BIG_FOR.as_secs(),
        "keys": keys.collect::<Vec<_>>(),
    })
}

fn big_key(big: &BigValue, owner: &Owner) -> Value {
    json!({
        "key": printable(&big.text),
        "bytes": big.bytes,
        "cut": big.bytes > big.text.len(),
        "slot": big.slot,
        "node": node(owner, big.slot),
        "value_bytes": big.size,
        "direction": match big.direction {
            Direction::Read => "read",
            Direction::Written => "written",
        },
        "cmd": &*big.command,
        "count": big.count,
        "last": unix(big.last),
    })
}

/// `/config`: secrets are in files, of which only the names are known.
pub(super) fn configuration(settings: &Settings) -> Value {
    let settings = settings.iter().map(|setting| {
        json!({
            "option": setting.option.name,
            "value": setting.value.to_toml(),
            "from": setting.origin.to_string(),
        })
    });
    json!({ "settings": settings.collect::<Vec<_>>() })
}

/// `/errors`.
pub(super) fn errors(metrics: &Metrics) -> Value {
    let errors = metrics.errors_lately();
    let errors = errors.iter().map(|(error, command)| {
        let remedy = error.remedy();
        let (client, name) = error.client.clone().unzip();
        json!({
            "error": error.text,
            "source": error.source.label(),
            "count": error.count,
            "first": unix(error.first),
            "last": unix(error.last),
            "cmd": &**command,
            "client": client,
            "name": name.flatten(),
            "cause": remedy.map(|row| row.cause),
            "remedy": remedy.map(|row| row.remedy),
        })
    });
    json!({ "errors": errors.collect::<Vec<_>>() })
}

/// `/clients`: there are `count`, and these are the lines of CLIENT LIST of some. What is a number there is one here, and a
/// name is text whatever it looks like.
pub(super) fn clients(count: usize, lines: &[String]) -> Value {
    let clients: Vec<Value> = lines.iter().map(|line| client(line)).collect();
    json!({ "count": count, "clients": clients })
}

fn client(line: &str) -> Value {
    let fields = line.split_whitespace().filter_map(|f| f.split_once('='));
    let typed = fields.map(|(name, text)| {
        let number = text.parse::<i64>().ok();
        let number = number.filter(|_| !TEXTS.contains(&name));
        let value = number.map_or_else(|| json!(text), |number| json!(number));
        (name.to_owned(), value)
    });
    Value::Object(typed.collect())
}

/// Fields of CLIENT LIST that clients choose, or that are no numbers.
const TEXTS: [&str; 4] = ["name", "lib-name", "lib-ver", "user"];

/// `/slowlog`.
pub(super) fn slow_log(metrics: &Metrics) -> Value {
    let slow = metrics.slow_commands();
    json!({
        "from_micros": metrics.observed().slow.map(|slow| slow.as_micros() as u64),
        "commands": slow.iter().map(slow_command).collect::<Vec<_>>(),
    })
}

fn slow_command(slow: &SlowCommand) -> Value {
    let args = slow.args.iter().map(|arg| printable(arg));
    json!({
        "id": slow.id,
        "time": unix(slow.at),
        "args": args.collect::<Vec<_>>(),
        "client": &*slow.client,
        "name": slow.name.as_deref(),
        "node": slow.node.to_string(),
        "micros": slow.spent.total(),
        "queued_micros": slow.spent.queued,
        "upstream_micros": slow.spent.upstream,
        "order_micros": slow.spent.order,
        "writing_micros": slow.spent.writing,
    })
}

fn printable(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn node(owner: &Owner, slot: u16) -> Option<String> {
    let owner = Slot::new(slot).and_then(owner)?;
    Some(owner.to_string())
}

/// Seconds since 1970, to the millisecond.
fn unix(at: Duration) -> f64 {
    at.as_millis() as f64 / 1e3
}

/// More digits than that are chance.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_what_its_line_says() {
        let line = "id=7 addr=1.2.3.4:5 name=12=x<b> age=3 multi=-1 lib-ver=7 flags=N cmd=get\n";
        let told = clients(9, &[line.to_owned()]);
        let expected = json!({"count": 9, "clients": [{"id": 7, "addr": "1.2.3.4:5", "name": "12=x<b>", "age": 3, "multi": -1,
            "lib-ver": "7", "flags": "N", "cmd": "get"}]});
        assert_eq!(told, expected);
        assert_eq!(client("name=12"), json!({"name": "12"}));
    }
}
