use std::time::Duration;

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::model::{CategoryPolicy, Channel, FallbackStep, Ordering};

/// A policy from files named `a.toml`, `b.toml`, …
fn policy_of(texts: &[&str]) -> Result<Policy, PolicyErrors> {
    let name = |index: usize| PathBuf::from(format!("{}.toml", char::from(b'a' + u8::try_from(index).unwrap())));
    let files: Vec<_> = texts.iter().enumerate().map(|(index, text)| (name(index), (*text).to_owned())).collect();
    from_files(&files)
}

fn complaints(texts: &[&str]) -> String {
    policy_of(texts).unwrap_err().to_string()
}

const ORDERS: &str = r#"
[categories.orders]
allowed = ["email", "telegram"]
default = ["email"]
"#;

#[test]
fn what_a_category_does_not_say_has_its_usual_value() {
    let policy = policy_of(&[ORDERS]).unwrap();
    let usual = CategoryPolicy {
        allowed: vec![Channel::Email, Channel::Telegram],
        default: vec![Channel::Email],
        mandatory: false,
        max_age: Duration::from_secs(24 * 3_600),
        template: "message".to_owned(),
        templates: [].into(),
        ordering: Ordering::Relaxed,
        max_attempts: 8,
        fallback: Vec::new(),
    };
    assert_eq!(policy.category("orders"), Some(&usual));
    assert_eq!(policy.category("gardening"), None);
}

#[test]
fn what_a_category_says_holds_and_unlisted_ones_have_the_default() {
    let policy = policy_of(&[
        ORDERS,
        r#"
        [default]
        allowed = ["inbox"]
        default = []
        max_age = "90m"
        template = "plain"
        templates = { "cart.abandoned" = "cart" }
        mandatory = false
        ordering = "relaxed"
        max_attempts = 3
        "#,
    ])
    .unwrap();
    let gardening = policy.category("gardening").unwrap();
    assert_eq!(gardening.max_age, Duration::from_secs(90 * 60));
    assert_eq!(gardening.max_attempts, 3);
    assert_eq!(gardening.template_for("cart.abandoned", None), "cart");
    assert_eq!(gardening.template_for("cart.emptied", None), "plain");
    assert_eq!(gardening.template_for("cart.abandoned", Some("special")), "special");
}

#[test]
fn every_problem_of_every_file_is_named_with_its_line_and_what_to_do() {
    let orders = r#"
[categories.orders]
allwed = ["email"]
default = "email"
mandatory = "no"
max_age = "1 day"
max_attempts = 0
ordering = "strct"
template = "../secret"

[categories.orders.templates]
"order.placed" = 7

[catgories.marketing]
"#;
    let marketing = r#"[default]
allowed = ["email", "telegramm", 3]
default = []
[categories.marketing]
allowed = ["email"]
default = ["telegram"]
[categories.security]
allowed = []
default = []
mandatory = true
[categories."two words"]
allowed = ["email"]
default = ["email"]
"#;
    let broken = "[categories.x\nallowed = [\n";
    insta::assert_snapshot!(complaints(&[orders, marketing, broken, "[default]\nordering = \"relaxd\""]));
}

const CHAINED: &str = r#"
[categories.orders]
allowed = ["email", "push", "sms"]
default = ["push", "sms"]
fallback = [{ channel = "push" }, { channel = "sms", after = "5m" }]
"#;

