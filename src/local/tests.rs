//! What redis 7.0.15 and valkey 9.1.2 answered to the same requests.

use super::*;
use crate::resp::{Proto, parse_request};
use crate::topology::Module;

struct Proxy {
    server: ServerInfo,
    password: Option<Secret>,
    client: Client,
}

impl Proxy {
    fn new(name: &str, version: &str, password: Option<&str>) -> Self {
        let address = Address::Tcp {
            peer: "10.0.0.9:5555".parse().unwrap(),
            local: "10.0.0.1:6379".parse().unwrap(),
        };
        Self {
            server: ServerInfo {
                name: name.into(),
                version: version.into(),
                ..ServerInfo::default()
            },
            password: password.map(|password| Secret::new(password.as_bytes())),
            client: Client::new(7, address, Duration::from_secs(90), password.is_some()),
        }
    }

    fn open() -> Self {
        Self::new("redis", "7.0.15", None)
    }

    fn closed() -> Self {
        Self::new("valkey", "9.1.2", Some("sekret"))
    }

    /// The reply to these words, with line ends shown, and what happens then.
    fn run(&mut self, command: Local, words: &[&str]) -> (String, Effect) {
        let mut bytes = Vec::new();
        encode::command(&mut bytes, words);
        let mut spans = Vec::new();
        let request = parse_request(&bytes, &mut spans).unwrap();
        let env = Env {
            server: &self.server,
            password: self.password.as_ref(),
            now: Duration::from_micros(100_000_042),
        };
        let mut out = Vec::new();
        let effect = answer(command, &request, &mut self.client, &env, &mut out);
        (String::from_utf8(out).unwrap().replace("\r\n", "|"), effect)
    }

    fn says(&mut self, command: Local, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').collect();
        self.run(command, &words).0
    }
}

const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.|";

#[test]
fn hello_describes_one_standalone_server() {
    let mut proxy = Proxy::open();
    let resp2 = "*14|$6|server|$5|redis|$7|version|$6|7.0.15|$5|proto|:2|$2|id|:7|$4|mode|$10|standalone|\
                 $4|role|$6|master|$7|modules|*0|";
    assert_eq!(proxy.says(Local::Hello, "HELLO"), resp2);
    let resp3 = resp2.replace("*14|", "%7|").replace("|:2|", "|:3|");
    assert_eq!(proxy.says(Local::Hello, "HELLO 3 setname bob"), resp3);
    assert_eq!(proxy.client.proto(), Proto::Resp3);
    assert_eq!(
        proxy.says(Local::ClientGetname, "CLIENT GETNAME"),
        "$3|bob|"
    );
    assert_eq!(proxy.says(Local::Hello, "HELLO"), resp3);
    assert_eq!(proxy.says(Local::Hello, "HELLO 2 AUTH default any"), resp2);

    let module = |path: Option<&str>, args: Option<&[&str]>| Module {
        name: "lua".into(),
        version: 1,
        path: path.map(str::to_owned),
        args: args.map(|args| args.iter().copied().map(str::to_owned).collect()),
    };
    // As the nodes say it: older ones say less.
    proxy.server.modules.push(module(None, None));
    let listed = "*1|*4|$4|name|$3|lua|$3|ver|:1|";
    assert!(proxy.says(Local::Hello, "HELLO 2").ends_with(listed));
    proxy.server.modules = vec![module(Some("/m.so"), Some(&["A", "5"]))];
    let listed = "*1|*8|$4|name|$3|lua|$3|ver|:1|$4|path|$5|/m.so|$4|args|*2|$1|A|$1|5|";
    assert!(proxy.says(Local::Hello, "HELLO 2").ends_with(listed));
    let listed = listed.replace("*8|", "%4|");
    assert!(proxy.says(Local::Hello, "HELLO 3").ends_with(&listed));
}

