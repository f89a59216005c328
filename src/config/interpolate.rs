//! `${env:NAME}` and `${file:/path}` in any string; `$${` is a literal `${`.

use std::collections::BTreeMap;

/// Where interpolations look things up.
pub(super) struct Sources<'a> {
    pub(super) env: &'a BTreeMap<String, String>,
}

/// The text with all interpolations done, or `None` if it has none. The error names what is missing, never a value.
pub(super) fn interpolate(text: &str, sources: &Sources<'_>) -> Result<Option<String>, String> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &from[2..];
            continue;
        }
        out.push_str(before);
        let end = from.find('}').ok_or("`${` without a closing `}`; a literal `${` is written `$${`")?;
        out.push_str(&resolve(&from[2..end], sources)?);
        rest = &from[end + 1..];
    }
    out.push_str(rest);
    Ok(Some(out))
}

fn resolve(expression: &str, sources: &Sources<'_>) -> Result<String, String> {
    match expression.split_once(':') {
        Some(("env", name)) => {
            sources.env.get(name).cloned().ok_or_else(|| format!("environment variable {name} is not set"))
        }
        Some(("file", path)) => std::fs::read_to_string(path)
            .map(|content| content.trim_end_matches(['\n', '\r']).to_owned())
            .map_err(|error| format!("file {path} cannot be read: {error}")),
        _ => Err(format!(
            "`${{{expression}}}` is neither `${{env:NAME}}` nor `${{file:/path}}`; a literal `${{` is written `$${{`"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<Option<String>, String> {
        let env = BTreeMap::from([("WHO".to_owned(), "ada".to_owned())]);
        interpolate(text, &Sources { env: &env })
    }

    #[test]
    fn variables_stand_anywhere_in_a_string() {
        assert_eq!(run("a ${env:WHO} b ${env:WHO}").unwrap().unwrap(), "a ada b ada");
        assert_eq!(run("plain $ text").unwrap(), None);
        assert_eq!(run("$${env:WHO}").unwrap().unwrap(), "${env:WHO}");
    }

    #[test]
    fn a_files_last_line_end_is_not_part_of_the_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        assert_eq!(run(&format!("${{file:{}}}", file.path().display())).unwrap().unwrap(), "s3cret");
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(run("${env:NOBODY}").unwrap_err(), "environment variable NOBODY is not set");
        assert!(run("${file:/no/such}").unwrap_err().starts_with("file /no/such cannot be read"));
        assert!(run("${vault:x}").unwrap_err().contains("neither"));
        assert!(run("${env:WHO").unwrap_err().contains("closing"));
    }
}