#[test]
fn a_chain_has_its_order_and_is_part_of_the_version() {
    let policy = policy_of(&[CHAINED]).unwrap();
    let step = |channel, seconds| FallbackStep { channel, after: Duration::from_secs(seconds) };
    let orders = policy.category("orders").unwrap();
    assert_eq!(orders.fallback, [step(Channel::Push, 0), step(Channel::Sms, 300)]);
    let turned = CHAINED.replace(
        r#"[{ channel = "push" }, { channel = "sms", after = "5m" }]"#,
        r#"[{ channel = "sms" }, { channel = "push", after = "5m" }]"#,
    );
    assert_ne!(policy_of(&[&turned]).unwrap().version, policy.version);
    assert_eq!(from_bundle_json(&bundle_json(&policy)).unwrap(), policy);
    let newer = bundle_json(&policy).replace(r#""fallback":["#, r#""fallback":[{"channel":"pager","after_ms":0},"#);
    assert_eq!(from_bundle_json(&newer).unwrap().categories, policy.categories, "what only a newer version knows");
    assert_eq!(policy.with_fallback().collect::<Vec<_>>(), ["orders"]);
}

#[rstest]
#[case(r#""push""#, "expected a list of steps like { channel = \"push\" }, found string")]
#[case(r#"[{ channel = "push" }]"#, "a chain has at least two steps")]
#[case(r#"[{ channel = "push" }, "sms"]"#, "fallback[1]: expected a table, found string")]
#[case(r#"[{ channel = "push" }, { after = "5m" }]"#, "fallback[1].channel: missing")]
#[case(r#"[{ channel = "push" }, { channel = "sms" }]"#, "fallback[1].after: missing")]
#[case(r#"[{ channel = "push", after = "1m" }, { channel = "sms", after = "5m" }]"#, "the first step goes at once")]
#[case(r#"[{ channel = "push" }, { channel = "sms", after = "0s" }]"#, "nothing is seen so soon: write at least 1s")]
#[case(r#"[{ channel = "push" }, { channel = "sms", after = "8d" }]"#, "nobody waits so long: write at most 7d")]
#[case(r#"[{ channel = "push" }, { channel = "sms", after = "soon" }]"#, "`soon` is not a duration")]
#[case(r#"[{ channel = "push" }, { channel = "sms", after = 5 }]"#, "expected a duration like \"5m\", found integer")]
#[case(r#"[{ channel = "push" }, { channel = "smss", after = "5m" }]"#, "did you mean `sms`?")]
#[case(r#"[{ channel = "push" }, { channel = "sms", afer = "5m" }]"#, "unknown key; did you mean `after`?")]
#[case(r#"[{ channel = "push" }, { channel = "push", after = "5m" }]"#, "`push` is in the chain already")]
#[case(r#"[{ channel = "push" }, { channel = "chat", after = "5m" }]"#, "`chat` is not among `allowed`")]
#[case(r#"[{ channel = "push" }, { channel = "email", after = "5m" }]"#, "`email` is not among `default`")]
#[case(r#"[{ channel = "push" }, { channel = "sms", after = "24h" }]"#, "older than `max_age`")]
fn a_chain_that_could_not_work_is_refused(#[case] chain: &str, #[case] complaint: &str) {
    let fallback = r#"[{ channel = "push" }, { channel = "sms", after = "5m" }]"#;
    let said = complaints(&[&CHAINED.replace(fallback, chain)]);
    assert!(said.starts_with("a.toml:5: categories.orders.fallback") && said.contains(complaint), "{said}");
}

#[test]
fn a_category_is_defined_once() {
    let twice = complaints(&[
        ORDERS,
        "[default]\nallowed=['email']\ndefault=[]",
        ORDERS,
        "[default]\nallowed=['sms']\ndefault=[]",
    ]);
    assert_eq!(
        twice,
        "c.toml:2: categories.orders: already defined in a.toml:2: keep one of them\n\
         d.toml:1: default: already defined in b.toml:1: keep one of them"
    );
}

#[test]
fn files_without_a_category_are_no_policy() {
    assert_eq!(
        complaints(&["# nothing\n"]),
        "a.toml: no category is defined: write `[categories.<name>]` or `[default]`"
    );
}

#[rstest]
#[case::comments_and_blanks(&["# all about orders\n[categories.orders]\n\nallowed = ['email', 'telegram'] # two\ndefault = ['email']"])]
#[case::order_of_keys(&["[categories.orders]\ndefault = ['email']\nallowed = ['email', 'telegram']"])]
#[case::order_of_channels(&["[categories.orders]\nallowed = ['telegram', 'email', 'telegram']\ndefault = ['email']"])]
#[case::usual_values_written_out(&["[categories.orders]\nallowed = ['email', 'telegram']\ndefault = ['email']\nmax_age = '1d'"])]
#[case::other_spelling(&["categories = { orders = { allowed = ['email', 'telegram'], default = ['email'] } }"])]
#[case::several_files(&["", ORDERS, "# nothing"])]
fn the_version_is_what_the_rules_mean_not_how_they_are_written(#[case] texts: &[&str]) {
    assert_eq!(policy_of(texts).unwrap(), policy_of(&[ORDERS]).unwrap());
}

#[test]
fn the_version_is_the_hash_of_the_bundle_for_ever() {
    let policy = policy_of(&[ORDERS]).unwrap();
    insta::assert_snapshot!(format!("{}\n{}", policy.version, bundle_json(&policy)));
}

#[rstest]
#[case("allowed = ['email']\ndefault = ['email']")]
#[case("allowed = ['email', 'telegram']\ndefault = []")]
#[case("allowed = ['email', 'telegram']\ndefault = ['email']\nmandatory = true")]
#[case("allowed = ['email', 'telegram']\ndefault = ['email']\nmax_age = '25h'")]
#[case("allowed = ['email', 'telegram']\ndefault = ['email']\ntemplate = 'other'")]
#[case("allowed = ['email', 'telegram']\ndefault = ['email']\ntemplates = { a = 'b' }")]
#[case("allowed = ['email', 'telegram']\ndefault = ['email']\nmax_attempts = 9")]
#[case(
    "allowed = ['email', 'telegram']\ndefault = []\nfallback = [{ channel = 'telegram' }, { channel = 'email', after = '5m' }]"
)]
fn another_rule_is_another_version(#[case] rules: &str) {
    let other = policy_of(&[&format!("[categories.orders]\n{rules}")]).unwrap();
    assert_ne!(other.version, policy_of(&[ORDERS]).unwrap().version);
}

