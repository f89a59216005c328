//! Records of other languages' Avro libraries through the registry, both ways, an event by Java's own client, and what
//! Kafka's own console consumer shows.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};

use notilog::channel;
use notilog::config::{self, Channels, TlsMode};
use notilog::model::{Channel, Class};
use notilog::policy;
use notilog::registry::{Registry, RegistrySchemas};
use notilog::wire::{Encoders, Record, RecordType, Records};
use rstest::rstest;
use serde_json::{Value, json};

use crate::stand_in::unique;
use crate::support::{World, kafka_port, order, person, python, registry_port, with, writer_ids};

/// A codec in another language: a program and what comes before its own arguments.
struct Foreign {
    program: String,
    first: Vec<String>,
}

impl Foreign {
    fn python() -> Self {
        Foreign { program: python(), first: vec![client("avro_codec.py").display().to_string()] }
    }

    /// Compiled once for all tests.
    fn java() -> Self {
        static PATH: LazyLock<String> = LazyLock::new(|| {
            let jars = jars();
            let classes = Path::new(env!("CARGO_TARGET_TMPDIR")).join("avro-codec");
            let compiled = Command::new("javac")
                .args(["-cp", &format!("{jars}/*"), "-d"])
                .arg(&classes)
                .arg(client("AvroCodec.java"))
                .status();
            assert!(compiled.expect("a JDK's javac is installed").success());
            format!("{jars}/*:{}", classes.display())
        });
        let first = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &PATH, "AvroCodec"];
        Foreign { program: "java".to_owned(), first: first.map(str::to_owned).to_vec() }
    }

    /// One line out for each line in.
    fn run(&self, arguments: &[&str], lines: &[String]) -> Vec<String> {
        use std::io::Write as _;
        let mut child = Command::new(&self.program)
            .args(&self.first)
            .args(arguments)
            .env("NOTILOG_KAFKA_PORT", kafka_port().to_string())
            .env("NOTILOG_REGISTRY_PORT", registry_port().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("what `dev/services up` fetched starts");
        let mut stdin = child.stdin.take().unwrap();
        let input = lines.join("\n");
        let feed = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output().unwrap();
        // A program that failed did not read all; its own message says more.
        let _ = feed.join().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

/// Kafka's own programs, as `dev/services env` names them.
fn jars() -> String {
    std::env::var("NOTILOG_JARS")
        .unwrap_or_else(|_| format!("{}/.services/downloads/kafka", env!("CARGO_MANIFEST_DIR")))
}

/// The value of a topic's first record under read_committed, as `kafka-console-consumer` prints it.
fn console_consumer(topic: &str) -> Vec<u8> {
    const END: &str = "=end-of-record=";
    let bootstrap = format!("127.0.0.1:{}", kafka_port());
    let separator = format!("line.separator={END}");
    let output = Command::new("java")
        .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &format!("{}/*", jars())])
        .args(["org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", &bootstrap])
        .args(["--topic", topic, "--from-beginning", "--isolation-level", "read_committed"])
        .args(["--max-messages", "1", "--timeout-ms", "30000", "--formatter-property", &separator])
        .output()
        .expect("a JDK's java is installed");
    let value = output.stdout.strip_suffix(END.as_bytes());
    value.unwrap_or_else(|| panic!("nothing in {topic}: {}", String::from_utf8_lossy(&output.stderr))).to_vec()
}

fn client(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients").join(file)
}

