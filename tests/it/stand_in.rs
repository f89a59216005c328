//! The providers' stand-ins as tests see them: answers are laid down beforehand, and what came is read back. Tests share
//! them, so each uses addresses, chats and paths of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{port, python};

/// The control interface of a stand-in.
pub struct StandIn {
    /// `http://host:port`.
    pub base: String,
    client: reqwest::Client,
}

impl StandIn {
    /// The one that listens at this port.
    pub fn at(port: u16) -> Self {
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

    /// One value of its control interface.
    pub async fn get(&self, path: &str) -> Value {
        self.client.get(format!("{}{path}", self.base)).send().await.unwrap().json().await.unwrap()
    }

    /// Asks it something, and reads its answer.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        self.client.post(format!("{}{path}", self.base)).json(body).send().await.unwrap().json().await.unwrap()
    }

    pub async fn post_empty(&self, path: &str) {
        self.client.post(format!("{}{path}", self.base)).send().await.unwrap();
    }

    pub async fn delete(&self, path: &str) {
        self.client.delete(format!("{}{path}", self.base)).send().await.unwrap();
    }

    pub async fn list(&self, path: &str, query: &[(&str, &str)]) -> Vec<Value> {
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.base), query).unwrap();
        self.client.get(url).send().await.unwrap().json().await.unwrap()
    }
}

/// A stand-in that a test starts for itself; it ends with the test.
pub struct Started {
    child: std::process::Child,
    /// The first line that it printed: where it listens.
    pub said: String,
}

impl Started {
    fn new(command: &mut std::process::Command) -> Self {
        let mut child = command
            .arg("--until-stdin-closes")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{error}: fetch what the tests need with `dev/services fetch-tests`"));
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert!(!said.is_empty(), "it did not start: fetch what the tests need with `dev/services fetch-tests`");
        Started { child, said: said.trim().to_owned() }
    }

    /// A script of dev/standins for the Python of dev/services.
    pub fn python(name: &str, arguments: &[&str]) -> Self {
        Started::new(std::process::Command::new(python()).arg(stand_ins().join(name)).args(arguments))
    }

    /// [`Started::python`] with another interpreter.
    pub fn python_of(python: &Path, name: &str, arguments: &[&str]) -> Self {
        Started::new(std::process::Command::new(python).arg(stand_ins().join(name)).args(arguments))
    }

    /// A source file of dev/standins for Java, with the jars of this folder of what was fetched.
    pub fn java(name: &str, jars: &str, arguments: &[&str]) -> Self {
        let jars = format!("{}/*", for_tests(jars).display());
        Started::new(
            std::process::Command::new("java").args(["-cp", &jars]).arg(stand_ins().join(name)).args(arguments),
        )
    }

    /// A script of dev/standins for Node, with the packages that only tests need.
    pub fn node(name: &str, arguments: &[&str]) -> Self {
        let modules = for_tests("test-node").join("node_modules");
        let mut node = std::process::Command::new("node");
        Started::new(node.env("NODE_PATH", modules).arg(stand_ins().join(name)).args(arguments))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stand_ins() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("dev/standins")
}

/// A folder of what `dev/services fetch-tests` fetched.
pub fn for_tests(name: &str) -> PathBuf {
    let downloads = std::env::var("NOTILOG_DOWNLOADS").map(PathBuf::from);
    downloads.unwrap_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".services/downloads")).join(name)
}

/// Something that no other test uses.
pub fn unique() -> String {
    notilog::telemetry::random::uuid().simple().to_string()
}
