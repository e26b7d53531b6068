//! Which tokens open the door, for stock clients, and that none of them is ever written down.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::tokens::{Made, SECRET, Wanted, good, guarded, in_seconds, with_secret};
use crate::support::{Gateway, RedisServer, Viewer, node};

/// What became of each case: nothing if it connected, or what it was told.
async fn try_all(gateway: &Gateway, cases: Value) -> BTreeMap<String, Option<String>> {
    let run = node::script("auth.mjs").arg(gateway.url()).arg(cases).run_ok().await;
    let outcome = |fact: Value| {
        assert_ne!(fact["again"], true, "a refusal is final for a stock client: {fact}");
        (fact["label"].as_str().unwrap().to_owned(), fact["refused"].as_str().map(str::to_owned))
    };
    run.facts().into_iter().map(outcome).collect()
}

fn as_auth(made: &Made) -> Value {
    made.labels()
        .into_iter()
        .map(|label| json!({"label": label, "auth": {"token": made.token(label)}}))
        .collect()
}

/// Nothing that the process wrote, or tells of itself, holds a token or a part of one.
async fn assert_never_written(gateway: &Gateway, made: &Made) {
    let mut written: Vec<String> = gateway.log().iter().map(Value::to_string).collect();
    for path in ["/metrics", "/readyz", "/debug/connections", "/debug/memory"] {
        written.push(gateway.admin_get(path).await.1);
    }
    let written = written.concat();
    for label in made.labels() {
        for part in made.token(label).split('.').skip(1).filter(|part| part.len() > 10) {
            assert!(!written.contains(part), "{label} was written down");
        }
    }
    assert!(!written.contains(SECRET));
}

/// Key and algorithm of each that is accepted.
const ALGORITHMS: [(&str, &str); 9] = [
    ("rsa", "RS256"),
    ("rsa", "RS384"),
    ("rsa", "RS512"),
    ("rsa", "PS256"),
    ("rsa", "PS384"),
    ("rsa", "PS512"),
    ("p256", "ES256"),
    ("p384", "ES384"),
    ("ed", "EdDSA"),
];

/// Good claims for the gateway of the test, but for one.
fn claims_with(key: &str, value: Value) -> Value {
    let mut claims = good(json!(["a"]));
    claims["iss"] = json!("https://issuer");
    claims["aud"] = json!(["other", "maps"]);
    claims[key] = value;
    claims
}

fn fine() -> Value {
    claims_with("sub", json!("viewer"))
}

/// Label, key, algorithm, header, claims, and what the viewer is told.
fn bad_tokens() -> Vec<(&'static str, &'static str, &'static str, Value, Value, &'static str)> {
    let plain = json!({});
    let with = claims_with;
    let (past, future) = (json!(in_seconds(-60)), json!(in_seconds(60)));
    let signature = "the token's signature is not valid";
    vec![
        ("none", "rsa", "none", plain.clone(), fine(), "the token is not valid"),
        ("confused", "rsa", "HS256", plain.clone(), fine(), "the token's algorithm is not accepted"),
        ("stolen", "thief", "RS256", plain.clone(), fine(), signature),
        ("expired", "rsa", "RS256", plain.clone(), with("exp", past), "the token has expired"),
        ("endless", "rsa", "RS256", plain.clone(), with("exp", Value::Null), "the token lacks a claim"),
        ("exp as text", "rsa", "RS256", plain.clone(), with("exp", json!("soon")), "the token lacks a claim"),
        ("early", "rsa", "RS256", plain.clone(), with("nbf", future), "the token is not valid yet"),
        (
            "foreign",
            "p256",
            "ES256",
            plain.clone(),
            with("iss", json!("https://evil")),
            "the token's issuer is not accepted",
        ),
        ("no issuer", "ed", "EdDSA", plain.clone(), with("iss", Value::Null), "the token lacks a claim"),
        (
            "for others",
            "ed",
            "EdDSA",
            plain.clone(),
            with("aud", json!("other")),
            "the token is for another audience",
        ),
        ("grants nothing", "ed", "EdDSA", plain, with("fleets", Value::Null), "the token lacks a claim"),
        ("brings its key", "thief", "RS256", json!({"jku": "http://127.0.0.1:1/keys"}), fine(), signature),
        (
            "demands",
            "p256",
            "ES256",
            json!({"crit": ["b64"], "b64": false}),
            fine(),
            "the token is not valid",
        ),
    ]
}

