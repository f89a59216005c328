//! Whether the program can be made to fail at named points: only when it was built with the feature `failpoints`.

/// What only such a program contains.
const TRACES: [&str; 5] = ["FAILPOINTS", "txn.offsets_sent", "mutation.no_rewind", "kill-soon", "fail-0."];

#[test]
fn the_program_has_failpoints_only_when_it_was_built_with_them() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_notilog")).unwrap();
    for trace in TRACES {
        let found = program.windows(trace.len()).any(|window| window == trace.as_bytes());
        assert_eq!(found, cfg!(feature = "failpoints"), "`{trace}` in the program");
    }
}

#[test]
fn no_default_feature_switches_them_on() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let manifest: toml::Table = toml::from_str(&manifest).unwrap();
    let default = manifest["features"].as_table().unwrap().get("default");
    assert!(default.is_none_or(|names| names.as_array().unwrap().is_empty()), "{default:?}");
}
