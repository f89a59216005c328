//! Layers in, one checked [`Config`] out. The one place that reads the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::check::{check, dotted, suggestion};
use super::problem::{ConfigErrors, Origin, Problem};
use super::schema::{self, ROOT, Shape};
use super::tree::{Kind, Node, Place, is_index, parse, parse_value};
use super::types::Config;

const DEFAULTS: &str = include_str!("default.toml");
const ENV_PREFIX: &str = "NOTILOG__";
/// Names the file when no flag does.
const FILE_VARIABLE: &str = "NOTILOG_CONFIG";
const FILE_NAME: &str = "notilog.toml";

/// Which file to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FileChoice {
    /// None: defaults, environment and flags only.
    #[default]
    None,
    /// What `NOTILOG_CONFIG` names, else `notilog.toml` in the working directory if there is one.
    Search,
    /// This one; an error if it cannot be read.
    At(PathBuf),
}

/// The layers over the embedded defaults. `LoadOptions::default()` has none.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// `notilog.toml`.
    pub file: FileChoice,
    /// The environment: `NOTILOG__SECTION__KEY` are read, all serve `${env:NAME}`.
    pub env: BTreeMap<String, String>,
    /// From flags: a dotted key and its value, as `("kafka.topic_prefix", "acme.")`.
    pub overrides: Vec<(String, String)>,
}

impl LoadOptions {
    /// The layers of this process: its environment, and `file` or what a search finds.
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    pub fn of_process(file: Option<PathBuf>, overrides: Vec<(String, String)>) -> Self {
        let env =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        LoadOptions { file: file.map_or(FileChoice::Search, FileChoice::At), env: env.collect(), overrides }
    }
}

/// A configuration with where each of its values came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    pub(super) tree: Node,
}

impl Loaded {
    /// Where a property of `[kafka.properties]` was set.
    pub fn origin_of_property(&self, name: &str) -> Origin {
        let child = |node: &Node, key: &str| match &node.kind {
            Kind::Table(table) => table.get(key).cloned(),
            _ => None,
        };
        let found = child(&self.tree, "kafka").and_then(|kafka| child(&kafka, "properties"));
        found.and_then(|properties| child(&properties, name)).map_or(Origin::Default, |node| node.origin)
    }
}

/// Who acts: `NOTILOG_ACTOR`, else `USER`, else `unknown`.
pub fn actor_of(env: &BTreeMap<String, String>) -> String {
    ["NOTILOG_ACTOR", "USER"]
        .iter()
        .find_map(|name| env.get(*name).filter(|value| !value.is_empty()))
        .map_or_else(|| "unknown".to_owned(), Clone::clone)
}

/// The effective configuration, or everything that is wrong with it.
pub fn load(options: &LoadOptions) -> Result<Config, ConfigErrors> {
    load_with_origins(options).map(|loaded| loaded.config)
}

/// As [`load`], for those who show where values came from.
pub fn load_with_origins(options: &LoadOptions) -> Result<Loaded, ConfigErrors> {
    let mut problems = Vec::new();
    let mut tree = parse(DEFAULTS, &Place::Whole(Origin::Default)).map_err(ConfigErrors)?;
    let file = file(options);
    if let Some(path) = &file {
        match read(path) {
            Ok(node) => tree.merge(node),
            Err(found) => problems.extend(found),
        }
    }
    for layer in [environment(&options.env), flags(&options.overrides)] {
        for entry in layer {
            match entry {
                Ok((path, node)) => problems.extend(tree.put(&path, node)),
                Err(problem) => problems.push(problem),
            }
        }
    }
    problems.extend(check(&mut tree, &options.env));
    if !problems.is_empty() {
        return Err(ConfigErrors::sorted(problems));
    }
    let config = Config::deserialize_from(tree.clone())?;
    Ok(Loaded { config, file, tree })
}

impl Config {
    /// What the known keys let through must be what the types take; a test holds them together.
    fn deserialize_from(tree: Node) -> Result<Config, ConfigErrors> {
        tree.into_value().try_into().map_err(|error: toml::de::Error| {
            let problem = Problem { origin: Origin::Default, key: String::new(), message: error.message().to_owned() };
            ConfigErrors(vec![problem])
        })
    }
}

