//! Reads the folder of templates and finds everything that is wrong with it before anything is sent.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use minijinja::{AutoEscape, Environment, UndefinedBehavior};

use super::error::{TemplateErrors, TemplateProblem, describe};
use super::{Index, Parts, Templates, filters, locale};
use crate::model::Channel;

/// Steps of the engine that one file may take: a table of some thousand rows passes, an endless loop does not.
const FUEL: u64 = 200_000;

/// The files each channel knows: `email.subject.txt`, `email.txt`, …
const KNOWN_FILES: &[&str] = &[
    "chat.md",
    "chat.txt",
    "email.html",
    "email.subject.txt",
    "email.txt",
    "inbox.link.txt",
    "inbox.title.txt",
    "inbox.txt",
    "kafka.json",
    "push.json",
    "push.title.txt",
    "push.txt",
    "sms.txt",
    "telegram.html",
    "telegram.json",
    "telegram.md",
    "telegram.txt",
    "webhook.json",
];

pub(super) fn load(dir: &Path, default_locale: &str) -> Result<Templates, TemplateErrors> {
    let mut loader = Loader { environment: environment(), sources: HashMap::new(), problems: Vec::new() };
    let mut index = Index::new();
    for folder in loader.folders(dir) {
        let name = file_name(&folder);
        if name.starts_with('_') {
            loader.partials(dir, &folder);
        } else {
            let channels = loader.template(dir, &folder, default_locale);
            index.insert(name, channels);
        }
    }
    loader.check_references(dir);
    if loader.problems.is_empty() {
        let default_locale = locale::normal(default_locale);
        return Ok(Templates { environment: loader.environment, index, default_locale });
    }
    loader.problems.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    Err(TemplateErrors(loader.problems))
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    // Printing, iterating over or reaching into what is not there fails; asking `if` it is there does not, since
    // optional fields are common in events.
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_auto_escape_callback(|name| match name.rsplit('.').next() {
        Some("html") => AutoEscape::Html,
        Some("json") => AutoEscape::Json,
        Some("md") => filters::MARKDOWN,
        _ => AutoEscape::None,
    });
    environment.set_formatter(filters::write);
    environment.set_fuel(Some(FUEL));
    // Errors then name the expression that is undefined.
    environment.set_debug(true);
    filters::register(&mut environment);
    environment
}

struct Loader {
    environment: Environment<'static>,
    /// Name in the environment → source, for the check of references.
    sources: HashMap<String, String>,
    problems: Vec<TemplateProblem>,
}

impl Loader {
    fn problem(&mut self, path: &Path, line: Option<usize>, problem: impl Into<String>) {
        self.problems.push(TemplateProblem { path: path.to_owned(), line, problem: problem.into() });
    }

    /// One folder of a template: its locales, and in them its files.
    fn template(
        &mut self,
        dir: &Path,
        folder: &Path,
        default_locale: &str,
    ) -> HashMap<Channel, HashMap<String, Parts>> {
        let mut channels: HashMap<Channel, HashMap<String, Parts>> = HashMap::new();
        for locale_folder in self.folders(folder) {
            let tag = file_name(&locale_folder);
            if !locale::is_tag(&tag) {
                self.problem(&locale_folder, None, "is not a language tag; name locale folders like `en` or `de-AT`");
                continue;
            }
            for (channel, parts) in self.parts(dir, &locale_folder) {
                channels.entry(channel).or_default().insert(locale::normal(&tag), parts);
            }
        }
        for (channel, locales) in &channels {
            if !locales.contains_key(&locale::normal(default_locale)) {
                let problem =
                    format!("speaks to {channel}, but not in the default locale `{default_locale}`; add the file");
                self.problem(folder, None, problem);
            }
        }
        channels
    }

    /// The messages that one locale folder can make.
    fn parts(&mut self, dir: &Path, folder: &Path) -> Vec<(Channel, Parts)> {
        let mut found: HashMap<String, String> = HashMap::new();
        for path in self.files(folder) {
            let file = file_name(&path);
            if KNOWN_FILES.contains(&file.as_str()) {
                let name = self.compile(dir, &path);
                found.insert(file, name);
            } else {
                self.problem(&path, None, format!("is not a template; known are {}", KNOWN_FILES.join(", ")));
            }
        }
        self.assemble(folder, &mut found)
    }

