//! What loading a configuration promises.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::schema::{ROOT, Shape};
use super::*;

fn with_file(text: &str, env: &[(&str, &str)], overrides: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notilog.toml");
    std::fs::write(&path, text).unwrap();
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let options = LoadOptions {
        file: FileChoice::At(path),
        env: own(env).into_iter().collect::<BTreeMap<_, _>>(),
        overrides: own(overrides),
    };
    load_with_origins(&options)
}

/// The report with the folder of the temporary file taken out.
fn report(text: &str, env: &[(&str, &str)], overrides: &[(&str, &str)]) -> String {
    let errors = with_file(text, env, overrides).expect_err("this configuration is wrong").to_string();
    let line = |line: &str| match line.find("/notilog.toml") {
        Some(at) => format!("  {}", &line[at + 1..]),
        None => line.to_owned(),
    };
    errors.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_embedded_defaults_are_a_valid_configuration() {
    let config = load(&LoadOptions::default()).unwrap();
    assert_eq!(config.router.tiers.len(), 2);
    assert!(config.sources.is_empty());
}

#[test]
fn later_layers_win_and_the_origin_of_each_value_is_known() {
    let loaded = with_file(
        "[router]\nshards = 2\ninstance = \"a\"\n[kafka.properties]\n\"socket.timeout.ms\" = 9000\n",
        &[
            ("NOTILOG__ROUTER__SHARDS", "3"),
            ("NOTILOG__ROUTER__TIERS", "1s,2s"),
            ("NOTILOG__KAFKA__PROPERTIES__SECURITY_PROTOCOL", "ssl"),
        ],
        &[("router.group", "g"), ("kafka.properties.ssl.ca.location", "/ca.pem")],
    )
    .unwrap();
    let config = &loaded.config;
    assert_eq!((config.router.shards, config.router.instance.as_str(), config.router.group.as_str()), (3, "a", "g"));
    assert_eq!(config.router.tiers.len(), 2);
    let names: Vec<&str> = config.kafka.properties.keys().map(String::as_str).collect();
    assert_eq!(names, ["security.protocol", "socket.timeout.ms", "ssl.ca.location"]);
    assert_eq!(config.kafka.properties["socket.timeout.ms"].reveal(), "9000");
    let shown = loaded.to_toml(true);
    assert!(shown.contains("shards = 3  # environment variable NOTILOG__ROUTER__SHARDS"), "{shown}");
    assert!(shown.contains("notilog.toml:3"), "{shown}");
    assert!(shown.contains("group = \"g\"  # --set router.group"), "{shown}");
}

#[test]
fn all_problems_are_listed_at_once_with_their_lines() {
    let text = r#"[kafka]
bootstrap_servers = "broker"

[kafka.properties]
"isolation.level" = "read_uncommitted"
"enable.auto.commit" = true

[router]
shard = 4
tiers = ["1m", "10s"]
recipient_grace = "one minute"
max_in_flight = 3

[delivery]
jitter_percent = 200
backoff = []

[channels.email]
hots = "mail.example.org"
port = "25"
tls = "starttsl"
from = "not a mailbox"
unsubscribe_url = "http://example.org/u/{notification_id}"

[channels.webhook]
secrets = { acme = 7 }
allow_networks = ["10.0.0.0/99"]

[channels.telegram]
token = "${env:NO_SUCH_TOKEN}"

[[sources]]
topics = []
max_priority = "URGENT"

[telemetry]
listen = 9464
"#;
    insta::assert_snapshot!(report(
        text,
        &[("NOTILOG__ROUTER__SHRADS", "2"), ("NOTILOG__DELIVERY__MAX_IN_FLIGHT", "many")],
        &[("registry.url", "ftp://x"), ("registry.timeout", "0s")],
    ));
}

#[test]
fn syntax_errors_have_lines_too() {
    let text = "[router]\nshards = \n[delivery\ngroup = \"x\"\n";
    let found = report(text, &[], &[]);
    assert!(found.contains("notilog.toml:2: not TOML") && found.contains("notilog.toml:3: not TOML"), "{found}");
}

#[test]
fn every_refused_property_is_refused_with_its_reason() {
    for (name, reason) in REFUSED {
        let found = report(&format!("[kafka.properties]\n\"{name}\" = \"x\"\n"), &[], &[]);
        assert!(found.contains("notilog.toml:2") && found.contains(reason), "{name}: {found}");
    }
}

#[test]
fn secrets_are_interpolated_and_never_shown() {
    let text = r#"
[kafka.properties]
"sasl.password" = "${env:PW}"
"sasl.username" = "router"
"security.protocol" = "sasl_ssl"
[registry]
username = "u"
password = "plain-secret"
[channels.telegram]
token = "tg-${env:PW}"
[channels.webhook.secrets]
acme = "whsec_plain"
"#;
    let loaded = with_file(text, &[("PW", "hunter2")], &[]).unwrap();
    assert_eq!(loaded.config.kafka.properties["sasl.password"].reveal(), "hunter2");
    assert_eq!(loaded.config.channels.telegram[0].settings.token.reveal(), "tg-hunter2");
    let seen = format!("{} {:?}", loaded.to_toml(true), loaded.config);
    for secret in ["hunter2", "plain-secret", "whsec_plain"] {
        assert!(!seen.contains(secret), "{seen}");
    }
    assert!(loaded.to_toml(false).contains("\"sasl.username\" = \"router\""));
}

#[test]
fn an_error_about_a_secret_does_not_quote_it() {
    let text =
        "[telemetry]\nlisten = \"${env:PW}\"\n[router]\nshards = \"${env:PW}\"\n[channels.telegram]\ntoken = 77001\n";
    let found = report(text, &[("PW", "hunter2")], &[]);
    assert!(!found.contains("hunter2") && !found.contains("77001"), "{found}");
    assert!(found.contains("telemetry.listen") && found.contains("router.shards"), "{found}");
}

#[test]
fn what_config_show_prints_is_itself_a_valid_configuration() {
    let text = "[channels.email]\nhost = \"h\"\nport = 25\ntls = \"none\"\nfrom = \"a@example.org\"\n[[sources]]\ntopics = [\"notify.events.bank\"]\nmax_priority = \"high\"\n";
    let first = with_file(text, &[], &[]).unwrap().to_toml(false);
    let second = with_file(&first, &[], &[]).unwrap().to_toml(false);
    assert_eq!(first, second);
    assert!(first.contains("HIGH"), "{first}");
}

#[test]
fn a_named_file_that_is_missing_is_an_error_and_a_searched_one_is_not() {
    let options = LoadOptions { file: FileChoice::At(PathBuf::from("/no/such.toml")), ..LoadOptions::default() };
    assert!(load(&options).unwrap_err().to_string().contains("/no/such.toml: cannot be read"));
}

/// A configuration with every key of the schema set.
fn everything() -> String {
    fn lines(shape: &Shape, path: &str, out: &mut Vec<String>) {
        let Shape::Section(keys) = shape else { return };
        for key in *keys {
            let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
            match &key.shape {
                Shape::Section(_) => lines(&key.shape, &path, out),
                Shape::Providers(kinds) => out.push(format!("{path} = [{}]", providers(kinds).join(", "))),
                shape => out.push(format!("{path} = {}", sample(shape, key.name))),
            }
        }
    }
    /// One of each kind, as inline tables.
    fn providers(kinds: &[super::schema::Kind]) -> Vec<String> {
        let kind = |kind: &super::schema::Kind| {
            let named = (kinds.len() > 1).then(|| format!("kind = \"{}\"", kind.name));
            let keys = kind.keys.iter().chain(super::schema::COMMON);
            let keys = keys.map(|key| format!("{} = {}", key.name, sample(&key.shape, key.name)));
            format!("{{ {} }}", named.into_iter().chain(keys).collect::<Vec<_>>().join(", "))
        };
        kinds.iter().map(kind).collect()
    }
    fn sample(shape: &Shape, name: &str) -> String {
        match (shape, name) {
            (Shape::Section(keys), _) => {
                let keys = keys.iter().map(|key| format!("{} = {}", key.name, sample(&key.shape, key.name)));
                format!("{{ {} }}", keys.collect::<Vec<_>>().join(", "))
            }
            (Shape::Map { .. }, "properties") => "{ \"client.rack\" = \"a\" }".to_owned(),
            (Shape::Map { .. }, "partitions") => "{ events = 3 }".to_owned(),
            (Shape::Map { of: of @ Shape::Section(_), .. }, name) => format!("{{ acme = {} }}", sample(of, name)),
            (Shape::Map { .. }, "principals") => "{ router = [\"User:router\"] }".to_owned(),
            (Shape::Map { .. }, "outcomes") => "{ acme = \"sent\" }".to_owned(),
            (Shape::Map { .. }, _) => "{ acme = \"x\" }".to_owned(),
            (Shape::List { .. }, "sources") => {
                "[{ topics = [\"a\"], tenants = [\"b\"], categories = [\"c\"], max_priority = \"LOW\" }]".to_owned()
            }
            (Shape::List { of, .. }, name) => format!("[{}]", sample(of, name)),
            (Shape::Rising, _) => "[\"1s\"]".to_owned(),
            (Shape::Whole(min, _), _) => min.to_string(),
            (Shape::Flag, _) => "true".to_owned(),
            (Shape::Delay(_), _) => "\"1s\"".to_owned(),
            (Shape::Choice(words), _) => format!("\"{}\"", words()[0]),
            (_, "bootstrap_servers") => "\"h:1\"".to_owned(),
            (_, "url" | "bases" | "api_url" | "callback_url" | "unsubscribe_url") => {
                "\"https://example.org/\"".to_owned()
            }
            (_, "from" | "reply_to") => "\"a@example.org\"".to_owned(),
            (_, "allow_networks") => "\"10.0.0.0/8\"".to_owned(),
            (_, "listen") => "\"127.0.0.1:1\"".to_owned(),
            _ => "\"x\"".to_owned(),
        }
    }
    let mut out = Vec::new();
    lines(&ROOT, "", &mut out);
    out.join("\n")
}

/// Every key of a value, dotted.
fn paths(value: &toml::Value, path: &str, out: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(key, value)| paths(value, &format!("{path}.{key}"), out)),
        toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
            list.iter().for_each(|value| paths(value, &format!("{path}[]"), out));
        }
        _ => out.push(path.to_owned()),
    }
}

