//! A cluster that lets nobody in without TLS, a password and rights (`dev/services up --secure`): the roles run with no
//! more than `topics/acls.toml`, and what is refused is said at once, by name, with nothing lost and nothing double.

mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use notilog::kafka::Right;
use notilog::kafka::acl::{Kind, Operation, Resource};
use notilog::kafka::rights::needs;
use notilog::model::{Channel, Class, NotificationId, Role};
use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::stand_in::{StandIn, unique};
use crate::support::{now, order, person, with};
use world::{World, counted};

/// A refusal is said within this, the start of the process on a busy machine included.
const AT_ONCE: Duration = Duration::from_secs(15);

/// A notification to an address that no other test uses.
struct Mail {
    user: String,
    address: String,
}

impl Mail {
    fn new() -> Self {
        let user = unique();
        Mail { address: format!("{user}@example.org"), user }
    }

    fn id(&self) -> String {
        NotificationId::derive("default", "shop/orders", "e-1", &self.user, "email", &self.address, "").to_string()
    }

    fn outbound(&self, world: &World) -> Value {
        json!({"topic": world.topics.outbound(Channel::Email, Class::Main), "key": format!("default/{}", self.user), "value": {
            "notification_id": self.id(), "event_id": "e-1", "source": "shop/orders", "type": "order.shipped",
            "event_time": now(), "tenant": "default", "user_id": self.user, "category": "orders",
            "priority": "NORMAL", "channel": "email", "address": self.address, "locale": "en",
            "timezone": "Europe/Berlin", "template": "message", "data": "{\"title\":\"Shipped\",\"text\":\"On its way\"}",
            "collapse_key": null, "not_before": null, "expires_at": null, "decided_at": now() + 600_000, "policy_version": "v",
            "replay_id": null, "siblings": [], "fallback": [],
        }})
    }

    async fn sent(&self) -> Vec<Value> {
        StandIn::smtp().list("/messages", &[("address", &self.address)]).await
    }
}

