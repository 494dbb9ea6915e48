//! What slotway can do with a command: the vocabulary of the policy table in `policy_rows`.
//!
//! Owns no decision about a particular command. `route` and `local` act on these values.

/// What slotway does with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// To the primary that owns the slot of its keys; keys in several slots are refused with CROSSSLOT. Without any
    /// key in this request: to any node, whose own error is the answer.
    Route,
    /// As [`Policy::Route`] while all keys share a slot; else one part per slot, and the replies are merged.
    Split(Split),
    /// The whole request to several nodes, and their replies merged.
    AllShards(Gather),
    /// Keyless and without effect: any primary, whole. May be sent again to another one.
    AnyNode,
    /// Keyless but with an effect (PUBLISH, and what `policy.allow` adds): one primary, the same for all clients while
    /// it is there. Not to be sent again once its bytes may have been read.
    Home,
    /// A script or function that is called without keys: one primary, always the same for a client, so that its order
    /// is kept; or refused (`policy.keyless_scripts`). Not to be sent again either.
    KeylessScript,
    /// Cursor over all shards.
    Scan,
    /// Answered by slotway itself; nothing is sent.
    Local(Local),
    /// Begins, continues or ends something that lasts longer than one command.
    Mode(Mode),
    /// Refused. The text says why, and what to do instead.
    Refused(&'static str),
}

/// What lasts longer than one command; see the module `modes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// MULTI
    Multi,
    /// EXEC
    Exec,
    /// DISCARD
    Discard,
    /// `WATCH key …`
    Watch,
    /// UNWATCH
    Unwatch,
    /// A command that may wait for an element: BLPOP and its like, `XREAD BLOCK`.
    Blocking,
    /// SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE and their opposites.
    Subscription,
    /// `WAIT replicas timeout`
    Wait,
    /// `WAITAOF local replicas timeout`
    Waitaof,
    /// MONITOR
    Monitor,
}

/// How a command over several slots is cut and its replies merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// MGET: one key per part element, values back in argument order.
    Mget,
    /// MSET: key and value pairs, OK when all are.
    Mset,
    /// DEL UNLINK EXISTS TOUCH: integers are added.
    Count,
    /// JSON.MGET: as MGET, with the path as last argument of each part.
    JsonMget,
    /// MSETEX without condition: number of keys, pairs, then options repeated in each part.
    Msetex,
}

/// Where a command for all shards goes and how its replies become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gather {
    /// Which nodes get it.
    pub to: Targets,
    /// How the replies are merged. Unless it says otherwise, an error of any node is the error of the command.
    pub merge: Merge,
    /// Which connections it takes.
    pub over: Over,
}

/// Which connections a gathered command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The client's lanes, in its order.
    Lanes,
    /// A connection of its own to each node: for what a node does while a script keeps it busy. On a lane it would
    /// wait behind that script.
    OwnConnections,
}

/// Which nodes a gathered command is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targets {
    /// Every primary that owns slots.
    Primaries,
    /// Every primary and every replica.
    AllNodes,
    /// Every primary, and the replicas that can be reached.
    ReachableNodes,
    /// Any one primary: the reply is still changed on its way (CONFIG GET).
    One,
}

/// How the replies of several nodes become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Integers are added.
    Sum,
    /// All must succeed; the first node's reply is the answer (`OK`, a script's SHA, `Background saving started`).
    AllOk,
    /// Arrays are put one behind the other.
    Concat,
    /// Arrays of strings: each string once.
    Union,
    /// Integers: 1 if all are not 0.
    And,
    /// Integers: 1 if any is not 0.
    Or,
    /// The smallest integer.
    Min,
    /// The largest integer.
    Max,
    /// The first reply that is not an error; if all are errors, the first of them (SCRIPT SHOW), SCRIPT KILL: the most
    /// telling of them.
    First,
    /// RANDOMKEY: from a shard chosen by its size, nil only if all are empty.
    RandomKey,
    /// Arrays of integers of the same length: per element, 1 if all are 1, or if slotway itself can give every node
    /// that script.
    ScriptExists,
    /// FUNCTION STATS: the script of the node that runs one, and the engines of the first node.
    FunctionStats,
    /// PUBSUB NUMSUB: `[name, count, …]` in the same order everywhere; counts are added.
    NumSub,
    /// SLOWLOG GET, COMMANDLOG GET: entries ordered by time, newest first, cut to the number asked for.
    Slowlog,
    /// INFO as one standalone server would give it.
    Info,
    /// CONFIG GET with what must look standalone overridden.
    ConfigGet,
}

/// What slotway answers itself, as a standalone server would.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// `PING [message]`
    Ping,
    /// ECHO message
    Echo,
    /// QUIT
    Quit,
    /// RESET
    Reset,
    /// `HELLO [protover [AUTH user password] [SETNAME name]]`
    Hello,
    /// `AUTH [user] password`
    Auth,
    /// SELECT index: only 0 exists.
    Select,
    /// CLIENT SETNAME name
    ClientSetname,
    /// CLIENT GETNAME
    ClientGetname,
    /// CLIENT SETINFO attribute value
    ClientSetinfo,
    /// CLIENT ID
    ClientId,
    /// CLIENT INFO
    ClientInfo,
    /// `CLIENT LIST [option value …]`: of all workers.
    ClientList,
    /// `CLIENT KILL address`, `CLIENT KILL option value …`: of all workers.
    ClientKill,
    /// `CLIENT UNBLOCK id [TIMEOUT|ERROR]`
    ClientUnblock,
    /// CLIENT UNPAUSE: nobody is ever paused.
    ClientUnpause,
    /// `CLIENT CAPA capability …`: what the client could do, if it were asked to.
    ClientCapa,
    /// CLIENT NO-EVICT ON|OFF
    ClientNoEvict,
    /// CLIENT NO-TOUCH ON|OFF
    ClientNoTouch,
    /// CLIENT REPLY ON|OFF|SKIP
    ClientReply,
    /// ACL WHOAMI: there is one user.
    AclWhoami,
    /// TIME
    Time,
    /// ROLE
    Role,
    /// Any CLUSTER subcommand and CLUSTERSCAN: `ERR This instance has cluster support disabled`.
    ClusterAny,
    /// READONLY: the same error.
    Readonly,
    /// READWRITE: the same error.
    Readwrite,
    /// ASKING: the same error.
    Asking,
}
