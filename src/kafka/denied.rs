//! What Kafka refuses, in words that say who, what, on what, and what to do: none of it passes by waiting.

use std::fmt;

use rdkafka::error::RDKafkaErrorCode;

use super::acl::{Kind, Operation, Pattern, Resource};
use super::client::LastError;
use crate::config::Kafka;

/// More commands than this are not printed: `notilog topics apply --acls` does them all.
const COMMANDS: usize = 3;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Wrong user, password or mechanism.
    #[error(
        "Kafka at {bootstrap} refuses the login of {principal}: {why}; check sasl.username, sasl.password and \
         sasl.mechanisms in [kafka.properties]"
    )]
    Login {
        /// The configured addresses.
        bootstrap: String,
        /// Who.
        principal: String,
        /// librdkafka's words.
        why: String,
    },
    /// The broker's certificate is not trusted.
    #[error(
        "the certificate of Kafka at {bootstrap} is not trusted: {why}; set ssl.ca.location in [kafka.properties] to \
         the CA that signed it, and use a host name that it carries"
    )]
    Certificate {
        /// The configured addresses.
        bootstrap: String,
        /// librdkafka's words.
        why: String,
    },
    /// A right on one of several topics is missing, and the broker did not say on which.
    #[error(
        "{principal} lacks {operation} on a topic; `notilog topics verify --acls`, run as an administrator, says on \
         which"
    )]
    SomeTopic {
        /// Who.
        principal: String,
        /// What may not be done.
        operation: Operation,
    },
    /// Rights that are missing.
    #[error("{}", rights_text(.principal, .lacking))]
    Rights {
        /// Who.
        principal: String,
        /// What.
        lacking: Vec<Right>,
    },
}

/// Something that may be done with something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// What may be done.
    pub operation: Operation,
    /// With what.
    pub resource: Resource,
}

impl Right {
    /// A right on the thing of this very name.
    pub fn on(kind: Kind, name: &str, operation: Operation) -> Self {
        Right { operation, resource: Resource::literal(kind, name) }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.operation, self.resource)
    }
}

impl Denied {
    /// One right is missing.
    pub fn right(kafka: &Kafka, right: Right) -> Self {
        Denied::lacks(&principal_of(kafka), right)
    }

    /// One right of this principal's is missing.
    pub fn lacks(principal: &str, right: Right) -> Self {
        Denied::Rights { principal: principal.to_owned(), lacking: vec![right] }
    }

    /// What librdkafka reported, if it is a refusal that waiting does not help against.
    pub fn from_report(kafka: &Kafka, last: &LastError) -> Option<Self> {
        if !last.is_refusal() {
            return None;
        }
        let (bootstrap, why) = (kafka.bootstrap_servers.clone(), cause(&last.reason).to_owned());
        Some(match last.code {
            RDKafkaErrorCode::SSL | RDKafkaErrorCode::BrokerTransportFailure => Denied::Certificate { bootstrap, why },
            _ => Denied::Login { bootstrap, principal: principal_of(kafka), why },
        })
    }
}

/// librdkafka's words without the connection's name before and the state after them.
fn cause(reason: &str) -> &str {
    let from = reason.find(": ").map_or(0, |at| at + 2);
    let to = reason.rfind(" (after ").filter(|to| *to > from).unwrap_or(reason.len());
    reason[from..to].trim()
}

/// Who this client is to the authorizer, as far as its configuration tells.
pub fn principal_of(kafka: &Kafka) -> String {
    let property = |name: &str| kafka.properties.get(name).map(|value| value.reveal().to_owned());
    match (property("sasl.username"), property("ssl.certificate.location").or(property("ssl.certificate.pem"))) {
        (Some(user), _) => format!("User:{user}"),
        (None, Some(_)) => "the subject of this client's certificate".to_owned(),
        (None, None) => "User:ANONYMOUS".to_owned(),
    }
}

fn rights_text(principal: &str, lacking: &[Right]) -> String {
    let rights: Vec<String> = lacking.iter().map(ToString::to_string).collect();
    let commands: Vec<String> = lacking.iter().take(COMMANDS).map(|right| command(principal, right)).collect();
    let more = if lacking.len() > COMMANDS { "; …" } else { "" };
    format!(
        "{principal} lacks rights on Kafka: {}. Grant them as an administrator with `notilog topics apply --acls`, \
         or: {}{more}",
        rights.join(", "),
        commands.join("; ")
    )
}

fn command(principal: &str, right: &Right) -> String {
    let Resource { kind, name, pattern } = &right.resource;
    let resource = match kind {
        Kind::Topic => format!("--topic '{name}'"),
        Kind::Group => format!("--group '{name}'"),
        Kind::TransactionalId => format!("--transactional-id '{name}'"),
        Kind::Cluster => "--cluster".to_owned(),
    };
    let prefixed = match pattern {
        Pattern::Prefixed => " --resource-pattern-type prefixed",
        Pattern::Literal => "",
    };
    format!("kafka-acls.sh --add --allow-principal '{principal}' --operation {} {resource}{prefixed}", right.operation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use rstest::rstest;

    fn kafka(properties: &[(&str, &str)]) -> Kafka {
        Kafka {
            bootstrap_servers: "kafka:9094".to_owned(),
            topic_prefix: String::new(),
            properties: properties.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect(),
        }
    }

    #[test]
    fn a_missing_right_is_named_with_who_what_and_the_command_that_grants_it() {
        let denied = Denied::right(
            &kafka(&[("sasl.username", "router")]),
            Right::on(Kind::Topic, "notify.decisions", Operation::Write),
        );
        insta::assert_snapshot!(denied.to_string(), @"User:router lacks rights on Kafka: Write on topic `notify.decisions`. Grant them as an administrator with `notilog topics apply --acls`, or: kafka-acls.sh --add --allow-principal 'User:router' --operation Write --topic 'notify.decisions'");
    }

    #[rstest]
    #[case(
        RDKafkaErrorCode::Authentication,
        "sasl_ssl://b:9094/bootstrap: SASL authentication error: Authentication failed (after 301ms in state AUTH_REQ)",
        "refuses the login of User:router: SASL authentication error: Authentication failed; check"
    )]
    #[case(
        RDKafkaErrorCode::SSL,
        "sasl_ssl://b:9094/bootstrap: SSL handshake failed: certificate verify failed (after 5ms in state SSL_HANDSHAKE)",
        "is not trusted: SSL handshake failed: certificate verify failed; set ssl.ca.location"
    )]
    fn a_report_that_waiting_does_not_help_against_is_a_refusal(
        #[case] code: RDKafkaErrorCode,
        #[case] reason: &str,
        #[case] said: &str,
    ) {
        let last = LastError { code, reason: reason.to_owned() };
        let denied = Denied::from_report(&kafka(&[("sasl.username", "router")]), &last).unwrap().to_string();
        assert!(denied.contains(said), "{denied}");
    }

    #[rstest]
    #[case(RDKafkaErrorCode::SSL, "b:9094: SSL handshake failed: Disconnected")]
    #[case(RDKafkaErrorCode::BrokerTransportFailure, "b:9094: Connect failed: Connection refused")]
    fn a_broker_that_is_away_is_no_refusal(#[case] code: RDKafkaErrorCode, #[case] reason: &str) {
        let last = LastError { code, reason: reason.to_owned() };
        assert_eq!(Denied::from_report(&kafka(&[]), &last), None);
    }
}
