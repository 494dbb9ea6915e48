//! WAIT over a cluster: what it was asked, and what a primary says of its replicas. Pure; `session::waiting` asks.

use crate::resp::strict_integer;
use std::time::Duration;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// So many replicas have to have acknowledged.
    pub replicas: i64,
    /// Milliseconds; `None`: for ever.
    pub timeout_ms: Option<u64>,
}

impl Wait {
    /// `WAIT replicas timeout`, or the servers' own text for what is wrong with it; `timeout_max` as
    /// [`wait_timeout_max`] says.
    pub fn parse(replicas: &[u8], timeout: &[u8], timeout_max: i64) -> Result<Self, &'static str> {
        let replicas =
            strict_integer(replicas).ok_or("ERR value is not an integer or out of range")?;
        let timeout =
            strict_integer(timeout).ok_or("ERR timeout is not an integer or out of range")?;
        if timeout > timeout_max {
            return Err("ERR timeout is out of range");
        }
        let timeout_ms = u64::try_from(timeout).map_err(|_| "ERR timeout is negative")?;
        Ok(Self {
            replicas,
            timeout_ms: (timeout_ms > 0).then_some(timeout_ms),
        })
    }
}

/// The longest timeout that a server of that name takes, in milliseconds: some do not count beyond the end of their
/// clock.
pub fn wait_timeout_max(server: &str, since_epoch: Duration) -> i64 {
    match server {
        "valkey" => i64::MAX - i64::try_from(since_epoch.as_millis()).unwrap_or(0),
        _ => i64::MAX,
    }
}

/// What a client asked for whose writes are to be on disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitAof {
    /// 1: the primary's own disk.
    pub local: i64,
    /// So many replicas' disks.
    pub replicas: i64,
    /// Milliseconds; `None`: for ever.
    pub timeout_ms: Option<u64>,
}

impl WaitAof {
    /// `WAITAOF local replicas timeout`, or the servers' own text for what is wrong with it.
    pub fn parse(
        local: &[u8],
        replicas: &[u8],
        timeout: &[u8],
        timeout_max: i64,
    ) -> Result<Self, &'static str> {
        let local = strict_integer(local).ok_or("ERR value is not an integer or out of range")?;
        if !(0..=1).contains(&local) {
            return Err("ERR value is out of range, value must between 0 and 1");
        }
        let replicas = strict_integer(replicas)
            .filter(|&replicas| replicas >= 0)
            .ok_or("ERR value is out of range, must be positive")?;
        let Wait { timeout_ms, .. } = Wait::parse(b"0", timeout, timeout_max)?;
        Ok(Self {
            local,
            replicas,
            timeout_ms,
        })
    }
}

/// What `INFO replication` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replication {
    /// Of a primary.
    Primary(Acknowledged),
    /// That it is none.
    Replica,
}

/// How far a primary is, and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// How far the primary itself is.
    pub offset: u64,
    /// How far its replicas that are online have acknowledged.
    replicas: Vec<u64>,
}

impl Replication {
    /// Reads the text; `None` if it is no server's.
    pub fn parse(info: &[u8]) -> Option<Self> {
        let info = std::str::from_utf8(info).ok()?;
        let lines = || info.split("\r\n").filter_map(|line| line.split_once(':'));
        let field = |name: &str| lines().find(|(n, _)| *n == name).map(|(_, value)| value);
        if field("role")? != "master" {
            return Some(Self::Replica);
        }
        let replicas = lines()
            .filter(|(name, _)| {
                let number = name.strip_prefix("slave");
                number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            })
            .filter_map(|(_, replica)| online_offset(replica))
            .collect();
        Some(Self::Primary(Acknowledged {
            offset: field("master_repl_offset")?.parse().ok()?,
            replicas,
        }))
    }
}

impl Acknowledged {
    /// How many replicas have acknowledged that offset.
    pub fn at(&self, offset: u64) -> usize {
        self.replicas.iter().filter(|&&at| at >= offset).count()
    }
}

/// `ip=…,port=…,state=online,offset=…,lag=…`
fn online_offset(replica: &str) -> Option<u64> {
    let field = |name: &str| {
        let mut fields = replica.split(',').filter_map(|f| f.split_once('='));
        fields.find(|(n, _)| *n == name).map(|(_, value)| value)
    };
    (field("state")? == "online").then_some(())?;
    field("offset")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_refused_in_the_servers_words() {
        let ok = |replicas, timeout_ms| {
            Ok(Wait {
                replicas,
                timeout_ms,
            })
        };
        assert_eq!(Wait::parse(b"1", b"100", i64::MAX), ok(1, Some(100)));
        assert_eq!(Wait::parse(b"-1", b"0", i64::MAX), ok(-1, None));
        let value = Err("ERR value is not an integer or out of range");
        assert_eq!(Wait::parse(b"x", b"y", i64::MAX), value);
        assert_eq!(Wait::parse(b"99999999999999999999", b"1", i64::MAX), value);
        let timeout = Err("ERR timeout is not an integer or out of range");
        assert_eq!(Wait::parse(b"1", b"1.5", i64::MAX), timeout);
        let late = Err("ERR timeout is out of range");
        assert_eq!(Wait::parse(b"1", b"101", 100), late);
        assert_eq!(Wait::parse(b"1", b"100", 100), ok(1, Some(100)));
        assert_eq!(
            Wait::parse(b"1", b"-1", i64::MAX),
            Err("ERR timeout is negative")
        );
    }

    #[test]
    fn replicas_that_are_online_count_as_far_as_they_have_acknowledged() {
        let info = "# Replication\r\nrole:master\r\nconnected_slaves:3\r\n\
            slave0:ip=127.0.0.1,port=1,state=online,offset=120,lag=0\r\n\
            slave1:ip=127.0.0.1,port=2,state=wait_bgsave,offset=0,lag=0\r\n\
            slave2:ip=::1,port=3,state=online,offset=99,lag=1,type=replica\r\n\
            slaves_waiting_psync:7\r\n\
            master_repl_offset:121\r\n";
        let Some(Replication::Primary(said)) = Replication::parse(info.as_bytes()) else {
            panic!("it is a primary's");
        };
        assert_eq!(said.offset, 121);
        assert_eq!([0, 99, 100, 120, 121].map(|o| said.at(o)), [2, 2, 1, 1, 0]);
        let replica = info.replace("role:master", "role:slave");
        let replica = Replication::parse(replica.as_bytes());
        assert_eq!(replica, Some(Replication::Replica));
        assert_eq!(Replication::parse(b"-ERR unknown"), None);
    }
}
