//! What holds for every answer, whatever is asked: headers, and a page that says what went wrong.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::house::House;

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_headers_and_every_error_is_a_page() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    let large = format!("csrf={}", "x".repeat(1_100_000));
    let form = ("content-type", "application/x-www-form-urlencoded");
    let not_found = "There is nothing here";
    let asked: [(&str, &str, &str, u16, &str); 13] = [
        ("GET", "/", "", 303, ""),
        ("GET", "/sign-in", "", 303, ""),
        ("GET", "/account", "", 200, "Account"),
        ("GET", "/nothing", "", 404, not_found),
        ("GET", "/assets/../Cargo.toml", "", 404, not_found),
        ("GET", "/assets/nothing.css", "", 404, not_found),
        ("GET", "/sign-out", "", 405, "does not work like that"),
        ("DELETE", "/account", "", 405, "does not work like that"),
        ("POST", "/sign-in", &large, 413, "too large"),
        (
            "POST",
            "/sign-in",
            "handle=%ff%fe&csrf=x",
            403,
            "not from here",
        ),
        ("POST", "/account", "csrf=x", 403, "not from here"),
        ("GET", "/assets/style.css", "", 200, ""),
        ("GET", "/assets/page.js", "", 200, ""),
    ];
    for (method, path, body, status, says) in asked {
        let page = ann.send(method, path, &[form], body).await;
        assert_eq!(page.status, status, "{method} {path} {}", page.text);
        assert!(page.text.contains(says), "{method} {path} {}", page.text);
        let has =
            |name: &str, value: &str| assert_eq!(page.header(name), Some(value), "{method} {path}");
        has("content-security-policy", POLICY);
        has("x-content-type-options", "nosniff");
        has("referrer-policy", "same-origin");
        has("x-frame-options", "DENY");
        assert!(page.header("x-request-id").is_some_and(|id| id.len() == 32));
        if path.starts_with("/assets/") && status == 200 {
            has("cache-control", "no-cache");
        } else {
            has("cache-control", "no-store");
        }
        if status >= 400 {
            has("content-type", "text/html; charset=utf-8");
            assert!(page.text.contains("<h1>") && page.text.contains("</html>"));
        }
        assert!(page.header("server").is_none());
        for foreign in ["http://", "https://", "style=", "onclick", "<script>"] {
            let text = page.text.replace("http://www.w3.org/2000/svg", "");
            assert!(!text.contains(foreign), "{foreign} in {path}");
        }
    }
    let mut browser = house.browser();
    let bare = browser.get("/audit/nothing?x=1").await;
    assert_eq!(bare.status, 404);
    let csrf = ann.get("/account").await.csrf();
    let page = ann.post("/account", &[("csrf", &csrf)]).await;
    assert_eq!(page.status, 400);
    assert!(page.text.contains("cannot be understood"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_kept_as_long_as_it_is_the_same() {
    let house = House::start().await;
    let mut browser = house.browser();
    let page = browser.get("/sign-in").await;
    for file in ["/assets/style.css", "/assets/page.js", "/assets/icon.svg"] {
        let (_, rest) = page.text.split_once(file).unwrap();
        let named = format!("{file}{}", rest.split('"').next().unwrap());
        let got = browser.get(&named).await;
        assert_eq!(
            got.header("cache-control"),
            Some("public, max-age=31536000, immutable"),
            "{named}"
        );
        let other = browser.get(&format!("{file}?v=0")).await;
        assert_eq!(
            (other.header("cache-control"), &other.text),
            (Some("no-cache"), &got.text)
        );
        let tag = got.header("etag").unwrap().to_owned();
        let known = browser
            .send("GET", file, &[("if-none-match", &tag)], "")
            .await;
        assert_eq!((known.status, known.text.as_str()), (304, ""));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_keeps_its_name_if_it_is_one() {
    let house = House::start().await;
    let mut browser = house.browser();
    for (sent, kept) in [
        ("abc-1.2:3_x", true),
        ("a b", false),
        ("<b>", false),
        (&"x".repeat(129), false),
    ] {
        let page = browser
            .send("GET", "/nothing", &[("x-request-id", sent)], "")
            .await;
        let id = page.header("x-request-id").unwrap();
        assert_eq!(id == sent, kept, "{sent}");
        assert!(page.text.contains(&format!("<code>{id}</code>")));
    }
}

/// It waits as long as the listener does.
#[tokio::test(flavor = "multi_thread")]
async fn who_sends_half_a_head_is_not_waited_for() {
    let house = House::start().await;
    let mut whole = house.browser();
    let mut streams = Vec::new();
    for half in ["", "GET /sign-in HTTP/1.1\r\nhost: x\r\nx-a: "] {
        let mut stream = TcpStream::connect(house.address()).await.unwrap();
        stream.write_all(half.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    assert_eq!(whole.get("/sign-in").await.status, 200);
    for mut stream in streams {
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(30), end).await;
        assert!(ended.is_ok(), "still open");
        assert!(!String::from_utf8_lossy(&rest).contains(" 200 "));
    }
    let long = format!("/sign-in?x={}", "a".repeat(100_000));
    let page = whole.get(&long).await;
    assert!(matches!(page.status, 414 | 431), "{}", page.status);
}
