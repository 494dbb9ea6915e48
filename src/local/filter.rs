//! Which clients CLIENT LIST and CLIENT KILL mean: their options, checked in the servers' own words. Redis 7.0 takes
//! one option where Valkey takes any number of them, so there are two grammars.

use super::client::Switch;
use super::portrait::{Kind, Portrait};
use super::{Env, SYNTAX_ERROR, is_valkey};
use crate::resp::{Request, strict_integer};

/// Which clients are meant.
#[derive(Clone, Debug, Default)]
pub struct ClientFilter {
    terms: Vec<Term>,
    /// Whoever asks is not meant.
    skip_me: bool,
}

/// One condition.
#[derive(Clone, Debug)]
struct Term {
    /// The option's name, in capitals; given again it replaces the first.
    option: String,
    sense: Sense,
    test: Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sense {
    Is,
    IsNot,
}

#[derive(Clone, Debug)]
enum Test {
    Ids(Vec<u64>),
    Kind(Kind),
    Address(Vec<u8>),
    LocalAddress(Vec<u8>),
    Ip(Vec<u8>),
    /// There is one user, and only its name passes the check.
    User,
    Age(u64),
    Idle(u64),
    Name(Vec<u8>),
    LibName(Vec<u8>),
    LibVersion(Vec<u8>),
    Flags(Vec<u8>),
    /// All clients are in database 0, and no other number passes the check.
    Database,
    /// There is one: redirections.
    Capability(Vec<u8>),
}

/// The error's text, without the leading `-`.
type Refusal = Vec<u8>;

impl ClientFilter {
    /// The filter of a CLIENT LIST.
    pub fn of_list(request: &Request<'_>, env: &Env<'_>) -> Result<Self, Refusal> {
        if is_valkey(env) {
            return Options::of(request, 2).filter(false);
        }
        let mut filter = Self::default();
        match (request.len(), request.get(2)) {
            (2, _) => {}
            (4, Some(word)) if word.eq_ignore_ascii_case(b"type") => {
                filter.set("TYPE", Sense::Is, Test::Kind(kind(request.arg(3), env)?));
            }
            (4.., Some(word)) if word.eq_ignore_ascii_case(b"id") => {
                let ids = (3..request.len()).map(|at| strict_integer(request.arg(at)));
                let ids: Option<Vec<i64>> = ids.collect();
                let ids = ids.ok_or(b"ERR Invalid client ID".as_slice())?;
                let ids = ids.into_iter().filter_map(|id| u64::try_from(id).ok());
                filter.set("ID", Sense::Is, Test::Ids(ids.collect()));
            }
            _ => return Err(SYNTAX_ERROR.into()),
        }
        Ok(filter)
    }

    /// The filter of a CLIENT KILL with options. The old form, with nothing but an address, is
    /// [`Self::of_address`].
    pub fn of_kill(request: &Request<'_>, env: &Env<'_>) -> Result<Self, Refusal> {
        if is_valkey(env) {
            return Options::of(request, 2).filter(true);
        }
        let mut filter = Self {
            skip_me: true,
            ..Self::default()
        };
        let mut at = 2;
        while at < request.len() {
            let Some(value) = request.get(at + 1) else {
                return Err(SYNTAX_ERROR.into());
            };
            let name = request.arg(at).to_ascii_uppercase();
            match &*name {
                b"ID" => {
                    let id = strict_integer(value).filter(|id| *id > 0);
                    let id = id.ok_or(ID_TOO_SMALL)? as u64;
                    filter.set("ID", Sense::Is, Test::Ids(vec![id]));
                }
                b"TYPE" => filter.set("TYPE", Sense::Is, Test::Kind(kind(value, env)?)),
                b"ADDR" => filter.set("ADDR", Sense::Is, Test::Address(value.to_vec())),
                b"LADDR" => filter.set("LADDR", Sense::Is, Test::LocalAddress(value.to_vec())),
                b"USER" => filter.set("USER", Sense::Is, user(value)?),
                b"SKIPME" => filter.skip_me = yes(value)?,
                _ => return Err(SYNTAX_ERROR.into()),
            }
            at += 2;
        }
        Ok(filter)
    }