    fn assemble(&mut self, folder: &Path, found: &mut HashMap<String, String>) -> Vec<(Channel, Parts)> {
        let mut parts = Vec::new();
        let html = found.remove("email.html");
        match (found.remove("email.subject.txt"), found.remove("email.txt")) {
            (Some(subject), Some(text)) => parts.push((Channel::Email, Parts::Mail { subject, text, html })),
            (None, None) if html.is_none() => {}
            (None, _) => self.problem(folder, None, "has e-mail files but no `email.subject.txt`; add it"),
            (Some(_), None) => self.problem(folder, None, "has e-mail files but no `email.txt`; add it"),
        }
        if let Some(message) = self.telegram(folder, found) {
            parts.push((Channel::Telegram, message));
        }
        if let Some(file) = found.remove("webhook.json") {
            parts.push((Channel::Webhook, Parts::Json { file }));
        }
        if let Some(file) = found.remove("kafka.json") {
            parts.push((Channel::Kafka, Parts::Json { file }));
        }
        let (body, link) = (found.remove("inbox.txt"), found.remove("inbox.link.txt"));
        match found.remove("inbox.title.txt") {
            Some(title) => parts.push((Channel::Inbox, Parts::Inbox { title, body, link })),
            None if body.is_none() && link.is_none() => {}
            None => self.problem(folder, None, "has files of the inbox but no `inbox.title.txt`; add it"),
        }
        match (found.remove("chat.md"), found.remove("chat.txt")) {
            (Some(_), Some(_)) => self.problem(folder, None, "has both `chat.md` and `chat.txt`; remove one of them"),
            (Some(file), None) => parts.push((Channel::Chat, Parts::Markup { file, markdown: true })),
            (None, Some(file)) => parts.push((Channel::Chat, Parts::Markup { file, markdown: false })),
            (None, None) => {}
        }
        if let Some(file) = found.remove("sms.txt") {
            parts.push((Channel::Sms, Parts::Text { file, html: false }));
        }
        match (found.remove("push.txt"), found.remove("push.title.txt"), found.remove("push.json")) {
            (None, None, None) => {}
            (Some(body), title, None) => parts.push((Channel::Push, Parts::Push { title, body })),
            (None, None, Some(file)) => parts.push((Channel::Push, Parts::PushJson { file })),
            (None, Some(_), None) => self.problem(folder, None, "has `push.title.txt` but no `push.txt`; add it"),
            (_, _, Some(_)) => {
                self.problem(folder, None, "has `push.json` and other push files; remove the one or the others");
            }
        }
        parts
    }

    fn telegram(&mut self, folder: &Path, found: &mut HashMap<String, String>) -> Option<Parts> {
        let text = |file, html| Parts::Text { file, html };
        let forms = [
            found.remove("telegram.html").map(|file| text(file, true)),
            found.remove("telegram.txt").map(|file| text(file, false)),
            found.remove("telegram.md").map(|file| Parts::Markup { file, markdown: true }),
        ];
        let mut forms = forms.into_iter().flatten();
        let (message, buttons) = (forms.next(), found.remove("telegram.json"));
        if forms.next().is_some() {
            self.problem(
                folder,
                None,
                "has more than one of `telegram.html`, `telegram.md` and `telegram.txt`; keep one",
            );
        }
        match (message, buttons) {
            (None, Some(_)) => {
                self.problem(folder, None, "has buttons in `telegram.json` and no message; add `telegram.html`");
                None
            }
            (Some(message), Some(buttons)) => Some(Parts::Buttons { message: Box::new(message), buttons }),
            (message, None) => message,
        }
    }

    fn partials(&mut self, dir: &Path, folder: &Path) {
        for path in self.files(folder) {
            self.compile(dir, &path);
        }
        for below in self.folders(folder) {
            self.partials(dir, &below);
        }
    }

    /// Compiles one file under its path below `dir`, and gives that name.
    fn compile(&mut self, dir: &Path, path: &Path) -> String {
        let relative = path.strip_prefix(dir).unwrap_or(path);
        let name = relative.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
        match fs::read_to_string(path) {
            Ok(source) => {
                if let Err(error) = self.environment.add_template_owned(name.clone(), source.clone()) {
                    self.problem(path, error.line(), describe(&error));
                }
                self.sources.insert(name.clone(), source);
            }
            Err(error) => self.problem(path, None, format!("cannot be read: {error}")),
        }
        name
    }