#[test]
fn a_server_not_yet_known_is_described_all_the_same() {
    let mut proxy = Proxy::new("", "", None);
    assert!(
        proxy
            .says(Local::Hello, "HELLO 3")
            .contains("|$5|redis|$7|version|$5|7.0.0|")
    );
}

#[test]
fn a_wrong_hello_changes_nothing() {
    let mut proxy = Proxy::open();
    let names = "-ERR Client names cannot contain spaces, newlines or special characters.|";
    let integer = "-ERR Protocol version is not an integer or out of range|";
    for (line, expected) in [
        ("HELLO 1", "-NOPROTO unsupported protocol version|"),
        ("HELLO 4 FOO", "-NOPROTO unsupported protocol version|"),
        ("HELLO abc", integer),
        ("HELLO 03", integer),
        ("HELLO 99999999999999999999999", integer),
        ("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'|"),
        (
            "HELLO 3 AUTH default",
            "-ERR Syntax error in HELLO option 'AUTH'|",
        ),
        (
            "HELLO 3 SETNAME",
            "-ERR Syntax error in HELLO option 'SETNAME'|",
        ),
        ("HELLO 3 AUTH other any SETNAME x", WRONGPASS),
        ("HELLO 3 SETNAME a\tb", names),
    ] {
        assert_eq!(proxy.says(Local::Hello, line), expected, "{line}");
    }
    assert_eq!(
        proxy.run(Local::Hello, &["HELLO", "3", "f\r\noo"]).0,
        "-ERR Syntax error in HELLO option 'f  oo'|"
    );
    assert_eq!(proxy.client.proto(), Proto::Resp2);
    assert_eq!(proxy.says(Local::ClientGetname, "CLIENT GETNAME"), "$-1|");
}

#[test]
fn without_the_password_nobody_comes_in() {
    let mut proxy = Proxy::closed();
    assert_eq!(proxy.client.access(), Access::Asked);
    let first = proxy.says(Local::Hello, "HELLO 3");
    assert_eq!(
        first,
        "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
         <pass> option can be used to authenticate the client and select the RESP protocol version at the same time|"
    );
    for line in ["HELLO 3 AUTH default bad", "HELLO 3 AUTH other sekret"] {
        assert_eq!(proxy.says(Local::Hello, line), WRONGPASS);
    }
    for line in [
        "AUTH bad",
        "AUTH default bad",
        "AUTH other sekret",
        "AUTH default sekre",
        "AUTH sekrett",
    ] {
        assert_eq!(proxy.says(Local::Auth, line), WRONGPASS);
    }
    assert_eq!(proxy.says(Local::Auth, "AUTH a b c"), "-ERR syntax error|");
    assert_eq!(
        (proxy.client.access(), proxy.client.proto()),
        (Access::Asked, Proto::Resp2)
    );
    let open: Vec<Local> = [
        Local::Auth,
        Local::Hello,
        Local::Quit,
        Local::Reset,
        Local::Ping,
        Local::Echo,
    ]
    .into_iter()
    .filter(|command| before_auth(*command))
    .collect();
    assert_eq!(open, [Local::Auth, Local::Hello, Local::Quit, Local::Reset]);
}

#[test]
fn with_the_password_access_lasts_until_reset() {
    for (command, line) in [
        (Local::Auth, "AUTH sekret"),
        (Local::Auth, "AUTH default sekret"),
        (Local::Hello, "HELLO 3 AUTH default sekret SETNAME x"),
    ] {
        let mut proxy = Proxy::closed();
        assert!(!proxy.says(command, line).starts_with('-'));
        assert_eq!(proxy.client.access(), Access::Granted);
        assert_eq!(proxy.says(Local::Auth, "AUTH bad"), WRONGPASS);
        assert_eq!(proxy.client.access(), Access::Granted);
        assert_eq!(
            proxy.run(Local::Reset, &["RESET"]),
            ("+RESET|".into(), Effect::Reply)
        );
        assert_eq!(
            (proxy.client.access(), proxy.client.proto()),
            (Access::Asked, Proto::Resp2)
        );
    }
}