    /// Everyone with this address.
    pub fn of_address(address: &[u8]) -> Self {
        let mut filter = Self::default();
        filter.set("ADDR", Sense::Is, Test::Address(address.to_vec()));
        filter
    }

    /// Whether this client is meant; `asker` is the number of the one who asks.
    pub fn matches(&self, portrait: &Portrait<'_>, asker: u64) -> bool {
        if self.skip_me && portrait.client.id() == asker {
            return false;
        }
        let mut terms = self.terms.iter();
        terms.all(|term| term.test.holds(portrait) == (term.sense == Sense::Is))
    }

    fn set(&mut self, option: &str, sense: Sense, test: Test) {
        self.terms.retain(|term| term.option != option);
        self.terms.push(Term {
            option: option.to_owned(),
            sense,
            test,
        });
    }
}

impl Test {
    fn holds(&self, portrait: &Portrait<'_>) -> bool {
        let client = portrait.client;
        let is = |own: &Option<Box<str>>, asked: &[u8]| {
            own.as_deref().unwrap_or_default().as_bytes() == asked
        };
        match self {
            Self::Ids(ids) => ids.contains(&client.id()),
            Self::Kind(kind) => portrait.kind() == *kind,
            Self::Address(addr) => portrait.client.ends().0.as_bytes() == addr,
            Self::LocalAddress(addr) => portrait.client.ends().1.as_bytes() == addr,
            Self::Ip(ip) => {
                let end = portrait.client.ends().0;
                let own = end.rsplit_once(':').map_or("", |(ip, _)| ip);
                own.trim_matches(['[', ']']).as_bytes() == ip
            }
            Self::User | Self::Database => true,
            Self::Age(seconds) => portrait.age().as_secs() >= *seconds,
            Self::Idle(seconds) => portrait.activity.idle.as_secs() >= *seconds,
            Self::Name(name) => is(&client.name, name),
            Self::LibName(name) => is(&client.lib_name, name),
            Self::LibVersion(version) => is(&client.lib_version, version),
            Self::Flags(flags) => {
                let own = portrait.flags();
                flags.iter().all(|flag| own.as_bytes().contains(flag))
            }
            Self::Capability(asked) => asked.is_empty() || client.redirect == Switch::On,
        }
    }
}

/// The grammar of Valkey: any number of options, each also with `NOT-` in front.
struct Options<'a> {
    request: &'a Request<'a>,
    at: usize,
    ids: [Vec<u64>; 2],
}

impl<'a> Options<'a> {
    fn of(request: &'a Request<'a>, at: usize) -> Self {
        Self {
            request,
            at,
            ids: Default::default(),
        }
    }

    fn filter(mut self, skip_me: bool) -> Result<ClientFilter, Refusal> {
        let mut filter = ClientFilter {
            skip_me,
            ..ClientFilter::default()
        };
        while let Some(name) = self.request.get(self.at) {
            let given = String::from_utf8_lossy(name).to_ascii_uppercase();
            let Some(value) = self.request.get(self.at + 1) else {
                return Err(SYNTAX_ERROR.into());
            };
            if given == "SKIPME" {
                filter.skip_me = yes(value)?;
                self.at += 2;
                continue;
            }
            let (option, sense) = match given.strip_prefix("NOT-") {
                Some(option) => (option, Sense::IsNot),
                None => (&*given, Sense::Is),
            };
            let test = if option == "ID" {
                self.ids(sense)?
            } else {
                self.at += 2;
                test(option, &given, sense, value)?
            };
            filter.set(&given, sense, test);
        }
        Ok(filter)
    }

    /// As many numbers as there are; those of an earlier ID count too.
    fn ids(&mut self, sense: Sense) -> Result<Test, Refusal> {
        let first = self.at + 1;
        self.at = first;
        let known = &mut self.ids[sense as usize];
        while let Some(id) = self.request.get(self.at).and_then(strict_integer) {
            let id = u64::try_from(id).ok().filter(|id| *id > 0);
            known.push(id.ok_or(ID_TOO_SMALL)?);
            self.at += 1;
        }
        if self.at == first {
            return Err(SYNTAX_ERROR.into());
        }
        Ok(Test::Ids(known.clone()))
    }
}

