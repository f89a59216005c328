//! Holds the layers: who may import whom, as the table in `src/lib.rs` says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The table of `src/lib.rs`: module → the modules it may import; `None` where the table says "all".
fn table() -> BTreeMap<String, Option<BTreeSet<String>>> {
    let text = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut table = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("//! | [`")) {
        let cells: Vec<&str> = line.trim_start_matches("//!").split('|').map(str::trim).collect();
        let module = cells[1].trim_matches(|c| "[`]".contains(c)).to_owned();
        let above: BTreeSet<String> = table.keys().cloned().collect();
        let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
        let allowed = match cells[3] {
            "all" => None,
            "nothing of ours" => Some(BTreeSet::new()),
            cell if cell.starts_with("all above") => Some(above.difference(&quoted(cell)).cloned().collect()),
            cell => Some(quoted(cell)),
        };
        table.insert(module, allowed);
    }
    table
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.file_name().is_some_and(|name| name == "tests.rs") {
            // Test modules may import and measure what they like.
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Each source file with the module it belongs to and the code before its tests.
fn sources() -> Vec<(PathBuf, String, String)> {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let with_module = |path: PathBuf| {
        let relative = path.strip_prefix(root().join("src")).unwrap();
        let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
        (path, module, code)
    };
    files.into_iter().map(with_module).filter(|(_, module, _)| module != "lib" && module != "main").collect()
}

/// Modules of ours that a line of code names by `crate::<module>`, groups (`crate::{a, b::c}`) included.
fn imported(code: &str) -> BTreeSet<String> {
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => drop(found.insert(word(rest))),
            Some(group) => {
                let (mut depth, mut item) = (0, String::new());
                for c in group.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            found.insert(word(item.trim()));
                            item.clear();
                            continue;
                        }
                        _ => {}
                    }
                    item.push(c);
                }
                found.insert(word(item.trim()));
            }
        }
    }
    found
}

#[test]
fn no_module_imports_what_its_layer_may_not() {
    let table = table();
    assert!(table.len() >= 13, "the table of lib.rs is read: {table:?}");
    let mut broken = Vec::new();
    for (path, module, code) in sources() {
        let Some(allowed) = table.get(&module) else {
            broken.push(format!("{}: module `{module}` is not in the table of src/lib.rs", path.display()));
            continue;
        };
        let Some(allowed) = allowed else { continue };
        for import in imported(&code) {
            if table.contains_key(&import) && import != module && !allowed.contains(&import) {
                broken.push(format!("{}: `{module}` may not import `{import}`", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn only_kafka_names_rdkafka_and_only_one_place_reads_clocks_randomness_and_environment() {
    let places = [
        ("rdkafka::", "src/kafka/"),
        ("Instant::now(", "src/telemetry/clock.rs"),
        ("SystemTime::now(", "src/telemetry/clock.rs"),
        ("jiff::Timestamp::now(", "src/telemetry/clock.rs"),
        ("Uuid::new_v4(", "src/telemetry/random.rs"),
        ("env::var", "src/config/"),
    ];
    let mut broken = Vec::new();
    for (path, _, code) in sources() {
        let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for (word, place) in places {
                if line.contains(word) && !relative.starts_with(place) {
                    broken.push(format!("{relative}: `{word}` belongs in {place}: {}", line.trim()));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_check_itself_sees_imports_in_groups_and_paths() {
    let code =
        "use crate::{model::{Event, Policy}, kafka, wire::Records};\nfn f() { crate::policy::load() }\n// crate::cli";
    assert_eq!(imported(code).into_iter().collect::<Vec<_>>(), ["kafka", "model", "policy", "wire"]);
}