/// Who the message must name, what, on what, and how it is granted.
fn expect_named(said: &str, principal: &str, right: &Right) {
    // Of transactional ids the very one is named that was refused.
    let refused = match right.resource.kind {
        Kind::TransactionalId => format!("{} on transactional id `{}", right.operation, right.resource.name),
        _ => right.to_string(),
    };
    for part in [principal.to_owned(), refused, "notilog topics apply --acls".to_owned()] {
        assert!(said.contains(&part), "no `{part}` in: {said}");
    }
    assert!(said.contains("kafka-acls.sh --add"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_works_with_no_more_than_its_rights() {
    let Some(world) = World::new("least").await else { return };
    let roles = [
        "router=User:router",
        "deliver=User:deliver",
        "operator=User:cli",
        "producer=User:producer",
        "analyst=User:reader",
    ];
    world.grant_roles(&roles);
    let (mut router, mut deliver) =
        (world.start("router", "", &["router"]), world.start("deliver", "", &["deliver", "--channel", "email"]));
    router.logged("assigned").await;
    deliver.logged("assigned").await;

    let users: Vec<String> = (0..30).map(|_| unique()).collect();
    let list = world.folder.path().join("people.json");
    let lines: Vec<String> = users.iter().map(|user| settings(user).to_string()).collect();
    std::fs::write(&list, lines.join("\n")).unwrap();
    world.expect(&world.run("cli", &["prefs", "import", list.to_str().unwrap()]), 0);
    let text = json!({"template": "message", "data": "{\"title\":\"Shipped\",\"text\":\"On its way\"}"});
    let event = |(n, user): (usize, &String)| with(order(&format!("e-{n}"), user), text.clone());
    world.events("producer", users.iter().enumerate().map(event)).await;
    world.expect_routed_once(users.len()).await;
    let statuses = world.read_count(&world.topics.delivery_status(), users.len()).await;
    let states = counted(statuses.iter().map(|status| status["value"]["state"].as_str().unwrap()));
    assert_eq!(states, BTreeMap::from([("SENT".to_owned(), users.len())]));
    // A record that cannot be read becomes a dead letter, which the operator sees.
    let raw = json!({"topic": world.topics.events("shop"), "key": "k", "raw": "00ff"});
    world.produce("producer", RecordType::Event, &[raw]).await;
    world.read_count(&world.topics.dlq_events(), 1).await;

    for (arguments, code) in [
        (&["topics", "verify"][..], 0),
        (&["prefs", "get", &users[0]], 0),
        (&["dlq", "ls"], 0),
        (&["dlq", "redrive", "--yes"], 0),
        (&["status", &users[0]], 0),
        (&["explain", "e-0"], 0),
    ] {
        let text = world.expect(&world.run("cli", arguments), code);
        assert!(!text.contains("lacks rights"), "{arguments:?}: {text}");
    }
    assert_eq!(world.read_as("reader", &world.topics.decisions()).await.len(), users.len());
    router.stop().await;
    deliver.stop().await;
}

/// A person's preferences as `notilog prefs` takes them.
fn settings(user: &str) -> Value {
    let mut person = person(user);
    for set_when_written in ["version", "updated_at", "updated_by"] {
        person.as_object_mut().unwrap().remove(set_when_written);
    }
    person
}

/// All rights of a role, one by one.
fn rights_of(world: &World, role: Role) -> Vec<Right> {
    needs(role, &world.config("admin"), &[Channel::Email]).into_iter().map(|need| need.right).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_without_one_of_its_rights_says_which_and_loses_nothing() {
    let Some(world) = World::new("router").await else { return };
    world.grant_roles(&["router=User:router"]);
    let users = [unique()];
    world.people(&users).await;
    let rights = rights_of(&world, Role::Router);
    for (n, right) in rights.iter().enumerate() {
        world.revoke("User:router", right).await;
        world.events("admin", [order(&format!("e-{n}"), &users[0])]).await;
        let mut router = world.start("router", "", &["router"]);
        let said = router.refused(AT_ONCE).await;
        expect_named(&said, "User:router", right);
        println!("{right}: after {:?}", router.began.elapsed());
        world.grant("User:router", right).await;
    }
    let router = world.start("router", "", &["router"]);
    world.expect_routed_once(rights.len()).await;
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_without_one_of_its_rights_says_which_and_loses_nothing() {
    let Some(world) = World::new("deliver").await else { return };
    world.grant_roles(&["deliver=User:deliver"]);
    let mut mails = Vec::new();
    for right in rights_of(&world, Role::Deliver) {
        let mail = Mail::new();
        world.revoke("User:deliver", &right).await;
        world.produce("admin", RecordType::Outbound, &[mail.outbound(&world)]).await;
        let mut deliver = world.start("deliver", "", &["deliver", "--channel", "email"]);
        let said = deliver.refused(AT_ONCE).await;
        expect_named(&said, "User:deliver", &right);
        println!("{right}: after {:?}", deliver.began.elapsed());
        world.grant("User:deliver", &right).await;
        mails.push(mail);
    }
    let deliver = world.start("deliver", "", &["deliver", "--channel", "email"]);
    let statuses = world.read_count(&world.topics.delivery_status(), mails.len()).await;
    deliver.stop().await;
    let found = counted(statuses.iter().map(|status| status["value"]["notification_id"].as_str().unwrap()));
    assert_eq!(found, mails.iter().map(|mail| (mail.id(), 1)).collect());
    for mail in &mails {
        assert_eq!(mail.sent().await.len(), 1, "nothing was sent before all rights were there");
    }
}

/// Some rights of each kind, of which the client hears in different ways.
fn taken_while_running(world: &World, role: Role, names: &[&str]) -> Vec<Right> {
    let rights = rights_of(world, role);
    let one = |name: &&str| rights.iter().find(|right| right.to_string().contains(*name)).unwrap().clone();
    names.iter().map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_loses_a_right_while_it_runs_stops_and_later_goes_on() {
    let Some(world) = World::new("taken").await else { return };
    world.grant_roles(&["router=User:router"]);
    let users = [unique()];
    world.people(&users).await;
    let rights = taken_while_running(
        &world,
        Role::Router,
        &["Write on topic `s-taken", "Read on group", "Write on transactional", "Read on topics that begin"],
    );
    let mut events = 0;
    for right in &rights {
        let mut router = world.start("router", "", &["router"]);
        router.logged("assigned").await;
        world.events("admin", [order(&format!("e-{events}"), &users[0])]).await;
        world.read_count(&world.topics.decisions(), events + 1).await;
        let began = Instant::now();
        world.revoke("User:router", right).await;
        let more = (events + 1..events + 6).map(|n| order(&format!("e-{n}"), &users[0]));
        world.events("admin", more).await;
        events += 6;
        let said = router.refused(AT_ONCE * 2).await;
        expect_named(&said, "User:router", right);
        println!("{right}: {:?} after it was taken", began.elapsed());
        world.grant("User:router", right).await;
    }
    let router = world.start("router", "", &["router"]);
    world.expect_routed_once(events).await;
    router.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delivery_that_loses_a_right_while_it_runs_stops_and_later_goes_on() {
    let Some(world) = World::new("dtaken").await else { return };
    world.grant_roles(&["deliver=User:deliver"]);
    let names = ["delivery-status`", "Read on group", "Write on transactional", "Read on topic `s-dtaken"];
    let mut mails: Vec<Mail> = Vec::new();
    for right in taken_while_running(&world, Role::Deliver, &names) {
        let mut deliver = world.start("deliver", "", &["deliver", "--channel", "email"]);
        deliver.logged("partitions assigned").await;
        world.read_count(&world.topics.delivery_status(), mails.len()).await;
        world.revoke("User:deliver", &right).await;
        let mail = Mail::new();
        world.produce("admin", RecordType::Outbound, &[mail.outbound(&world)]).await;
        mails.push(mail);
        let said = deliver.refused(AT_ONCE * 2).await;
        expect_named(&said, "User:deliver", &right);
        world.grant("User:deliver", &right).await;
    }
    let deliver = world.start("deliver", "", &["deliver", "--channel", "email"]);
    let statuses = world.read_count(&world.topics.delivery_status(), mails.len()).await;
    deliver.stop().await;
    let found = counted(statuses.iter().map(|status| status["value"]["notification_id"].as_str().unwrap()));
    assert_eq!(found, mails.iter().map(|mail| (mail.id(), 1)).collect());
    for mail in &mails {
        let sent = mail.sent().await;
        // A call whose outcome could not be written is made again, under the same Message-ID.
        let ids = counted(sent.iter().map(|one| one["message_id"].as_str().unwrap()));
        assert!((1..=2).contains(&sent.len()) && ids.len() == 1, "{sent:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_said_at_once_by_every_command() {
    let Some(world) = World::new("password").await else { return };
    for (user, arguments) in commands() {
        let began = Instant::now();
        let mut role = world.start(user, "password=wrong", &arguments);
        let said = role.refused(AT_ONCE).await;
        let wanted = format!("refuses the login of User:{user}");
        assert!(said.contains(&wanted) && said.contains("sasl.password"), "{arguments:?}: {said}");
        assert!(!said.contains("wrong"), "{said}");
        println!("{arguments:?}: after {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_said_at_once_by_every_command() {
    let Some(world) = World::new("certificate").await else { return };
    let services = std::env::var("NOTILOG_SMTP_CA").map(PathBuf::from);
    let other =
        services.unwrap_or_else(|_| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".services/data/smtp/ca.pem"));
    assert!(other.exists(), "{} is another CA", other.display());
    for (user, arguments) in commands() {
        let mut role = world.start(user, &format!("ca={}", other.display()), &arguments);
        let said = role.refused(AT_ONCE).await;
        assert!(said.contains("is not trusted") && said.contains("ssl.ca.location"), "{arguments:?}: {said}");
    }
}

/// One command for each kind of client.
fn commands() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        ("router", vec!["router"]),
        ("deliver", vec!["deliver", "--channel", "email"]),
        ("cli", vec!["topics", "plan"]),
        ("cli", vec!["prefs", "get", "ada"]),
        ("cli", vec!["prefs", "erase", "ada", "--yes"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_the_right_says_which() {
    let Some(world) = World::new("command").await else { return };
    let ada =
        Right { operation: Operation::Read, resource: Resource::literal(Kind::Topic, world.topics.preferences()) };
    let said = world.expect(&world.run("cli", &["prefs", "get", "ada"]), 1);
    expect_named(&said, "User:cli", &ada);
    let said = world.expect(&world.run("cli", &["topics", "verify", "--acls", "--principal", "router=User:router"]), 1);
    assert!(said.contains("User:cli lacks rights on Kafka: Describe on the cluster"), "{said}");
    let said = world.expect(&world.run("cli", &["topics", "apply"]), 1);
    assert!(said.contains("User:cli lacks rights on Kafka: "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customers_topic_without_a_right_waits_for_it_and_stops_nobody() {
    let Some(world) = World::of("dtopic", Channel::Kafka).await else { return };
    world.grant_roles(&["deliver=User:deliver"]);
    let (open, closed) = (world.customers_topic("open").await, world.customers_topic("closed").await);
    let write = |topic: &str| Right::on(Kind::Topic, topic, Operation::Write);
    world.grant("User:deliver", &write(&open)).await;
    let mut deliver = world.start("deliver", "", &["deliver", "--channel", "kafka"]);
    deliver.logged("partitions assigned").await;
    let (ada, bob) = (unique(), unique());
    let to = |user: &str, topic: &str| {
        let mut item = Mail { user: user.to_owned(), address: topic.to_owned() }.outbound(&world);
        item["topic"] = json!(world.topics.outbound(Channel::Kafka, Class::Main));
        with_value(item, json!({"channel": "kafka", "category": "monitoring"}))
    };
    world.people_at("kafka", "monitoring", &[(&ada, &closed), (&bob, &open)]).await;
    world.produce("admin", RecordType::Outbound, &[to(&ada, &closed), to(&bob, &open)]).await;
    let statuses = world.read_count(&world.topics.delivery_status(), 2).await;
    let found = |user: &str| {
        let status = statuses.iter().find(|status| status["value"]["user_id"] == user).unwrap();
        ["state", "reason"].map(|field| status["value"][field].as_str().unwrap().to_owned())
    };
    assert_eq!(
        (found(&ada), found(&bob)),
        (["RETRYING", "bad_credentials"].map(str::to_owned), ["SENT", "accepted"].map(str::to_owned))
    );
    world.grant("User:deliver", &write(&closed)).await;
    let statuses = world.read_count(&world.topics.delivery_status(), 3).await;
    assert_eq!(statuses[2]["value"]["state"], json!("SENT"));
    assert_eq!(world.read_as("admin", &closed).await.len(), 1);
    deliver.stop().await;
}

/// An item whose value has these fields.
fn with_value(mut item: Value, fields: Value) -> Value {
    item["value"] = with(item["value"].take(), fields);
    item
}
