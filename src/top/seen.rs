//! What `top` reads of `/hotkeys` and `/slowlog`. Pure; what is missing or of another type is left at its default, since
//! another version may answer.

use serde_json::Value;

/// Rows that are read of each.
const ROWS_MAX: usize = 200;

/// A key that is asked for most.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct HotKey {
    pub(super) key: String,
    /// Of all keys that are asked for, 0 to 1.
    pub(super) share: f64,
    pub(super) per_second: f64,
    pub(super) slot: u64,
    pub(super) node: String,
}

/// A command that took long.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct SlowCommand {
    /// Its name and arguments, values as byte counts.
    pub(super) command: String,
    /// All of it in seconds, and the parts of that: queued, upstream, order, writing.
    pub(super) seconds: [f64; 5],
    pub(super) node: String,
    /// Name or address of the client.
    pub(super) client: String,
}

/// Both lists, in the order of the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) hot_keys: Vec<HotKey>,
    pub(super) slow: Vec<SlowCommand>,
}

const PARTS: [&str; 5] = [
    "micros",
    "queued_micros",
    "upstream_micros",
    "order_micros",
    "writing_micros",
];

impl Seen {
    /// Reads the JSON of both.
    pub(super) fn parse(hot_keys: &str, slow_log: &str) -> Self {
        Self {
            hot_keys: list(hot_keys, "keys", hot_key),
            slow: list(slow_log, "commands", slow_command),
        }
    }
}

fn list<T>(text: &str, field: &str, read: fn(&Value) -> T) -> Vec<T> {
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let rows = json[field].as_array().map_or(&[][..], Vec::as_slice);
    rows.iter().take(ROWS_MAX).map(read).collect()
}

fn hot_key(value: &Value) -> HotKey {
    HotKey {
        key: string(&value["key"]),
        share: value["share"].as_f64().unwrap_or_default(),
        per_second: value["per_second"].as_f64().unwrap_or_default(),
        slot: value["slot"].as_u64().unwrap_or_default(),
        node: string(&value["node"]),
    }
}

fn slow_command(value: &Value) -> SlowCommand {
    let args = value["args"].as_array().map_or(&[][..], Vec::as_slice);
    let args: Vec<&str> = args.iter().filter_map(Value::as_str).collect();
    let name = value["name"].as_str().filter(|name| !name.is_empty());
    SlowCommand {
        command: args.join(" "),
        seconds: PARTS.map(|part| value[part].as_f64().unwrap_or_default() / 1e6),
        node: string(&value["node"]),
        client: name.map_or_else(|| string(&value["client"]), str::to_owned),
    }
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_and_what_is_missing_is_left_out() {
        let hot = r#"{"keys": [{"key": "a", "share": 0.5, "per_second": 7, "slot": 3, "node": "n:1"}, 7]}"#;
        let slow = r#"{"commands": [{"args": ["EVAL", "(3 bytes)", 7], "micros": 2000000, "order_micros": 1000000, "name": "",
            "client": "c:1", "node": null}]}"#;
        let seen = Seen::parse(hot, slow);
        assert_eq!(seen.hot_keys.len(), 2);
        assert_eq!(seen.hot_keys[0].share, 0.5);
        assert_eq!(seen.hot_keys[1], HotKey::default());
        let slow = SlowCommand {
            command: "EVAL (3 bytes)".to_owned(),
            seconds: [2.0, 0.0, 0.0, 1.0, 0.0],
            node: String::new(),
            client: "c:1".to_owned(),
        };
        assert_eq!(seen.slow, [slow]);
        for nonsense in [
            "",
            "7",
            "{\"keys\": 3, \"commands\": {}}",
            &"[".repeat(100_000),
        ] {
            assert_eq!(Seen::parse(nonsense, nonsense), Seen::default());
        }
    }
}
