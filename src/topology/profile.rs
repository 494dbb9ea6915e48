//! What nodes say about themselves when the proxy connects: server, version, modules, node timeout. One [`Profile`] per
//! node, one [`ServerInfo`] for all of them. Pure.

use crate::resp::{bulk, elements, integer};
use serde::Serialize;
use std::time::Duration;

/// What one node said about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Profile {
    /// `redis` or `valkey`.
    pub(super) server: String,
    pub(super) version: String,
    pub(super) modules: Vec<Module>,
    pub(super) node_timeout: Option<Duration>,
    /// Of this process of it.
    pub(super) run_id: String,
    /// It does not serve keys, but watches servers that do.
    pub(super) is_sentinel: bool,
}

impl Profile {
    /// Nodes of one edition have the same commands.
    pub(super) fn edition(&self) -> String {
        let mut edition = format!("{} {}", self.server, self.version);
        for module in &self.modules {
            edition += &format!(" {}-{}", module.name, module.version);
        }
        edition
    }
}

/// A module that a node has loaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its version, as the module numbers it.
    pub version: i64,
    /// Where it is, if the node says so: servers before 7.0 do not.
    pub path: Option<String>,
    /// What it was started with, if the node says so.
    pub args: Option<Vec<String>>,
}

/// What the cluster's servers are, as far as clients care.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerInfo {
    /// `redis` or `valkey`; empty until a node was asked.
    pub name: String,
    /// The lowest version of all nodes asked, because that is what every node can do; empty until a node was asked.
    pub version: String,
    /// Modules that every node asked has.
    pub modules: Vec<Module>,
    /// The longest `cluster-node-timeout` of the nodes, where it may be read.
    pub node_timeout: Option<Duration>,
}

impl ServerInfo {
    /// What a server says in its reply to `INFO server`, whatever its modules.
    pub fn told(info: &[u8]) -> Self {
        Self::of([profile(&[], &[], info)].iter())
    }

    /// What holds for all of them.
    pub(super) fn of<'a>(profiles: impl Iterator<Item = &'a Profile>) -> Self {
        let mut info: Option<Self> = None;
        for profile in profiles {
            let Some(info) = &mut info else {
                info = Some(Self {
                    name: profile.server.clone(),
                    version: profile.version.clone(),
                    modules: profile.modules.clone(),
                    node_timeout: profile.node_timeout,
                });
                continue;
            };
            if parts(&profile.version) < parts(&info.version) {
                info.name.clone_from(&profile.server);
                info.version.clone_from(&profile.version);
            }
            info.modules
                .retain(|m| profile.modules.iter().any(|o| o.name == m.name));
            info.node_timeout = info.node_timeout.max(profile.node_timeout);
        }
        info.unwrap_or_default()
    }
}

/// A version as numbers, to compare: 7.0.15 is above 7.0.9.
fn parts(version: &str) -> Vec<u64> {
    let digits = |part: &str| {
        part.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    };
    version
        .split('.')
        .map(|p| digits(p).parse().unwrap_or(0))
        .collect()
}

/// From the replies to `HELLO` (empty if there was none), `CONFIG GET cluster-node-timeout` and `INFO server`.
pub(super) fn profile(hello: &[u8], config: &[u8], info: &[u8]) -> Profile {
    let mut profile = Profile::default();
    let fields = elements(hello).unwrap_or_default();
    for pair in fields.chunks_exact(2) {
        let value = &hello[pair[1].clone()];
        match bulk(&hello[pair[0].clone()]) {
            Some(b"server") => profile.server = text(value),
            Some(b"version") => profile.version = text(value),
            Some(b"modules") => profile.modules = modules(value),
            _ => {}
        }
    }
    let info = text(info);
    let field = |name: &str| {
        info.lines().find_map(|l| {
            l.strip_prefix(name)?
                .strip_prefix(':')
                .map(|v| v.trim().to_owned())
        })
    };
    if profile.server.is_empty() {
        profile.server = field("server_name").unwrap_or_else(|| "redis".to_owned());
    }
    if profile.version.is_empty() {
        profile.version = field("valkey_version")
            .or_else(|| field("redis_version"))
            .unwrap_or_default();
    }
    profile.run_id = field("run_id").unwrap_or_default();
    let mode = field("redis_mode").or_else(|| field("server_mode"));
    profile.is_sentinel = mode.as_deref() == Some("sentinel");
    profile.node_timeout = elements(config)
        .and_then(|parts| text(&config[parts.get(1)?.clone()]).parse().ok())
        .map(Duration::from_millis);
    profile
}

