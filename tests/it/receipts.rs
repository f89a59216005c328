//! Receipts end to end: what comes in by HTTP, by bounce mail or as a record becomes one status, whatever order it comes
//! in and whatever is killed; read with a client that is not ours.

use std::path::Path;
use std::time::{Duration, Instant};

use notilog::wire::RecordType;
use serde_json::{Value, json};

use crate::delivery::{FAST, Someone, deliver, person_at, states, statuses};
use crate::support::{PATIENCE, World, now};

const RECEIPTS: &str = r#"receipts.enabled = true
receipts.tiers = ["1s", "3s"]
receipts.patience = "2m"
suppressions.key = "a secret of these tests"
"#;

async fn world(name: &str, more: &str) -> World {
    World::new(name, &format!("{FAST}{RECEIPTS}{more}")).await
}

/// A receipt as a record of the inbox.
fn receipt(world: &World, message_id: &str, state: &str) -> Value {
    json!({
        "topic": world.topics.receipts_inbox(), "key": format!("smtp/{message_id}"),
        "value": {
            "provider": "smtp", "message_id": message_id, "state": state, "permanent": false, "code": null,
            "occurred_at": null, "received_at": now(), "source": "test",
        },
    })
}

/// The Message-ID that a notification's mail has, without its brackets.
fn message_id(someone: &Someone, event: &str) -> String {
    format!("{}@example.com", someone.id(event))
}

