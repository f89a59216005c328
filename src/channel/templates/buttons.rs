//! Buttons below a message: a JSON file of a template, read after it was rendered.

use serde::Deserialize;

use super::RenderError;
use crate::channel::Button;

/// The most buttons of a message (Bot API: an inline keyboard has up to 100).
const MAX_BUTTONS: usize = 100;

/// `[{"text": "Track", "url": "https://…"}, …]`: a row each; a list within the list is a row of several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Row {
    One(Drawn),
    Several(Vec<Drawn>),
}

/// A button as the file has it; the link may be missing from the event.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drawn {
    text: String,
    url: Option<String>,
}

/// The buttons of a file that was rendered. One without a link that may be opened is left out: the message is worth
/// more than its button.
///
/// # Errors
/// [`RenderError::Failed`] when it is not a list of buttons.
pub(super) fn read(name: &str, text: &str) -> Result<Vec<Vec<Button>>, RenderError> {
    let rows: Vec<Row> = serde_json::from_str(text).map_err(|_| {
        RenderError::failed(name, "the output is not a list of `{\"text\": …, \"url\": …}`, or of lists of them")
    })?;
    let row = |row: Row| -> Vec<Button> {
        let drawn = match row {
            Row::One(drawn) => vec![drawn],
            Row::Several(drawn) => drawn,
        };
        drawn.into_iter().filter_map(button).collect()
    };
    let rows: Vec<Vec<Button>> = rows.into_iter().map(row).filter(|row| !row.is_empty()).collect();
    if rows.iter().map(Vec::len).sum::<usize>() > MAX_BUTTONS {
        return Err(RenderError::failed(name, format!("there are more than {MAX_BUTTONS} buttons")));
    }
    Ok(rows)
}

fn button(drawn: Drawn) -> Option<Button> {
    let url: url::Url = drawn.url?.trim().parse().ok()?;
    let text = drawn.text.trim();
    let usable = matches!(url.scheme(), "http" | "https" | "tg") && !text.is_empty();
    usable.then(|| Button { text: text.to_owned(), url })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<Vec<String>, String> {
        let row = |row: Vec<Button>| {
            row.iter().map(|button| format!("{}→{}", button.text, button.url)).collect::<Vec<_>>().join(" ")
        };
        read("t/en/telegram.json", text).map(|rows| rows.into_iter().map(row).collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_list_is_rows_and_a_list_within_is_one_row() {
        let text = r#"[{"text": "A", "url": "https://a.example"}, [{"text": "B", "url": "http://b.example/?x=1&y"}, {"text": "C", "url": "tg://user?id=1"}]]"#;
        assert_eq!(shown(text).unwrap(), ["A→https://a.example/", "B→http://b.example/?x=1&y C→tg://user?id=1"]);
    }

    #[test]
    fn a_button_without_a_link_that_may_be_opened_is_left_out() {
        let text = r#"[{"text": "A", "url": null}, {"text": "B", "url": "javascript:alert(1)"}, {"text": " ", "url": "https://c.example"}, {"text": "D", "url": "/d"}, {"text": "E"}]"#;
        assert_eq!(shown(text).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_list_of_buttons_is_said_without_its_values() {
        for text in ["{}", r#"[{"text": 7, "url": "https://secret.example"}]"#, r#"[{"label": "secret"}]"#, "["] {
            let problem = shown(text).unwrap_err();
            assert!(problem.contains("telegram.json") && !problem.contains("secret"), "{problem}");
        }
        let many = format!("[{}]", vec![r#"{"text": "A", "url": "https://a.example"}"#; 101].join(","));
        assert!(shown(&many).unwrap_err().contains("more than 100"));
    }
}
