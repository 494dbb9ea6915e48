//! The table of what can be found: what it is, what becomes of it behind slotway, what a client meets that talks to the
//! cluster itself, and what to do. The only place where that is written down; reports and the README are made of it.

/// How much it matters behind slotway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The command gets an error.
    Fails,
    /// It is served, but not quite as by one server.
    Changes,
    /// It is served as ever, and takes more than others.
    Costs,
}

impl Severity {
    /// In reports.
    pub fn label(self) -> &'static str {
        match self {
            Self::Fails => "fails",
            Self::Changes => "changes",
            Self::Costs => "costs more",
        }
    }
}

/// What was found in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "said in the table of kinds")]
pub enum Kind {
    CrossSlot,
    CrossSlotScript,
    CrossSlotTransaction,
    CrossSlotWatch,
    CrossSlotBlocking,
    NotInTransaction,
    Select,
    OtherDatabase,
    SortPattern,
    Refused,
    Unknown,
    KeylessRefused,
    KeylessScript,
    TransactionSplit,
    BlockingSweep,
    SplitWrite,
    SplitRead,
    AllNodes,
    BigValue,
}

/// What is known of a kind.
#[derive(Debug)]
pub struct Row {
    /// The kind.
    pub kind: Kind,
    /// In JSON.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What it is.
    pub what: &'static str,
    /// What becomes of it behind slotway.
    pub behind: &'static str,
    /// What a client of the cluster itself meets.
    pub cluster_client: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

impl Kind {
    /// Its row in the table.
    pub fn row(self) -> &'static Row {
        KINDS
            .iter()
            .find(|row| row.kind == self)
            .unwrap_or(&KINDS[0])
    }
}

