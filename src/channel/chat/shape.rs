//! What each service is sent: one document, four shapes.
//!
//! Sources: Slack, "Sending messages using incoming webhooks" (docs.slack.dev/messaging); Discord, "Execute Webhook"
//! (docs.discord.com/developers/resources/webhook); Mattermost, "Incoming webhooks"
//! (docs.mattermost.com/developers/integrate/webhooks/incoming); Microsoft, "Create incoming webhooks with Workflows"
//! and "Adaptive Card schema" (learn.microsoft.com, adaptivecards.io/explorer).

use serde_json::{Value, json};

use super::Service;
use crate::channel::markup::{Block, Dialect, Document, Kind, Run, fit};

/// Slack cuts longer texts by itself, wherever it may be.
const SLACK_CHARACTERS: usize = 40_000;
const DISCORD_CHARACTERS: usize = 2_000;
/// Teams takes 28 KB in all; what surrounds the card needs the rest.
const TEAMS_BYTES: usize = 27 * 1024;
/// Discord's message flag `SUPPRESS_EMBEDS`.
const SUPPRESS_EMBEDS: u32 = 1 << 2;

/// The body of the request. No service may look up the links in it: some work only once.
pub(super) fn payload(service: Service, document: &Document) -> Value {
    match service {
        Service::Slack => json!({
            "text": text(document, Dialect::Slack, SLACK_CHARACTERS),
            "unfurl_links": false,
            "unfurl_media": false,
        }),
        // A longer text is split by the server.
        Service::Mattermost => json!({ "text": Dialect::Mattermost.write(document) }),
        Service::Discord => json!({
            "content": text(document, Dialect::Discord, DISCORD_CHARACTERS),
            "allowed_mentions": { "parse": [] },
            "flags": SUPPRESS_EMBEDS,
        }),
        Service::Teams => fit(document, card, |card| card.to_string().len() <= TEAMS_BYTES),
    }
}

/// At most so many characters in this dialect.
fn text(document: &Document, dialect: Dialect, limit: usize) -> String {
    fit(document, |document| dialect.write(document), |text| text.chars().count() <= limit)
}

/// A message with one card. Its text is runs, not Teams' Markdown, so that nothing needs to be escaped.
fn card(document: &Document) -> Value {
    let body: Vec<Value> = document.blocks.iter().map(block).collect();
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": { "width": "Full" },
                "body": body,
            },
        }],
    })
}

fn block(block: &Block) -> Value {
    let mut inlines: Vec<Value> = Vec::new();
    if let Kind::Item { depth, number } = block.kind {
        // Spaces at the start would be taken away.
        let indent = "\u{2003}".repeat(depth);
        let marker = number.map_or("•".to_owned(), |number| format!("{number}."));
        inlines.push(json!({ "type": "TextRun", "text": format!("{indent}{marker} ") }));
    }
    inlines.extend(block.runs.iter().map(|run| text_run(run, block)));
    json!({ "type": "RichTextBlock", "inlines": inlines })
}

fn text_run(run: &Run, block: &Block) -> Value {
    let mut out = json!({ "type": "TextRun", "text": run.text });
    let mut set = |name: &str, value: Value| out[name] = value;
    if run.style.bold || block.kind == Kind::Heading {
        set("weight", json!("Bolder"));
    }
    if block.kind == Kind::Heading {
        set("size", json!("Medium"));
    }
    if run.style.italic {
        set("italic", json!(true));
    }
    if run.style.struck {
        set("strikethrough", json!(true));
    }
    if run.style.code || block.kind == Kind::Code {
        set("fontType", json!("Monospace"));
    }
    if block.quoted {
        set("isSubtle", json!(true));
    }
    if let Some(url) = &run.link {
        set("selectAction", json!({ "type": "Action.OpenUrl", "url": url }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Shipped\n\nOrder **A-1** is on [its way](https://example.org/t).\n\n- `x`\n\n> soon";

    #[test]
    fn slack_gets_mrkdwn_and_looks_up_no_links() {
        let sent = payload(Service::Slack, &Document::markdown(TEXT));
        let text = "*Shipped*\n\nOrder *A-1* is on <https://example.org/t|its way>.\n\n• `x`\n\n> soon";
        assert_eq!(sent, json!({"text": text, "unfurl_links": false, "unfurl_media": false}));
    }

    #[test]
    fn discord_may_mention_nobody() {
        let sent = payload(Service::Discord, &Document::plain("@everyone"));
        assert_eq!(sent, json!({"content": "@everyone", "allowed_mentions": {"parse": []}, "flags": 4}));
    }

    #[test]
    fn teams_gets_a_card_of_runs() {
        let sent = payload(Service::Teams, &Document::markdown(TEXT));
        assert_eq!(sent["attachments"][0]["contentType"], "application/vnd.microsoft.card.adaptive");
        let body = &sent["attachments"][0]["content"]["body"];
        let heading = json!({"type": "TextRun", "text": "Shipped", "weight": "Bolder", "size": "Medium"});
        assert_eq!(body[0], json!({"type": "RichTextBlock", "inlines": [heading]}));
        let link = json!({"type": "Action.OpenUrl", "url": "https://example.org/t"});
        assert_eq!(body[1]["inlines"][3], json!({"type": "TextRun", "text": "its way", "selectAction": link}));
        assert_eq!(body[2]["inlines"][0]["text"], "• ");
        assert_eq!(body[3]["inlines"][0]["isSubtle"], true);
    }

    #[test]
    fn what_is_too_long_is_cut_to_what_each_takes() {
        let long = Document::plain(&"ü*".repeat(100_000));
        let characters = |value: &Value| value.as_str().unwrap().chars().count();
        assert_eq!(characters(&payload(Service::Slack, &long)["text"]), 40_000);
        let discord = payload(Service::Discord, &long);
        assert!((1_998..=2_000).contains(&characters(&discord["content"])));
        assert!(discord["content"].as_str().unwrap().ends_with('…'));
        let teams = payload(Service::Teams, &long).to_string().len();
        assert!((TEAMS_BYTES - 8..=TEAMS_BYTES).contains(&teams), "{teams}");
        assert_eq!(characters(&payload(Service::Mattermost, &long)["text"]), 300_000);
    }
}
