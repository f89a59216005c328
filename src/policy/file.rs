//! One policy file: TOML with places, read key by key so that every problem is found and none hides another.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::model::{CategoryPolicy, Channel, Ordering, parse_delay};

use super::error::{PolicyError, PolicyErrors, Problem, nearest};

const CATEGORY_KEYS: [&str; 9] =
    ["allowed", "default", "mandatory", "max_age", "template", "templates", "ordering", "max_attempts", "fallback"];
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(24 * 3_600);
const DEFAULT_MAX_ATTEMPTS: u32 = 8;
const DEFAULT_TEMPLATE: &str = "message";

type Rules = (BTreeMap<String, CategoryPolicy>, Option<CategoryPolicy>);

/// What the files read so far say together.
#[derive(Default)]
pub(super) struct Merged {
    /// With the place of each definition.
    categories: BTreeMap<String, (CategoryPolicy, String)>,
    default: Option<(CategoryPolicy, String)>,
    errors: Vec<PolicyError>,
    last: PathBuf,
}

impl Merged {
    /// Reads one more file.
    pub(super) fn add(&mut self, path: &Path, text: &str) {
        self.last = path.to_owned();
        let (document, syntax) = DeTable::parse_recoverable(text);
        let mut file = File { path, text, errors: Vec::new() };
        for error in &syntax {
            file.report(error.span().map(|span| span.start), "", Problem::Syntax(error.message().to_owned()));
        }
        if syntax.is_empty() {
            self.add_document(&mut file, document.get_ref());
        }
        file.errors.sort_by_key(|error| error.line);
        self.errors.append(&mut file.errors);
    }

    /// The rules, if there is no problem.
    pub(super) fn finish(mut self) -> Result<Rules, PolicyErrors> {
        if self.errors.is_empty() && self.categories.is_empty() && self.default.is_none() {
            let path = self.last.clone();
            self.errors.push(PolicyError {
                file: path,
                line: None,
                key: String::new(),
                problem: Problem::NoCategories,
            });
        }
        if !self.errors.is_empty() {
            return Err(PolicyErrors(self.errors));
        }
        let categories = self.categories.into_iter().map(|(name, (rules, _))| (name, rules)).collect();
        Ok((categories, self.default.map(|(rules, _)| rules)))
    }

    fn add_document(&mut self, file: &mut File<'_>, document: &DeTable<'_>) {
        for (key, value) in document {
            match key.get_ref().as_ref() {
                "categories" => {
                    for (name, value) in file.table("categories", value).into_iter().flatten() {
                        self.add_category(file, name, value);
                    }
                }
                "default" => {
                    let rules = file.category("default", key.span().start, value);
                    match &self.default {
                        Some((_, place)) => {
                            file.report(Some(key.span().start), "default", Problem::Twice(place.clone()));
                        }
                        None => self.default = rules.map(|rules| (rules, file.place(key.span().start))),
                    }
                }
                other => file.unknown_key(key.span().start, other, other, &["categories", "default"]),
            }
        }
    }

    fn add_category(&mut self, file: &mut File<'_>, name: &Spanned<Cow<'_, str>>, value: &Spanned<DeValue<'_>>) {
        let at = name.span().start;
        let name = name.get_ref().as_ref();
        let path = format!("categories.{name}");
        let rules = file.category(&path, at, value);
        if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
            file.report(Some(at), &path, Problem::BadValue("a category's name has no spaces and is not empty".into()));
        } else if let Some((_, place)) = self.categories.get(name) {
            file.report(Some(at), &path, Problem::Twice(place.clone()));
        } else if let Some(rules) = rules {
            self.categories.insert(name.to_owned(), (rules, file.place(at)));
        }
    }
}

/// One file being read.
pub(super) struct File<'f> {
    path: &'f Path,
    text: &'f str,
    errors: Vec<PolicyError>,
}