#[test]
fn a_bundle_of_a_newer_version_is_read_for_what_this_one_knows() {
    let json = bundle_json(&policy_of(&[ORDERS]).unwrap());
    let newer =
        json.replace("\"mandatory\"", "\"per_hour\":5,\"mandatory\"").replace("[\"email\"", "[\"fax\",\"email\"");
    assert_eq!(from_bundle_json(&newer).unwrap().categories, from_bundle_json(&json).unwrap().categories);
    assert_ne!(from_bundle_json(&newer).unwrap().version, from_bundle_json(&json).unwrap().version);
    assert!(from_bundle_json("{}").is_err());
}

#[test]
fn the_example_policies_hold_together() {
    let policy = load(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").as_path()).unwrap();
    let names: Vec<_> = policy.categories.keys().map(String::as_str).collect();
    assert_eq!(names, ["account", "marketing", "monitoring", "orders", "payments", "security"]);
    assert!(policy.category("security").unwrap().mandatory);
    assert_eq!(from_bundle_json(&bundle_json(&policy)).unwrap(), policy);
}

#[test]
fn a_folder_that_is_not_there_or_empty_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let no_files = load(folder.path()).unwrap_err();
    assert_eq!(no_files.0[0].problem, Problem::NoFiles);
    let missing = load(&folder.path().join("nowhere")).unwrap_err();
    assert!(matches!(missing.0[0].problem, Problem::Unreadable(_)), "{missing}");
    std::fs::write(folder.path().join("orders.toml"), ORDERS).unwrap();
    std::fs::write(folder.path().join("README.md"), "not a policy").unwrap();
    assert_eq!(load(folder.path()).unwrap(), policy_of(&[ORDERS]).unwrap());
}

fn rules() -> impl Strategy<Value = CategoryPolicy> {
    let channels = || prop::sample::subsequence(Channel::ALL.to_vec(), 0..=Channel::ALL.len());
    let templates = prop::collection::btree_map("[a-z.]{1,8}", "[a-z_]{1,8}", 0..3);
    let steps = prop::collection::vec((prop::sample::select(Channel::ALL), 0..1_000_000_u64), 0..4);
    let few = (channels(), channels(), any::<bool>(), 1..1_000_000_000_u64);
    (few, "[a-z_]{1,8}", templates, 1..100_u32, steps).prop_map(
        |((allowed, default, mandatory, max_age), template, templates, max_attempts, steps)| CategoryPolicy {
            allowed,
            default,
            mandatory,
            max_age: Duration::from_millis(max_age),
            template,
            templates,
            ordering: Ordering::Relaxed,
            max_attempts,
            fallback: steps
                .into_iter()
                .map(|(channel, after)| FallbackStep { channel, after: Duration::from_millis(after) })
                .collect(),
        },
    )
}

proptest! {
    #[test]
    fn a_bundle_is_read_back_as_it_was_written(
        categories in prop::collection::btree_map(".{1,12}", rules(), 0..4),
        default in prop::option::of(rules()),
    ) {
        let policy = bundle::seal(categories, default);
        prop_assert_eq!(from_bundle_json(&bundle_json(&policy)).unwrap(), policy);
    }
}