fn test(option: &str, given: &str, sense: Sense, value: &[u8]) -> Result<Test, Refusal> {
    Ok(match option {
        "TYPE" => Test::Kind(kind_of_valkey(value)?),
        "ADDR" => Test::Address(value.to_vec()),
        "LADDR" => Test::LocalAddress(value.to_vec()),
        "IP" => Test::Ip(value.to_vec()),
        "USER" => user(value)?,
        "NAME" => Test::Name(value.to_vec()),
        "LIB-NAME" => Test::LibName(value.to_vec()),
        "LIB-VER" => Test::LibVersion(value.to_vec()),
        "MAXAGE" if sense == Sense::Is => Test::Age(positive("maxage", value)?),
        "IDLE" if sense == Sense::Is => Test::Idle(positive("idle", value)?),
        "FLAGS" => letters(value, "flags", FLAGS, sense, given).map(Test::Flags)?,
        "CAPA" => letters(value, "capa", b"r", sense, given).map(Test::Capability)?,
        "DB" => match strict_integer(value) {
            Some(0) => Test::Database,
            Some(_) => {
                return Err(format!("ERR {given} number should be between 0 and 0").into());
            }
            None => return Err(format!("ERR {given} is not an integer or out of range").into()),
        },
        _ => return Err(SYNTAX_ERROR.into()),
    })
}

fn kind(value: &[u8], env: &Env<'_>) -> Result<Kind, Refusal> {
    if is_valkey(env) || !value.eq_ignore_ascii_case(b"primary") {
        return kind_of_valkey(value);
    }
    Err(unknown_kind(value))
}

fn kind_of_valkey(value: &[u8]) -> Result<Kind, Refusal> {
    match &*value.to_ascii_lowercase() {
        b"normal" => Ok(Kind::Normal),
        b"pubsub" => Ok(Kind::Pubsub),
        b"replica" | b"slave" | b"master" | b"primary" => Ok(Kind::Other),
        _ => Err(unknown_kind(value)),
    }
}

fn unknown_kind(value: &[u8]) -> Refusal {
    [b"ERR Unknown client type '", value, b"'"].concat()
}

fn user(value: &[u8]) -> Result<Test, Refusal> {
    if value == super::access::DEFAULT_USER {
        return Ok(Test::User);
    }
    Err([b"ERR No such user '", value, b"'"].concat())
}

fn yes(value: &[u8]) -> Result<bool, Refusal> {
    match &*value.to_ascii_lowercase() {
        b"yes" => Ok(true),
        b"no" => Ok(false),
        _ => Err(SYNTAX_ERROR.into()),
    }
}

fn positive(name: &str, value: &[u8]) -> Result<u64, Refusal> {
    match strict_integer(value) {
        None => Err(format!("ERR {name} is not an integer or out of range").into()),
        Some(n) if n <= 0 => Err(format!("ERR {name} should be greater than 0").into()),
        Some(n) => Ok(n as u64),
    }
}

/// A word made of known letters.
fn letters(
    value: &[u8],
    what: &str,
    known: &[u8],
    sense: Sense,
    given: &str,
) -> Result<Vec<u8>, Refusal> {
    if value.iter().all(|letter| known.contains(letter)) {
        return Ok(value.to_vec());
    }
    let place = match sense {
        Sense::Is => "provided",
        Sense::IsNot => given,
    };
    let text = format!("ERR Unknown {what} found in the {place} filter: ");
    Err([text.as_bytes(), value].concat())
}

/// The letters that Valkey 9.1 takes for FLAGS.
const FLAGS: &[u8] = b"bcdeirtuxABEIMNOPRSTU";
const ID_TOO_SMALL: &[u8] = b"ERR client-id should be greater than 0";