#[test]
fn a_password_where_none_is_needed_is_a_mistake_unless_a_user_is_named() {
    let mut proxy = Proxy::open();
    assert_eq!(
        proxy.says(Local::Auth, "AUTH x"),
        "-ERR AUTH <password> called without any password configured for the default user. \
         Are you sure your configuration is correct?|"
    );
    assert_eq!(proxy.says(Local::Auth, "AUTH default x"), "+OK|");
    assert_eq!(proxy.says(Local::Auth, "AUTH other x"), WRONGPASS);
}

#[test]
fn only_database_0_exists() {
    let mut proxy = Proxy::open();
    let range = "-ERR value is out of range, value must between -2147483648 and 2147483647|";
    let integer = "-ERR value is not an integer or out of range|";
    for (index, expected) in [
        ("0", "+OK|"),
        ("1", "-ERR DB index is out of range|"),
        ("-1", "-ERR DB index is out of range|"),
        ("2147483648", range),
        ("00", integer),
        ("abc", integer),
        ("99999999999999999999", integer),
    ] {
        assert_eq!(
            proxy.says(Local::Select, &format!("SELECT {index}")),
            expected
        );
    }
}

#[test]
fn what_a_client_says_of_itself_is_kept_and_shown() {
    let mut proxy = Proxy::open();
    assert_eq!(
        proxy.says(Local::ClientSetname, "CLIENT SETNAME web-1"),
        "+OK|"
    );
    assert_eq!(
        proxy.says(Local::ClientSetinfo, "CLIENT SETINFO lib-NAME redis-py"),
        "+OK|"
    );
    assert_eq!(
        proxy.says(Local::ClientSetinfo, "CLIENT SETINFO lib-ver 8.1"),
        "+OK|"
    );
    assert_eq!(
        proxy.says(Local::ClientNoEvict, "CLIENT NO-EVICT on"),
        "+OK|"
    );
    assert_eq!(
        proxy.says(Local::ClientNoTouch, "CLIENT NO-TOUCH ON"),
        "+OK|"
    );
    let info = proxy.says(Local::ClientInfo, "CLIENT INFO");
    assert!(info.contains("id=7 addr=10.0.0.9:5555 laddr=10.0.0.1:6379 fd=0 name=web-1 age=10 idle=0 flags=eT db=0 "), "{info}");
    assert!(
        info.ends_with(" resp=2 lib-name=redis-py lib-ver=8.1\n|"),
        "{info}"
    );
    assert_eq!(proxy.says(Local::ClientId, "CLIENT ID"), ":7|");

    assert_eq!(
        proxy
            .run(Local::ClientSetname, &["CLIENT", "SETNAME", ""])
            .0,
        "+OK|"
    );
    assert_eq!(proxy.says(Local::ClientGetname, "CLIENT GETNAME"), "$-1|");
    let special = " cannot contain spaces, newlines or special characters.|";
    assert_eq!(
        proxy
            .run(Local::ClientSetname, &["CLIENT", "SETNAME", "a b"])
            .0,
        format!("-ERR Client names{special}")
    );
    assert_eq!(
        proxy
            .run(
                Local::ClientSetinfo,
                &["CLIENT", "SETINFO", "LiB-VeR", "a\n"]
            )
            .0,
        format!("-ERR LiB-VeR{special}")
    );
    assert_eq!(
        proxy.says(Local::ClientSetinfo, "CLIENT SETINFO foo bar"),
        "-ERR Unrecognized option 'foo'|"
    );
    assert_eq!(
        proxy.says(Local::ClientNoEvict, "CLIENT NO-EVICT foo"),
        "-ERR syntax error|"
    );

    proxy.says(Local::ClientSetname, "CLIENT SETNAME web-2");
    proxy.says(Local::Reset, "RESET");
    let info = proxy.says(Local::ClientInfo, "CLIENT INFO");
    assert!(
        info.contains(" name= ")
            && info.contains(" flags=N ")
            && info.contains("lib-name=redis-py"),
        "{info}"
    );
    proxy.says(Local::Hello, "HELLO 3");
    assert_eq!(proxy.says(Local::ClientGetname, "CLIENT GETNAME"), "_|");
    assert!(
        proxy
            .says(Local::ClientInfo, "CLIENT INFO")
            .starts_with('=')
    );
}