fn modules(reply: &[u8]) -> Vec<Module> {
    let mut found = Vec::new();
    for module in elements(reply).unwrap_or_default() {
        let module = &reply[module];
        let (mut name, mut version, mut path, mut args) = (String::new(), 0, None, None);
        for pair in elements(module).unwrap_or_default().chunks_exact(2) {
            let value = &module[pair[1].clone()];
            match bulk(&module[pair[0].clone()]) {
                Some(b"name") => name = text(value),
                Some(b"ver") => version = integer(value).unwrap_or(0),
                Some(b"path") => path = Some(text(value)),
                Some(b"args") => {
                    let words = elements(value).unwrap_or_default().into_iter();
                    args = Some(words.map(|word| text(&value[word])).collect());
                }
                _ => {}
            }
        }
        found.push(Module {
            name,
            version,
            path,
            args,
        });
    }
    found.sort();
    found
}

fn text(reply: &[u8]) -> String {
    String::from_utf8_lossy(bulk(reply).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::ReplyScanner;

    fn captured(mut rest: &[u8]) -> Profile {
        let mut replies = Vec::new();
        while !rest.is_empty() {
            let len = ReplyScanner::new().scan(rest).unwrap().unwrap();
            replies.push(&rest[..len]);
            rest = &rest[len..];
        }
        profile(replies[0], replies[1], replies[2])
    }

    #[test]
    fn servers_introduce_themselves() {
        let redis = captured(include_bytes!(
            "../../tests/data/topology/redis-7.0/hello.resp"
        ));
        assert_eq!(
            (redis.server.as_str(), redis.version.as_str()),
            ("redis", "7.0.15")
        );
        assert_eq!(redis.node_timeout, Some(Duration::from_secs(2)));
        let valkey = captured(include_bytes!(
            "../../tests/data/topology/valkey-9.1/hello.resp"
        ));
        assert_eq!(
            (valkey.server.as_str(), valkey.version.as_str()),
            ("valkey", "9.1.2")
        );
        assert_eq!(valkey.modules[0].name, "lua");
        assert_eq!(valkey.modules[0].path.as_deref(), Some("lua"));
        assert_eq!(valkey.modules[0].args, Some(vec![]));

        let both = ServerInfo::of([&valkey, &redis].into_iter());
        assert_eq!(
            (both.name.as_str(), both.version.as_str()),
            ("redis", "7.0.15")
        );
        assert!(both.modules.is_empty());
    }

    #[test]
    fn info_does_where_hello_is_refused_and_nothing_is_not_fatal() {
        let mut info = Vec::new();
        crate::resp::encode::bulk(
            &mut info,
            b"# Server\r\nserver_name:valkey\r\nvalkey_version:8.0.1\r\n",
        );
        let found = profile(b"", b"-NOPERM no\r\n", &info);
        assert_eq!(
            (
                found.server.as_str(),
                found.version.as_str(),
                found.node_timeout
            ),
            ("valkey", "8.0.1", None)
        );
        assert_eq!(profile(b"", b"", b"").version, "");
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parts("7.0.9") < parts("7.0.15"));
        assert!(parts("8.0.0-rc1") < parts("9.1.2"));
    }
}