/// Reads a value of another writer and writes it again as ours.
fn rewrite(record: RecordType, records: &mut Records, encoders: &mut Encoders, theirs: &[u8]) -> Vec<u8> {
    fn one<'a, R: Record<'a>>(records: &mut Records, encoders: &mut Encoders, theirs: &'a [u8]) -> Vec<u8> {
        encoders.to_vec(&records.read::<R>(theirs).unwrap()).unwrap()
    }
    use notilog::model::{
        Decision, DeliveryStatus, Event, InboxItem, InboxState, Outbound, Preferences, Receipt, SentMessage,
        Suppression,
    };
    match record {
        RecordType::Event => one::<Event<'_>>(records, encoders, theirs),
        RecordType::Preferences => one::<Preferences<'_>>(records, encoders, theirs),
        RecordType::Outbound => one::<Outbound<'_>>(records, encoders, theirs),
        RecordType::Decision => one::<Decision<'_>>(records, encoders, theirs),
        RecordType::DeliveryStatus => one::<DeliveryStatus<'_>>(records, encoders, theirs),
        RecordType::Suppression => one::<Suppression<'_>>(records, encoders, theirs),
        RecordType::InboxItem => one::<InboxItem<'_>>(records, encoders, theirs),
        RecordType::InboxState => one::<InboxState<'_>>(records, encoders, theirs),
        RecordType::SentMessage => one::<SentMessage<'_>>(records, encoders, theirs),
        RecordType::Receipt => one::<Receipt<'_>>(records, encoders, theirs),
    }
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[rstest]
#[case::python(Foreign::python())]
#[case::java(Foreign::java())]
#[tokio::test(flavor = "multi_thread")]
async fn a_record_goes_from_another_library_through_us_and_back_unchanged(#[case] foreign: Foreign) {
    let world = World::new("interop", "").await;
    let mut encoders = Encoders::new(writer_ids(&world.config).await);
    let registry = Registry::new(&world.config.registry).unwrap();
    let runtime = tokio::runtime::Handle::current();
    let samples: Value = serde_json::from_str(include_str!("../fixtures/interop/records.json")).unwrap();
    tokio::task::spawn_blocking(move || {
        let mut records = Records::new(Arc::new(RegistrySchemas::new(registry, runtime)));
        let values = |record: RecordType| samples[record.name()].as_array().unwrap().iter().map(move |v| (record, v));
        let expected: Vec<(RecordType, &Value)> = RecordType::ALL.into_iter().flat_map(values).collect();
        let line = |(record, value): &(RecordType, &Value)| json!({"schema": record.subject(), "value": value});
        let lines: Vec<String> = expected.iter().map(|pair| line(pair).to_string()).collect();
        let theirs = foreign.run(&["encode"], &lines);
        let pairs = theirs.iter().zip(&expected);
        let ours: Vec<String> = pairs
            .map(|(theirs, (record, _))| to_hex(&rewrite(*record, &mut records, &mut encoders, &from_hex(theirs))))
            .collect();
        assert_eq!(ours.len(), expected.len());
        for (line, (_, expected)) in foreign.run(&["decode"], &ours).iter().zip(&expected) {
            assert_eq!(&serde_json::from_str::<Value>(line).unwrap(), *expected);
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_javas_client_wrote_is_routed() {
    let world = World::new("java", "").await;
    world.preferences(vec![person("ada")]).await;
    let policies = policy::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))).unwrap();
    let router = world.router(policies).await;
    let line = json!({"key": "default/ada", "value": order("e-java", "ada")}).to_string();
    let topic = world.topics.events("shop");
    tokio::task::spawn_blocking(move || {
        Foreign::java().run(&["produce", RecordType::Event.subject(), &topic], &[line]);
    })
    .await
    .unwrap();
    let outbound = world.read_count(world.topics.outbound(Channel::Email, Class::Main), 1).await;
    router.stop().await.unwrap();
    assert_eq!(outbound[0]["value"]["event_id"], "e-java");
    assert_eq!(outbound[0]["value"]["address"], "ada@example.org");
}

#[tokio::test(flavor = "multi_thread")]
async fn kafkas_console_consumer_shows_what_was_routed_decided_and_delivered() {
    let world = World::new("console", "").await;
    let user = unique();
    world.preferences(vec![person(&user)]).await;
    let policy = policy::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies"))).unwrap();
    let email = config::Email { tls: TlsMode::None, username: None, password: None, ..crate::channels::email() };
    let channels = channel::build(&Channels { email: vec![email.into()], ..Channels::default() }).unwrap();
    let router = world.router(policy.clone()).await;
    let delivery = world.deliver(policy, channels).await.unwrap();
    let data = json!({"template": "message", "data": "{\"title\":\"Shipped\",\"text\":\"On its way\"}"});
    world.event(with(order("e-console", &user), data)).await;
    let status = world.topics.delivery_status();
    world.read_count(status.clone(), 1).await;
    router.stop().await.unwrap();
    delivery.stop().await.unwrap();

    let topics = [world.topics.outbound(Channel::Email, Class::Main), world.topics.decisions(), status];
    let values = tokio::task::spawn_blocking(move || {
        let shown: Vec<String> = topics.iter().map(|topic| to_hex(&console_consumer(topic))).collect();
        Foreign::python().run(&["decode"], &shown)
    });
    let values: Vec<Value> = values.await.unwrap().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(values.iter().all(|value| value["event_id"] == "e-console"), "{values:#?}");
    let [outbound, decision, status] = values.as_slice() else { panic!("one of each: {values:#?}") };
    assert_eq!(outbound["address"], format!("{user}@example.org"));
    assert_eq!(decision["outcomes"][0]["verdict"], "ROUTED");
    assert_eq!(status["state"], "SENT");
    assert_eq!(status["notification_id"], outbound["notification_id"]);
}