fn file(options: &LoadOptions) -> Option<PathBuf> {
    match &options.file {
        FileChoice::None => None,
        FileChoice::At(path) => Some(path.clone()),
        FileChoice::Search => match options.env.get(FILE_VARIABLE) {
            Some(path) => Some(PathBuf::from(path)),
            None => Path::new(FILE_NAME).exists().then(|| PathBuf::from(FILE_NAME)),
        },
    }
}

fn read(path: &Path) -> Result<Node, Vec<Problem>> {
    let place = Place::file(path);
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, &place),
        Err(error) => Err(vec![Problem {
            origin: Origin::Flag(path.display().to_string()),
            key: String::new(),
            message: format!("cannot be read: {error}"),
        }]),
    }
}

type Entry = Result<(Vec<String>, Node), Problem>;

fn environment(env: &BTreeMap<String, String>) -> Vec<Entry> {
    let ours = env.iter().filter_map(|(name, value)| Some((name, name.strip_prefix(ENV_PREFIX)?, value)));
    let entry = |(name, rest, value): (&String, &str, &String)| {
        let parts: Vec<String> = rest.to_lowercase().split("__").map(str::to_owned).collect();
        entry(Origin::Env(name.clone()), &parts, value, Spelling::Environment)
    };
    ours.map(entry).collect()
}

fn flags(overrides: &[(String, String)]) -> Vec<Entry> {
    let entry = |(key, value): &(String, String)| {
        let parts: Vec<String> = key.split('.').map(str::to_owned).collect();
        entry(Origin::Flag(format!("--set {key}")), &parts, value, Spelling::Dotted)
    };
    overrides.iter().map(entry).collect()
}

/// How the operator's own keys (librdkafka's properties have dots) are written.
#[derive(Clone, Copy)]
enum Spelling {
    /// `SASL_MECHANISM` is `sasl.mechanism`.
    Environment,
    /// As it is.
    Dotted,
}

fn entry(origin: Origin, parts: &[String], value: &str, spelling: Spelling) -> Entry {
    let (path, shape) = resolve(&origin, parts, spelling)?;
    let parsed = match shape {
        Shape::List { .. } | Shape::Rising if !value.trim_start().starts_with('[') => {
            let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
            let kind = Kind::List(items.map(|item| Node::loose(origin.clone(), item)).collect());
            Ok(Node { origin: origin.clone(), kind })
        }
        Shape::List { .. } | Shape::Rising | Shape::Map { .. } | Shape::Section(_) | Shape::Providers(_) => {
            parse_value(value, &origin)
        }
        _ => Ok(Node::loose(origin.clone(), value)),
    };
    match parsed {
        Ok(node) => Ok((path, node)),
        Err(message) => Err(Problem { origin, key: dotted(&path), message }),
    }
}

/// The path in the tree and what may stand there.
fn resolve(origin: &Origin, parts: &[String], spelling: Spelling) -> Result<(Vec<String>, &'static Shape), Problem> {
    let mut shape = &ROOT;
    let mut path = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        match shape {
            Shape::Section(keys) => {
                path.push(part.clone());
                let key = schema::find(keys, part).ok_or_else(|| unknown(origin, &path, keys))?;
                shape = &key.shape;
            }
            Shape::Providers(kinds) => {
                path.push(part.clone());
                // A number names one of several: `channels.email.1.host`.
                if !is_index(part) {
                    let mut sections = kinds.iter().map(|kind| kind.keys).chain([schema::COMMON, schema::KIND]);
                    let key = sections.find_map(|keys| schema::find(keys, part));
                    shape =
                        &key.ok_or_else(|| unknown(origin, &path, kinds.first().map_or(&[], |kind| kind.keys)))?.shape;
                }
            }
            Shape::Map { of, .. } => {
                let rest = parts[index..].join(".");
                path.push(match spelling {
                    Spelling::Environment if matches!(of, Shape::Property) => rest.replace('_', "."),
                    _ => rest,
                });
                return Ok((path, of));
            }
            _ => {
                path.push(part.clone());
                return Err(unknown(origin, &path, &[]));
            }
        }
    }
    Ok((path, shape))
}

fn unknown(origin: &Origin, path: &[String], keys: &'static [schema::Key]) -> Problem {
    let near = path.last().and_then(|last| suggestion(last, keys.iter().map(|key| key.name)));
    let message = near.map_or("unknown key".to_owned(), |near| format!("unknown key; did you mean `{near}`?"));
    Problem { origin: origin.clone(), key: dotted(path), message }
}