#[tokio::test]
async fn each_algorithm_lets_stock_clients_in_and_what_is_wrong_is_refused_by_name() {
    let redis = RedisServer::start().await;
    let kinds = [("rsa", "rsa"), ("p256", "p256"), ("p384", "p384"), ("ed", "ed25519"), ("thief", "rsa")];
    let mut wanted = kinds.iter().fold(Wanted::default(), |wanted, (name, kind)| wanted.key(name, kind));
    for (key, alg) in ALGORITHMS {
        wanted = wanted.token(alg, key, alg, fine());
    }
    let bad = bad_tokens();
    for (label, key, alg, header, claims, _) in &bad {
        wanted = wanted.token_with(label, key, alg, header.clone(), claims.clone());
    }
    let path = json!({"kid": "../../../dev/null"});
    let made = wanted.token_with("kid is a path", "p256", "ES256", path, fine()).make().await;
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys.pem");
    std::fs::write(&keys, ["rsa", "p256", "p384", "ed"].map(|key| made.public(key)).concat()).unwrap();
    let gateway = guarded()
        .redis(&redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_JWT_PUBLIC_KEY_FILE", keys.display())
        .env("FLEETCAST_JWT_ISSUER", "https://issuer")
        .env("FLEETCAST_JWT_AUDIENCE", "maps,panels")
        .start()
        .await;
    let outcomes = try_all(&gateway, as_auth(&made)).await;
    for (_, alg) in ALGORITHMS {
        assert_eq!(outcomes[alg], None, "{alg}");
    }
    for (label, .., message) in &bad {
        assert_eq!(outcomes[*label], Some(format!("unauthorized: {message}")), "{label}");
    }
    assert_eq!(outcomes["kid is a path"], None, "an id is compared with ids, and these keys have none");
    assert_eq!(gateway.metric("fleetcast_tokens_denied_total").await, 13.0);
    assert_never_written(&gateway, &made).await;
}

#[tokio::test]
async fn a_token_may_come_by_any_of_three_ways_from_every_generation_of_clients() {
    let redis = RedisServer::start().await;
    let secret = format!("secret: {SECRET}");
    let mut wanted =
        Wanted::default().key("s", &secret).key("other", "secret: some-other-secret-of-32-letters");
    for alg in ["HS256", "HS384", "HS512"] {
        wanted = wanted.token(alg, "s", alg, good(json!("*")));
    }
    let made = wanted.token("guessed", "other", "HS256", good(json!("*"))).make().await;
    let gateway = guarded()
        .redis(&redis)
        .env("FLEETCAST_SOURCE", "redis")
        .env("FLEETCAST_JWT_SECRET", SECRET)
        .start()
        .await;
    let (token, mut cases) = (made.token("HS384"), Vec::new());
    for version in ["2.5", "3.1", "4.0", "4.4", "4.8"] {
        for transport in ["websocket", "polling"] {
            let label = |way: &str| format!("{way} {version} {transport}");
            let query = json!({"label": label("query"), "query": {"token": token, "fleetId": "f"}});
            let bearer = json!({"authorization": format!("Bearer {token}")});
            let header = json!({"label": label("header"), "headers": bearer});
            let auth = json!({"label": label("auth"), "auth": {"token": token}});
            // Protocol 3 has no payload with CONNECT.
            for mut case in
                [Some(query), Some(header), (version != "2.5").then_some(auth)].into_iter().flatten()
            {
                (case["version"], case["transport"]) = (json!(version), json!(transport));
                cases.push(case);
            }
        }
    }
    cases.extend(as_auth(&made).as_array().unwrap().clone());
    let nothing =
        [("nothing", json!({})), ("empty", json!({"token": ""})), ("a number", json!({"token": 7}))];
    cases.extend(nothing.map(|(label, auth)| json!({"label": label, "auth": auth})));
    cases.push(json!({"label": "nonsense", "version": "2.5", "query": {"token": "a.b.c"}}));
    cases.push(json!({"label": "basic", "headers": {"authorization": "Basic abc"}}));
    let outcomes = try_all(&gateway, json!(cases)).await;
    for (label, outcome) in &outcomes {
        let expected = match label.as_str() {
            "nothing" | "empty" | "a number" | "basic" => Some("unauthorized: a token is required"),
            "nonsense" => Some("unauthorized: the token is not valid"),
            "guessed" => Some("unauthorized: the token's signature is not valid"),
            _ => None,
        };
        assert_eq!(outcome.as_deref(), expected, "{label}");
    }
    assert_eq!(outcomes.len(), 28 + 4 + 5);
    assert_never_written(&gateway, &made).await;
}

#[tokio::test]
async fn the_command_for_development_signs_what_the_gateway_accepts() {
    let redis = RedisServer::start().await;
    let made = Wanted::default().key("rsa", "rsa").key("p384", "p384").key("ed", "ed25519").make().await;
    for (name, value) in [
        ("JWT_SECRET", (SECRET, SECRET)),
        ("JWT_PUBLIC_KEY", (made.public("rsa"), made.private("rsa"))),
        ("JWT_PUBLIC_KEY", (made.public("p384"), made.private("p384"))),
        ("JWT_PUBLIC_KEY", (made.public("ed"), made.private("ed"))),
    ] {
        let gateway = guarded()
            .redis(&redis)
            .env("FLEETCAST_SOURCE", "redis")
            .env(&format!("FLEETCAST_{name}"), value.0)
            .env("FLEETCAST_JWT_FLEETS_CLAIM", "/app/fleets")
            .start()
            .await;
        let key = if name == "JWT_SECRET" { "--jwt-secret" } else { "--jwt-private-key" };
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_fleetcast"))
            .args(["token", "--fleets", "a,b", "--jwt-fleets-claim", "/app/fleets"])
            .arg(format!("{key}={}", value.1))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let token = String::from_utf8(output.stdout).unwrap();
        let mut viewer = Viewer::connect(gateway.addr(), &format!("fleetId=b&token={}", token.trim())).await;
        redis.command::<i64>(&["PUBLISH", "updates:b", "hello"]).await;
        assert_eq!(viewer.event("fleet_update").await, "hello");
    }
}

#[tokio::test]
async fn options_that_do_not_fit_together_stop_the_start_and_name_no_key() {
    let refuse = async |env: &[(&str, &str)], expected: &str| {
        let gateway = Gateway::builder().without_env("FLEETCAST_AUTH").env("FLEETCAST_SOURCE", "demo");
        let gateway = env.iter().fold(gateway, |gateway, (name, value)| gateway.env(name, value));
        let mut process = gateway.spawn();
        let status = process.wait_exit(crate::support::PATIENCE).await;
        let said = process.lines().join("\n");
        assert_eq!(status.code(), Some(2), "{env:?}: {said}");
        assert!(said.contains(expected) && !said.contains("hunter"), "{env:?}: {said}");
    };
    let jwt = ("FLEETCAST_AUTH", "jwt");
    refuse(&[], "FLEETCAST_AUTH (--auth) is required").await;
    refuse(&[jwt], "needs one of FLEETCAST_JWT_SECRET").await;
    refuse(&[jwt, ("FLEETCAST_JWT_SECRET", SECRET), ("FLEETCAST_JWKS_URL", "https://a")], "needs one of")
        .await;
    refuse(&[jwt, ("FLEETCAST_JWT_SECRET", "hunter2")], "FLEETCAST_JWT_SECRET (--jwt-secret): a secret")
        .await;
    refuse(&[jwt, ("FLEETCAST_JWT_PUBLIC_KEY", "hunter2")], "not a public key in PEM").await;
    refuse(&[jwt, ("FLEETCAST_JWKS_URL", "ftp://issuer/keys")], "FLEETCAST_JWKS_URL").await;
    refuse(&[jwt, ("FLEETCAST_JWKS_URL", "https://u:hunter2@issuer/keys")], "FLEETCAST_JWKS_URL").await;
    let none = ("FLEETCAST_AUTH", "none");
    refuse(&[none, ("FLEETCAST_JWT_SECRET", SECRET)], "keys for tokens are given").await;
}

#[tokio::test]
async fn the_page_is_told_that_it_needs_a_token_and_operators_need_another() {
    let mut admin = good(json!([]));
    admin["admin"] = json!(true);
    let mut former = admin.clone();
    former["exp"] = json!(in_seconds(-60));
    let mut text = admin.clone();
    text["admin"] = json!("true");
    let tokens = [("admin", admin), ("former", former), ("text", text), ("all fleets", good(json!("*")))];
    let made = with_secret(&tokens).await;
    let gateway = guarded().env("FLEETCAST_SOURCE", "demo").env("FLEETCAST_JWT_SECRET", SECRET).start().await;
    let config = reqwest::get(format!("{}/api/config", gateway.url())).await.unwrap().text().await.unwrap();
    assert!(config.contains(r#""auth":"jwt""#), "{config}");
    let ask = async |header: Option<String>| {
        let request = reqwest::Client::new().get(format!("{}/api/ops", gateway.url()));
        let request =
            header.into_iter().fold(request, |request, value| request.header("authorization", value));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask(None).await, 403);
    assert_eq!(ask(Some("Bearer a.b.c".to_owned())).await, 403);
    for (label, status) in [("former", 403), ("text", 403), ("all fleets", 403), ("admin", 200)] {
        assert_eq!(ask(Some(format!("Bearer {}", made.token(label)))).await, status, "{label}");
    }
}