#[test]
fn the_known_keys_are_those_of_the_types() {
    let text = everything();
    let loaded = with_file(&text, &[], &[]).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    // Types → keys: whatever the types hold is a known key; a field that the schema forgot would be missing here.
    let typed = toml::Value::try_from(&loaded.config).unwrap();
    let known = loaded.tree.into_value();
    let (mut of_types, mut of_keys) = (Vec::new(), Vec::new());
    paths(&typed, "", &mut of_types);
    paths(&known, "", &mut of_keys);
    of_types.sort();
    of_keys.sort();
    assert_eq!(of_types, of_keys);
}

const EXAMPLE: &str = include_str!("../../config/notilog.toml");

#[test]
fn the_example_shows_the_defaults() {
    let example = with_file(EXAMPLE, &[], &[]).unwrap_or_else(|errors| panic!("{errors}"));
    let defaults = load_with_origins(&LoadOptions::default()).unwrap();
    assert_eq!(example.to_toml(false), defaults.to_toml(false));
}

#[test]
fn the_example_names_every_key_and_what_it_comments_out_is_valid_too() {
    // A line like `# key = …` or `# [table]` becomes one of the file.
    let uncommented = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')) => {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    let text: Vec<String> = EXAMPLE.lines().map(uncommented).collect();
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "s3cret").unwrap();
    let secrets = format!("{}", secret.path().display());
    let secrets_of = [
        "kafka",
        "registry",
        "mail",
        "dkim",
        "telegram",
        "webhook",
        "sms",
        "smpp",
        "fcm.json",
        "apns.p8",
        "vapid",
        "suppressions",
        "earlier",
        "hook",
    ];
    let text =
        secrets_of.iter().fold(text.join("\n"), |text, name| text.replace(&format!("/run/secrets/{name}"), &secrets));
    let full = with_file(&text, &[], &[]).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
    let keys = |loaded: &Loaded| {
        let mut out = Vec::new();
        paths(&loaded.tree.clone().into_value(), "", &mut out);
        // What every provider has is shown once.
        let common = |key: &str| super::schema::COMMON.iter().any(|common| key.contains(&format!(".{}", common.name)));
        out.retain(|key| !key.starts_with(".channels.") || key.starts_with(".channels.email") || !common(key));
        // One provider is a table, several are a list.
        out.iter_mut().for_each(|path| *path = path.replace("[]", ""));
        // Their keys are the operator's.
        let maps = [
            "properties",
            "partitions",
            "secrets",
            "previous_keys.",
            ".headers",
            ".form",
            ".outcomes",
            "hooks.",
            "mailboxes.",
        ];
        out.retain(|key| !maps.iter().any(|map| key.contains(map)));
        out.sort();
        out.dedup();
        out
    };
    assert_eq!(keys(&full), keys(&with_file(&everything(), &[], &[]).unwrap()));
}

