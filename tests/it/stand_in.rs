//! The providers' stand-ins as tests see them: answers are laid down beforehand, and what came is read back. Tests share
//! them, so each uses addresses, chats and paths of its own.

use serde_json::Value;

use crate::support::port;

/// The control interface of a stand-in.
pub struct StandIn {
    /// `http://host:port`.
    pub base: String,
    client: reqwest::Client,
}

impl StandIn {
    fn at(port: u16) -> Self {
        StandIn {
            base: format!("http://127.0.0.1:{port}"),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    pub fn smtp() -> Self {
        StandIn::at(port("NOTILOG_SMTP_CONTROL_PORT", 2526))
    }

    pub fn telegram() -> Self {
        StandIn::at(port("NOTILOG_TELEGRAM_PORT", 8082))
    }

    pub fn webhook() -> Self {
        StandIn::at(port("NOTILOG_WEBHOOK_PORT", 8083))
    }

    pub async fn script(&self, path: &str, script: Value) {
        let request = self.client.post(format!("{}{path}", self.base)).json(&script);
        let answer = request.send().await.unwrap_or_else(|error| panic!("{error}: start it with `dev/services up`"));
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    pub async fn list(&self, path: &str, query: &[(&str, &str)]) -> Vec<Value> {
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.base), query).unwrap();
        self.client.get(url).send().await.unwrap().json().await.unwrap()
    }
}

/// Something that no other test uses.
pub fn unique() -> String {
    notilog::telemetry::random::uuid().simple().to_string()
}