const fn row(
    kind: Kind,
    id: &'static str,
    severity: Severity,
    what: &'static str,
    [behind, cluster_client, remedy]: [&'static str; 3],
) -> Row {
    Row {
        kind,
        id,
        severity,
        what,
        behind,
        cluster_client,
        remedy,
    }
}

use Severity::{Changes, Costs, Fails};

const SAME: &str = "the same";
const CROSSSLOT: &str = "CROSSSLOT";

/// Everything that can be found, by how much it matters.
#[rustfmt::skip]
pub const KINDS: &[Row] = &[
    row(Kind::CrossSlot, "cross_slot", Fails, "keys of one command in several slots", [
        "CROSSSLOT, with the two keys", CROSSSLOT,
        "give keys that are used together one hash tag, as in {user:7}:cart, or ask for them one by one (MSET, DEL and UNLINK \
         are split unless policy.split_writes = false); queues and job libraries have an option for it: a prefix such as {bull}, \
         a Celery global_keyprefix with a tag, a Sidekiq pool per queue"]),
    row(Kind::CrossSlotScript, "cross_slot_script", Fails, "keys of one script in several slots", [
        "CROSSSLOT, with the two keys", CROSSSLOT,
        "give the keys of a script one hash tag; libraries with scripts have a prefix for it, such as {bull} or {lock}"]),
    row(Kind::CrossSlotTransaction, "cross_slot_transaction", Fails, "MULTI over several slots", [
        "CROSSSLOT when it is queued, and EXEC gets EXECABORT", "CROSSSLOT, or refused by the client library",
        "give the keys of a transaction one hash tag; if it is only there to save round trips, use a pipeline without MULTI \
         (redis-py: pipeline(transaction=False)), or set policy.cross_slot_transactions = \"split\""]),
    row(Kind::CrossSlotWatch, "cross_slot_watch", Fails, "WATCH, and what depends on it, over several slots", [
        "CROSSSLOT, with the two keys", "CROSSSLOT, or refused by the client library",
        "give watched keys and those of the transaction one hash tag"]),
    row(Kind::CrossSlotBlocking, "cross_slot_blocking", Fails, "a blocking move between two slots", [
        "CROSSSLOT, with the two keys", CROSSSLOT,
        "give both lists one hash tag"]),
    row(Kind::NotInTransaction, "not_in_transaction", Fails, "inside MULTI: a command that concerns all shards, or the connection", [
        "refused when it is queued, and EXEC gets EXECABORT", "executed by one node, for its own keys only",
        "send it before MULTI or after EXEC"]),
    row(Kind::Select, "select", Fails, "a database other than 0", [
        "ERR DB index is out of range", "ERR SELECT is not allowed in cluster mode",
        "use database 0 with a prefix for each purpose (the /1 at the end of a redis:// address is a SELECT), or a cluster for each"]),
    row(Kind::OtherDatabase, "other_database", Fails, "MOVE, SWAPDB or COPY into another database", [
        "refused: there is only database 0", "refused",
        "rename keys under a prefix instead"]),
    row(Kind::SortPattern, "sort_pattern", Fails, "SORT with BY and a pattern, or with GET", [
        "the node's error: denied in Cluster mode", SAME,
        "read the list, then the keys with MGET, and sort in the application; or keep a sorted set"]),
    row(Kind::Refused, "refused", Fails, "a command that slotway does not serve", [
        "an error that says why", "depends on the command",
        "see the reason; where it says so, policy.allow has it served"]),
    row(Kind::Unknown, "unknown_command", Fails, "a command that is not known", [
        "ERR unknown command, as by a server that lacks it", SAME,
        "if the server of today has it (a module, a newer version), the nodes of the cluster need it, too"]),
    row(Kind::KeylessRefused, "keyless_script_refused", Fails, "a script or function without keys", [
        "refused by policy.keyless_scripts = \"error\"", "runs on one node, and sees only its keys",
        "name the keys that the script uses (KEYS instead of ARGV or names built in Lua)"]),
    row(Kind::KeylessScript, "keyless_script", Changes, "a script or function without keys", [
        "runs on one primary; a key of another one is an error", SAME,
        "name the keys that the script uses (KEYS instead of ARGV or names built in Lua); harmless if it touches none"]),
    row(Kind::TransactionSplit, "transaction_split", Changes, "MULTI over several slots, split", [
        "one transaction for each slot: each atomic, the whole not", CROSSSLOT,
        "give its keys one hash tag if all or nothing is to happen"]),
    row(Kind::BlockingSweep, "blocking_over_slots", Changes, "waiting for keys in several slots", [
        "served by asking the nodes in turn: the first key that has something, not always the one that had it first", CROSSSLOT,
        "one key for each consumer, or one hash tag for its queues"]),
    row(Kind::SplitWrite, "split_write", Changes, "MSET, DEL, UNLINK with keys in several slots", [
        "one command for each slot: each atomic, the whole not", "CROSSSLOT, or split by the client library",
        "nothing, unless it must be atomic: then one hash tag (policy.split_writes = false refuses it)"]),
    row(Kind::AllNodes, "all_nodes", Changes, "a command for all keys or the whole server (KEYS, SCAN, DBSIZE, FLUSHALL, INFO, \
        SCRIPT LOAD)", [
        "asked of every node, and the answers are merged: not of one moment", "one node's answer, for its own keys only",
        "nothing, unless one moment matters; SCAN instead of KEYS spares the nodes"]),
    row(Kind::SplitRead, "split_read", Costs, "MGET, EXISTS, TOUCH with keys in several slots", [
        "one command for each slot at once, replies put together: not of one moment", "CROSSSLOT, or split by the client library",
        "nothing; one hash tag saves requests"]),
    row(Kind::BigValue, "big_value", Costs, "an argument of observe.big_value or more (in front of one server: a reply, too)", [
        "sent over connections for large values, so that others do not wait behind it", "all of that shard wait behind it",
        "smaller values, or compress them: one shard holds and sends it, however many there are"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_row_in_the_order_of_its_weight() {
        assert!(KINDS.is_sorted_by_key(|row| row.severity));
        for row in KINDS {
            assert_eq!(row.kind.row().id, row.id);
            assert_eq!(KINDS.iter().filter(|r| r.id == row.id).count(), 1);
        }
        assert_eq!(KINDS.len(), Kind::BigValue as usize + 1);
    }
}
