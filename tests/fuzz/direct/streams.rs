//! What streams of requests are likely to be broken with, and those that a mutation hardly makes.

/// Pieces of requests, right and wrong.
pub const WORDS: &[&str] = &[
    "*1\r\n",
    "*2\r\n",
    "*3\r\n",
    "*0\r\n",
    "*-1\r\n",
    "*-5\r\n",
    "*+1\r\n",
    "*01\r\n",
    "*\r\n",
    "*1\n",
    "*1 \r\n",
    "*2147483648\r\n",
    "*1048577\r\n",
    "$3\r\nGET\r\n",
    "$3\r\nSET\r\n",
    "$1\r\na\r\n",
    "$0\r\n\r\n",
    "$-1\r\n",
    "$+1\r\n",
    "$01\r\n",
    "$536870913\r\n",
    "$1\r\nab\r\n",
    "$1\r\n",
    ":1\r\n",
    "+OK\r\n",
    "*1\r\n*1\r\n$4\r\nPING\r\n",
    "*1\r\n$4\r\nPING\r\n",
    "*1\r\n$4\r\nPOST\r\n",
    "HOST: x\r\n",
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    "\"",
    "'",
    "\\",
    "\\x41",
    "\\xZZ",
    "\0",
    "PING\r\n",
    "PING",
    "GET a\r\n",
    "SET a \"b c\"\r\n",
    "SET 'a' '\\''\r\n",
    "ECHO \"\\n\\r\\t\"\r\n",
    "MGET a b c\r\n",
    "AUTH open-sesame\r\n",
    "HELLO 3\r\n",
    "MULTI\r\n",
    "EXEC\r\n",
    "QUIT\r\n",
];

/// Longer than a line of a length or an inline request may be, in bytes.
const LINE: usize = 70_000;

/// Long lines, counts at the limits, and requests in requests.
pub fn extremes() -> Vec<Vec<u8>> {
    let long = |head: &str, byte: u8| [head.as_bytes(), &vec![byte; LINE]].concat();
    let mut all = vec![
        long("*", b'1'),
        long("*1\r\n$", b'1'),
        long("", b'x'),
        long("PING ", b' '),
        long("\"", b'x'),
        long("PING\0", b'x'),
        b"PING\r\n*2\r\n$4\r\nECHOxx$1\r\na\r\nPING\r\n".to_vec(),
        b"PING\r\n*2\rx$4\r\nECHO\r\n$1\rxa\r\nPING\r\n".to_vec(),
        b"*1\r\n".repeat(1_000),
        b"*0\r\n".repeat(1_000),
        b"\r\n".repeat(1_000),
    ];
    let counts = [
        "10",
        "11",
        "1048576",
        "1048577",
        "2147483647",
        "2147483648",
        "4294967297",
        "-2147483649",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
    ];
    let lengths = [
        "16384",
        "16385",
        "536870912",
        "536870913",
        "4294967297",
        "9223372036854775808",
    ];
    all.extend(counts.map(|count| format!("PING\r\n*{count}\r\nPING\r\n").into_bytes()));
    all.extend(lengths.map(|len| format!("PING\r\n*1\r\n${len}\r\nPING\r\n").into_bytes()));
    all
}