/// A port that nobody listens at.
async fn free_port() -> u16 {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_relay_tells_that_a_mail_arrived_and_a_complaint_suppresses() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let port = free_port().await;
    let more = format!(
        "receipts.listen = \"127.0.0.1:{port}\"\n\
         receipts.hooks.relay = {{ kind = \"mailgun\", provider = \"smtp\", secret = \"signing key\" }}\n"
    );
    let (world, ada) = (world("hook", &more).await, Someone::new());
    world.preferences(vec![person_at(&ada, &ada.address)]).await;
    let (delivery, receipts) = (deliver(&world).await, world.receipts().await);
    ada.send(&world, ada.outbound("e-1")).await;
    statuses(&world, &ada.id("e-1"), 1).await;

    let post = async |event: &str, key: &[u8]| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
        let signed_at = (now() / 1_000).to_string();
        mac.update(format!("{signed_at}token").as_bytes());
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let body = json!({
            "signature": {"timestamp": signed_at, "token": "token", "signature": hex},
            "event-data": {"event": event, "message": {"headers": {"message-id": message_id(&ada, "e-1")}}},
        });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://127.0.0.1:{port}/receipts/relay");
        client.post(url).body(body.to_string()).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("complained", b"not the key").await, 403);
    // Brought twice, as providers do.
    for _ in 0..2 {
        assert_eq!(post("delivered", b"signing key").await, 204);
    }
    let told = statuses(&world, &ada.id("e-1"), 2).await;
    assert_eq!(states(&told), ["SENT", "DELIVERED"]);
    assert_eq!((&told[1]["reason"], &told[1]["provider"]), (&json!("arrived"), &json!("smtp")));
    assert_eq!((&told[1]["event_id"], &told[1]["attempt"]), (&json!("e-1"), &json!(1)));

    assert_eq!(post("complained", b"signing key").await, 204);
    let told = statuses(&world, &ada.id("e-1"), 3).await;
    assert_eq!(states(&told), ["SENT", "DELIVERED", "COMPLAINED"]);
    let entries = world.read_count(world.topics.suppressions(), 1).await;
    assert_eq!(
        (&entries[0]["value"]["reason"], &entries[0]["value"]["source"]),
        (&json!("complaint"), &json!("receipts/smtp"))
    );
    receipts.stop().await.unwrap();
    delivery.stop().await.unwrap();
    assert_eq!(world.count(&[world.topics.delivery_status()]).await, 3, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bounce_that_comes_back_by_mail_suppresses_the_address() {
    let maildir = tempfile::tempdir().unwrap();
    for folder in ["new", "cur", "tmp"] {
        std::fs::create_dir(maildir.path().join(folder)).unwrap();
    }
    let folder = maildir.path().display();
    let more =
        format!("receipts.mailboxes.bounces = {{ folder = \"{folder}\", provider = \"smtp\", poll = \"200ms\" }}\n");
    let (world, ada) = (world("mailbox", &more).await, Someone::new());
    world.preferences(vec![person_at(&ada, &ada.address)]).await;
    let (delivery, receipts) = (deliver(&world).await, world.receipts().await);
    ada.send(&world, ada.outbound("e-1")).await;
    statuses(&world, &ada.id("e-1"), 1).await;
    put(maildir.path(), "1.other", "From: bob@example.org\r\nSubject: Re: Shipped\r\n\r\nThanks!\r\n");
    put(maildir.path(), "2.report", &report(&message_id(&ada, "e-1"), "5.1.1"));

    let told = statuses(&world, &ada.id("e-1"), 2).await;
    assert_eq!(states(&told), ["SENT", "BOUNCED"]);
    assert_eq!((&told[1]["reason"], &told[1]["code"]), (&json!("bounced"), &json!("550 5.1.1")));
    let entries = world.read_count(world.topics.suppressions(), 1).await;
    assert_eq!(entries[0]["value"]["reason"], "hard_bounce");
    assert_eq!(entries[0]["value"]["notification_id"], json!(ada.id("e-1")));
    let mut read: Vec<String> = names(&maildir.path().join("cur"));
    read.sort();
    assert_eq!(read, ["1.other:2,S", "2.report:2,S"]);

    // What delivery wrote under the same secret is what stands against the address now.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let old = crate::support::with(ada.outbound("e-2"), json!({"decided_at": now() - 120_000}));
    ada.send(&world, old).await;
    let cancelled = statuses(&world, &ada.id("e-2"), 1).await;
    assert_eq!((&cancelled[0]["state"], &cancelled[0]["reason"]), (&json!("CANCELLED"), &json!("address_suppressed")));
    receipts.stop().await.unwrap();
    delivery.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_comes_before_its_message_waits_for_it_also_through_a_restart() {
    let (world, ada) = (world("early", "").await, Someone::new());
    let first = world.receipts().await;
    world.produce(RecordType::Receipt, vec![receipt(&world, &message_id(&ada, "e-1"), "DELIVERED")]).await;
    world.read_until(&[world.topics.receipts_tier(Duration::from_secs(1))], |waiting| !waiting.is_empty()).await;
    first.stop().await.unwrap();

    let (delivery, second) = (deliver(&world).await, world.receipts().await);
    ada.send(&world, ada.outbound("e-1")).await;
    let told = statuses(&world, &ada.id("e-1"), 2).await;
    assert_eq!(states(&told), ["SENT", "DELIVERED"]);
    second.stop().await.unwrap();
    delivery.stop().await.unwrap();
    assert_eq!(world.count(&[world.topics.dlq_receipts()]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_sent_and_what_is_no_receipt_are_dead_letters_and_stop_nobody() {
    let (world, ada) = (world("strange", "").await, Someone::new());
    let world = world.with_config(|config| config.receipts.patience = notilog::config::Delay(Duration::from_secs(2)));
    let (delivery, receipts) = (deliver(&world).await, world.receipts().await);
    ada.send(&world, ada.outbound("e-1")).await;
    statuses(&world, &ada.id("e-1"), 1).await;
    let garbled = json!({"topic": world.topics.receipts_inbox(), "key": "smtp/x", "raw": "6e6f7065"});
    let items = vec![
        garbled,
        receipt(&world, "nobody@example.com", "BOUNCED"),
        receipt(&world, &message_id(&ada, "e-1"), "DELIVERED"),
    ];
    world.produce(RecordType::Receipt, items).await;
    assert_eq!(states(&statuses(&world, &ada.id("e-1"), 2).await), ["SENT", "DELIVERED"]);
    let letters = world.read_count(world.topics.dlq_receipts(), 2).await;
    receipts.stop().await.unwrap();
    delivery.stop().await.unwrap();
    let mut reasons: Vec<&str> =
        letters.iter().map(|letter| letter["headers"]["notify-reason"].as_str().unwrap()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["not_a_receipt", "unknown_message"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_killed_in_the_middle_tell_each_thing_once() {
    const PEOPLE: usize = 200;
    let world = world("receipts-kill", "").await;
    let people: Vec<Someone> = (0..PEOPLE).map(|_| Someone::new()).collect();
    let delivery = deliver(&world).await;
    let items = people.iter().map(|someone| someone.item(&world, someone.outbound("e-1"))).collect();
    world.produce(RecordType::Outbound, items).await;
    world.read_count(world.topics.delivery_status(), PEOPLE).await;
    delivery.stop().await.unwrap();

    let arguments = ["receipts", "--set", "receipts.commit_interval=20ms"];
    let mut seed = crate::kill::seed();
    for (round, part) in people.chunks(PEOPLE / 4).enumerate() {
        let program = world.program(&arguments);
        world.wait_for_log("partitions assigned", round + 1).await;
        // Each of them twice, and what came back after it had arrived.
        let of = |someone: &Someone| {
            ["DELIVERED", "DELIVERED", "BOUNCED"].map(|state| receipt(&world, &message_id(someone, "e-1"), state))
        };
        let load = world.produce(RecordType::Receipt, part.iter().flat_map(of).collect());
        let kill = async {
            world.wait_for_end_to_move(&world.topics.delivery_status()).await;
            tokio::time::sleep(Duration::from_millis(seed.between(0, 60))).await;
            program.kill();
        };
        tokio::join!(load, kill);
    }
    let program = world.program(&arguments);
    let deadline = Instant::now() + PATIENCE * 2;
    let topic = [world.topics.delivery_status()];
    while world.count(&topic).await < PEOPLE * 3 {
        assert!(Instant::now() < deadline, "{}", world.log());
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    program.kill();
    let all = world.read(&topic).await;
    for someone in &people {
        let mine: Vec<&str> = all
            .iter()
            .filter(|record| record["value"]["notification_id"] == json!(someone.id("e-1")))
            .map(|record| record["value"]["state"].as_str().unwrap())
            .collect();
        assert_eq!(mine, ["SENT", "DELIVERED", "BOUNCED"], "{}", someone.id("e-1"));
    }
    assert_eq!(all.len(), PEOPLE * 3, "nothing lost, nothing double");
}

/// Delivers a mail into a Maildir as servers do: written elsewhere, then moved.
fn put(maildir: &Path, name: &str, mail: &str) {
    let tmp = maildir.join("tmp").join(name);
    std::fs::write(&tmp, mail).unwrap();
    std::fs::rename(tmp, maildir.join("new").join(name)).unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A delivery report as Postfix writes it.
fn report(message_id: &str, status: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.example.org\r\nTo: shop@example.com\r\nSubject: Undelivered Mail\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.org\r\n\r\n\
         Final-Recipient: rfc822; ada@example.org\r\nAction: failed\r\nStatus: {status}\r\n\
         Diagnostic-Code: smtp; 550 {status} no such user\r\n\r\n\
         --b\r\nContent-Type: message/rfc822\r\n\r\nFrom: shop@example.com\r\nMessage-ID: <{message_id}>\r\n\r\nHello\r\n--b--\r\n"
    )
}
