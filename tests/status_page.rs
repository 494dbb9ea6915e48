//! The status page: what is in it after real traffic, that nothing that clients send becomes markup, and that a browser shows
//! it, with and without JavaScript, and refreshes it.

mod support;

use slotway::demo::mortal;
use std::path::Path;
use std::process::Stdio;
use support::{Proxy, SHOWN_WITHIN, boot_cluster, redis};

const HOSTILE: &str = "<script>document.title='taken'</script>\"'\u{202e}";

fn with_traffic(proxy: &Proxy) {
    let mut client = proxy.client();
    client.expect("CLIENT SETNAME shop<b>", b"+OK\r\n");
    let large = "secret".repeat(20_000);
    client.command(&["SET", HOSTILE, &large]);
    for _ in 0..500 {
        client.command(&["GET", "a"]);
    }
    client.command(&["EVAL", "for i = 1, 30000000 do end", "1", "spin", "secret"]);
    client.command(&["LPUSH", HOSTILE, "secret"]);
    client.command(&["RENAME", "a", "b"]);
}

fn page(proxy: &Proxy) -> String {
    let (status, body) = proxy.get("/").expect("the admin endpoint answers");
    assert_eq!(status, 200);
    body
}

/// What a browser makes of the page, once this is in it.
#[track_caller]
fn shown(proxy: &Proxy, flags: &[&str]) -> String {
    let mut command = mortal(Path::new("chromium"));
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]);
    command
        .args(flags)
        .arg(format!("http://{}/", proxy.admin_addr()));
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("chromium starts (apt-get install chromium)");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_page_shows_what_went_on_and_nothing_of_it_is_markup() {
    let cluster = boot_cluster(&redis());
    let proxy = Proxy::start(&cluster, &["--workers", "1", "--set", "observe.slow=5ms"]);
    with_traffic(&proxy);
    proxy.wait_for("the slow command on the page", SHOWN_WITHIN, || {
        let page = page(&proxy);
        let shown = page.contains("EVAL (26 bytes)");
        shown.then_some(()).ok_or(page)
    });
    let page = page(&proxy);
    for addr in cluster.addrs() {
        assert!(page.contains(&addr.to_string()), "{addr}");
    }
    for part in [
        "ready",
        "16384 of 16384 slots",
        "hash tag",
        "shop&lt;b&gt;",
        "observe.slow",
        "5ms",
        "--set",
        "&lt;script&gt;document.title=",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("secret"), "{page}");
    assert_eq!(page.matches("<script").count(), 1, "only its own: {page}");
    let config = proxy.json("/config");
    let slow = config["settings"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|s| s["option"] == "observe.slow");
    assert_eq!(slow.expect("it is there")["value"], "\"5ms\"");
}

#[test]
fn a_browser_shows_it_and_refreshes_it() {
    let cluster = boot_cluster(&redis());
    let proxy = Proxy::start(&cluster, &["--workers", "1"]);
    with_traffic(&proxy);
    // Time runs as fast as the page lets it: it fetches itself several times.
    let dom = shown(
        &proxy,
        &["--virtual-time-budget=9000", "--enable-logging=stderr"],
    );
    assert!(dom.contains("16384 of 16384 slots"), "{dom}");
    assert!(!dom.contains("<title>taken"), "{dom}");
    assert!(dom.contains("data-refreshed="), "{dom}");
    assert!(!dom.contains("class=\"stale\""), "{dom}");
}