    /// Finds `{% extends "x" %}`, `include`, `import` and `from` of files that do not exist: the engine would only
    /// see it when the first notification is rendered.
    fn check_references(&mut self, dir: &Path) {
        let mut missing = Vec::new();
        for (name, source) in &self.sources {
            for (line, text) in source.lines().enumerate() {
                for target in references(text).filter(|target| !self.sources.contains_key(*target)) {
                    missing.push((dir.join(name), line + 1, target.to_owned()));
                }
            }
        }
        for (path, line, target) in missing {
            self.problem(
                &path,
                Some(line),
                format!("refers to `{target}`, which is not there; paths start at the folder of templates"),
            );
        }
    }

    fn folders(&mut self, path: &Path) -> Vec<PathBuf> {
        self.entries(path).into_iter().filter(|entry| entry.is_dir()).collect()
    }

    fn files(&mut self, path: &Path) -> Vec<PathBuf> {
        self.entries(path).into_iter().filter(|entry| entry.is_file()).collect()
    }

    /// What is in a folder, sorted, without hidden entries.
    fn entries(&mut self, path: &Path) -> Vec<PathBuf> {
        match fs::read_dir(path) {
            Ok(entries) => {
                let mut paths: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
                paths.retain(|path| !file_name(path).starts_with('.'));
                paths.sort();
                paths
            }
            Err(error) => {
                self.problem(path, None, format!("cannot be read: {error}; check `templates.dir`"));
                Vec::new()
            }
        }
    }
}

/// The quoted names behind `extends`, `include`, `import` and `from` in the tags of one line.
fn references(line: &str) -> impl Iterator<Item = &str> {
    line.split("{%").skip(1).filter_map(|tag| {
        let tag = tag.trim_start_matches(['-', '+']).trim_start();
        let rest = ["extends", "include", "import", "from"].iter().find_map(|word| tag.strip_prefix(word))?;
        let rest = rest.trim_start();
        let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''))?;
        let name = rest[1..].split(quote).next()?;
        let optional = tag.split("%}").next().is_some_and(|tag| tag.contains("ignore missing"));
        (!optional).then_some(name)
    })
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        dir
    }

    fn problems(files: &[(&str, &str)]) -> Vec<String> {
        let dir = folder(files);
        let Err(errors) = load(dir.path(), "en") else { panic!("there should be problems") };
        let root = format!("{}/", dir.path().display());
        errors.to_string().lines().map(|line| line.replace(&root, "")).collect()
    }

    #[test]
    fn every_problem_is_listed_at_once_with_file_and_line() {
        let found = problems(&[
            ("a/en/email.txt", "Hello"),
            ("b/en/telegram.html", "fine\n{% if %}"),
            ("c/en/email.htm", ""),
            ("d/de/telegram.txt", "Hallo"),
            ("e/_x/telegram.txt", ""),
            ("f/en/telegram.txt", "a\n{% include '_shared/none.txt' %}"),
            ("g/en/telegram.txt", ""),
            ("g/en/telegram.html", ""),
            ("h/en/telegram.json", "[]"),
            ("i/en/chat.md", ""),
            ("i/en/chat.txt", ""),
            ("j/en/push.title.txt", ""),
            ("k/en/push.txt", ""),
            ("k/en/push.json", "{}"),
            ("l/en/inbox.txt", ""),
        ]);
        let starts = [
            "a/en: has e-mail files but no `email.subject.txt`",
            "b/en/telegram.html:2: syntax error",
            "c/en/email.htm: is not a template",
            "d: speaks to telegram, but not in the default locale `en`",
            "e/_x: is not a language tag",
            "f/en/telegram.txt:2: refers to `_shared/none.txt`",
            "g/en: has more than one of `telegram.html`",
            "h/en: has buttons in `telegram.json` and no message",
            "i/en: has both `chat.md` and `chat.txt`",
            "j/en: has `push.title.txt` but no `push.txt`",
            "k/en: has `push.json` and other push files",
            "l/en: has files of the inbox but no `inbox.title.txt`",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (line, start) in found.iter().zip(starts) {
            assert!(line.starts_with(start), "{line} should start with {start}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_a_problem_and_not_an_empty_set() {
        let errors = load(Path::new("/nowhere/templates"), "en").unwrap_err();
        assert!(errors.to_string().contains("/nowhere/templates: cannot be read"), "{errors}");
    }

    #[test]
    fn references_are_found_in_every_tag_of_a_line() {
        let line = r#"{%- extends "a" %}{% include 'b' %} {% from "c" import x %}{% include "d" ignore missing %}"#;
        assert_eq!(references(line).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