#[test]
fn the_documentation_lists_every_refused_property() {
    let documented = include_str!("../../docs/configuration.md");
    let stale = "docs/configuration.md is stale: put in the output of `notilog reference properties`";
    assert!(documented.contains(&refused_table()), "{stale}");
}

#[test]
fn a_channel_has_one_provider_or_several_with_the_keys_that_all_have() {
    let text = r#"
[channels.telegram]
token = "t"

[[channels.email]]
name = "main"
host = "a.example.org"
port = 25
tls = "none"
from = "a@example.org"
weight = 3
limit = { per_second = 50, burst = 100 }

[[channels.email]]
name = "spare"
host = "b.example.org"
port = 25
tls = "none"
from = "a@example.org"
priority = 1
mode = "sandbox"
password = "hunter2"
"#;
    let env = [("NOTILOG__CHANNELS__EMAIL__1__PORT", "26"), ("NOTILOG__CHANNELS__TELEGRAM__TIMEOUT", "3s")];
    let loaded = with_file(text, &env, &[("channels.email.0.weight", "4")]).unwrap();
    let [main, spare] = loaded.config.channels.email.as_slice() else { panic!("two") };
    assert_eq!((main.common.name.as_deref(), main.common.weight, main.common.mode), (Some("main"), 4, Mode::Live));
    assert_eq!(main.common.limit, Some(RateLimit { per_second: 50, burst: Some(100) }));
    assert_eq!((spare.common.priority, spare.common.mode, spare.settings.port), (1, Mode::Sandbox, 26));
    assert_eq!(loaded.config.channels.telegram[0].common, Common::default());
    assert_eq!(loaded.config.channels.telegram[0].settings.timeout.0.as_secs(), 3);
    let shown = loaded.to_toml(false);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert_eq!(with_file(&shown, &[], &[]).unwrap().to_toml(false), shown);
}

#[test]
fn what_is_wrong_with_one_of_several_providers_is_said_with_its_line() {
    let text = r#"[[channels.telegram]]
token = "t"

[[channels.telegram]]
tokn = "t"
weight = 0
"#;
    let wrong = [("channels.telegram.timeout", "3s"), ("channels.telegram.7.timeout", "3s")];
    insta::assert_snapshot!(report(text, &[], &wrong));
}