#[test]
fn replies_can_be_turned_off_and_on() {
    let mut proxy = Proxy::open();
    let mut reply = |word: &str| {
        let before = proxy.client.begin_command();
        let (text, effect) = proxy.run(Local::ClientReply, &["CLIENT", "REPLY", word]);
        (before, text, effect)
    };
    let ok = || "+OK|".to_owned();
    assert_eq!(reply("on"), (Replies::On, ok(), Effect::ReplyAlways));
    assert_eq!(reply("SKIP"), (Replies::On, String::new(), Effect::Silent));
    assert_eq!(reply("On"), (Replies::SkipNext, ok(), Effect::ReplyAlways));
    assert_eq!(reply("OFF"), (Replies::On, String::new(), Effect::Silent));
    assert_eq!(reply("skip"), (Replies::Off, String::new(), Effect::Silent));
    assert_eq!(
        reply("foo"),
        (Replies::Off, "-ERR syntax error|".into(), Effect::Reply)
    );
    assert_eq!(reply("on"), (Replies::Off, ok(), Effect::ReplyAlways));
    assert_eq!(reply("skip").2, Effect::Silent);
    assert_eq!(proxy.client.begin_command(), Replies::SkipNext);
    assert_eq!(proxy.client.begin_command(), Replies::On);
    assert_eq!(proxy.says(Local::ClientReply, "CLIENT REPLY OFF"), "");
    let reset = |proxy: &mut Proxy| {
        let before = proxy.client.begin_command();
        (before, proxy.run(Local::Reset, &["RESET"]).1)
    };
    assert_eq!(reset(&mut proxy), (Replies::Off, Effect::ReplyAlways));
    assert_eq!(proxy.client.begin_command(), Replies::On);
    proxy.says(Local::ClientReply, "CLIENT REPLY SKIP");
    let skipped = (Replies::SkipNext, Effect::Reply);
    assert_eq!(reset(&mut proxy), skipped, "not answered");
}

#[test]
fn the_rest_is_that_of_a_primary_on_its_own() {
    let mut proxy = Proxy::open();
    assert_eq!(proxy.says(Local::Ping, "PING"), "+PONG|");
    assert_eq!(proxy.says(Local::Ping, "PING a"), "$1|a|");
    assert_eq!(
        proxy.says(Local::Ping, "PING a b"),
        "-ERR wrong number of arguments for 'ping' command|"
    );
    assert_eq!(proxy.says(Local::Echo, "ECHO a"), "$1|a|");
    assert_eq!(proxy.says(Local::Time, "TIME"), "*2|$3|100|$2|42|");
    assert_eq!(proxy.says(Local::Role, "ROLE"), "*3|$6|master|:0|*0|");
    assert_eq!(
        proxy.run(Local::Quit, &["QUIT", "now"]),
        ("+OK|".into(), Effect::Close)
    );
    let disabled = "-ERR This instance has cluster support disabled|";
    assert_eq!(proxy.says(Local::ClusterAny, "CLUSTER NODES"), disabled);
    for command in [Local::Readonly, Local::Readwrite, Local::Asking] {
        assert_eq!(proxy.says(command, "X"), disabled);
    }
    let mut valkey = Proxy::new("valkey", "9.1.2", None);
    assert_eq!(valkey.says(Local::Readonly, "READONLY"), "+OK|");
    assert_eq!(valkey.says(Local::Asking, "ASKING"), disabled);
}

#[test]
fn ten_thousand_idle_clients_are_small() {
    assert!(size_of::<Client>() <= 160, "{} bytes", size_of::<Client>());
}