impl File<'_> {
    fn line(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or(self.text);
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }

    fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path.display(), self.line(at))
    }

    pub(super) fn report(&mut self, at: Option<usize>, key: &str, problem: Problem) {
        let line = at.map(|at| self.line(at));
        self.errors.push(PolicyError { file: self.path.to_owned(), line, key: key.to_owned(), problem });
    }

    pub(super) fn unknown_key(&mut self, at: usize, path: &str, key: &str, known: &[&str]) {
        self.report(Some(at), path, Problem::UnknownKey(nearest(key, known.iter().copied())));
    }

    /// Whether more than so many problems were found.
    pub(super) fn has_more_than(&self, before: usize) -> bool {
        self.errors.len() > before
    }

    /// The rules of a category; `None` when a key of it is wrong or missing, which is reported.
    fn category(&mut self, path: &str, at: usize, value: &Spanned<DeValue<'_>>) -> Option<CategoryPolicy> {
        let before = self.errors.len();
        let table = self.table(path, value)?;
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if !CATEGORY_KEYS.contains(&name) {
                self.unknown_key(key.span().start, &format!("{path}.{name}"), name, &CATEGORY_KEYS);
            }
        }
        let key = |name: &'static str| (format!("{path}.{name}"), table.get(name));
        let rules = CategoryPolicy {
            allowed: self.required_channels(at, key("allowed"), "name the channels this category may go by"),
            default: self.required_channels(at, key("default"), "name the channels used when the recipient chose none"),
            mandatory: self.optional(key("mandatory"), "true or false", DeValue::as_bool).unwrap_or(false),
            max_age: self.max_age(key("max_age")).unwrap_or(DEFAULT_MAX_AGE),
            template: self.template(key("template")).unwrap_or_else(|| DEFAULT_TEMPLATE.to_owned()),
            templates: self.templates(key("templates")),
            ordering: self.ordering(key("ordering")),
            max_attempts: self.max_attempts(key("max_attempts")).unwrap_or(DEFAULT_MAX_ATTEMPTS),
            fallback: self.fallback(key("fallback")),
        };
        self.check_channels(path, at, &rules, before);
        self.check_fallback(path, table.get("fallback").map_or(at, |value| value.span().start), &rules, before);
        (self.errors.len() == before).then_some(rules)
    }

    /// What two keys must say together; not looked at when one of them is wrong already.
    fn check_channels(&mut self, path: &str, at: usize, rules: &CategoryPolicy, before: usize) {
        if self.errors.len() > before {
            return;
        }
        if rules.allowed.is_empty() {
            let problem = Problem::BadValue("no channel is allowed: nothing would ever be sent".into());
            self.report(Some(at), &format!("{path}.allowed"), problem);
        }
        for channel in rules.default.iter().filter(|channel| !rules.allowed.contains(channel)) {
            let problem =
                Problem::BadValue(format!("`{channel}` is not among `allowed`: add it there, or leave it out"));
            self.report(Some(at), &format!("{path}.default"), problem);
        }
        if rules.mandatory && rules.default.is_empty() {
            let problem = Problem::BadValue("a mandatory category goes by its default channels: name one".into());
            self.report(Some(at), &format!("{path}.default"), problem);
        }
    }

    pub(super) fn table<'v, 'i>(&mut self, path: &str, value: &'v Spanned<DeValue<'i>>) -> Option<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(path, value, "a table");
        }
        table
    }

    pub(super) fn wrong_type(&mut self, path: &str, value: &Spanned<DeValue<'_>>, expected: &'static str) {
        let found = value.get_ref().type_str();
        self.report(Some(value.span().start), path, Problem::WrongType { expected, found });
    }

    pub(super) fn optional<'v, 'i, T>(
        &mut self,
        (path, value): (String, Option<&'v Spanned<DeValue<'i>>>),
        expected: &'static str,
        read: impl Fn(&'v DeValue<'i>) -> Option<T>,
    ) -> Option<T> {
        let value = value?;
        let read = read(value.get_ref());
        if read.is_none() {
            self.wrong_type(&path, value, expected);
        }
        read
    }

    fn required_channels(
        &mut self,
        at: usize,
        (path, value): (String, Option<&Spanned<DeValue<'_>>>),
        missing: &'static str,
    ) -> Vec<Channel> {
        let Some(value) = value else {
            self.report(Some(at), &path, Problem::Missing(missing));
            return Vec::new();
        };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_type(&path, value, "a list of channels");
            return Vec::new();
        };
        list.iter().filter_map(|item| self.channel(&path, item)).collect()
    }

    pub(super) fn channel(&mut self, path: &str, item: &Spanned<DeValue<'_>>) -> Option<Channel> {
        let Some(word) = item.get_ref().as_str() else {
            self.wrong_type(path, item, "the name of a channel");
            return None;
        };
        let channel = word.parse().ok();
        if channel.is_none() {
            let known: Vec<&str> = Channel::ALL.iter().map(|channel| channel.as_str()).collect();
            let nearest = nearest(word, known.iter().copied());
            let problem = Problem::UnknownWord { word: word.to_owned(), known: known.join(", "), nearest };
            self.report(Some(item.span().start), path, problem);
        }
        channel
    }

    fn max_age(&mut self, entry: (String, Option<&Spanned<DeValue<'_>>>)) -> Option<Duration> {
        let (path, at) = (entry.0.clone(), entry.1?.span().start);
        let text = self.optional(entry, "a duration like \"24h\"", DeValue::as_str)?;
        match parse_delay(text) {
            Ok(Duration::ZERO) => {
                self.report(Some(at), &path, Problem::BadValue("every event would be too old".into()))
            }
            Ok(age) => return Some(age),
            Err(wrong) => self.report(Some(at), &path, Problem::BadValue(wrong)),
        }
        None
    }

    fn max_attempts(&mut self, entry: (String, Option<&Spanned<DeValue<'_>>>)) -> Option<u32> {
        let (path, at) = (entry.0.clone(), entry.1?.span().start);
        let number = self.optional(entry, "a whole number", DeValue::as_integer)?;
        let attempts = u32::from_str_radix(number.as_str(), number.radix()).ok().filter(|attempts| *attempts > 0);
        if attempts.is_none() {
            let problem = Problem::BadValue("write a whole number from 1 on".into());
            self.report(Some(at), &path, problem);
        }
        attempts
    }

    fn ordering(&mut self, entry: (String, Option<&Spanned<DeValue<'_>>>)) -> Ordering {
        let (path, at) = (entry.0.clone(), entry.1.map(|value| value.span().start));
        match self.optional(entry, "\"relaxed\" or \"strict\"", DeValue::as_str) {
            None | Some("relaxed") => Ordering::Relaxed,
            Some("strict") => Ordering::Strict,
            Some(word) => {
                let nearest = nearest(word, ["relaxed", "strict"]);
                let problem = Problem::UnknownWord { word: word.to_owned(), known: "relaxed, strict".into(), nearest };
                self.report(at, &path, problem);
                Ordering::Relaxed
            }
        }
    }

    fn template(&mut self, entry: (String, Option<&Spanned<DeValue<'_>>>)) -> Option<String> {
        let (path, at) = (entry.0.clone(), entry.1?.span().start);
        let name = self.optional(entry, "a template's name", DeValue::as_str)?;
        // The name becomes a folder: nothing in it may lead elsewhere.
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            let problem = Problem::BadValue(format!("`{name}`: a template's name is letters, digits, `_` and `-`"));
            self.report(Some(at), &path, problem);
            return None;
        }
        Some(name.to_owned())
    }

    fn templates(&mut self, (path, value): (String, Option<&Spanned<DeValue<'_>>>)) -> BTreeMap<String, String> {
        let Some(table) = value.and_then(|value| self.table(&path, value)) else {
            return BTreeMap::new();
        };
        let mut templates = BTreeMap::new();
        for (kind, value) in table {
            let kind = kind.get_ref().as_ref();
            if let Some(template) = self.template((format!("{path}.\"{kind}\""), Some(value))) {
                templates.insert(kind.to_owned(), template);
            }
        }
        templates
    }
}
