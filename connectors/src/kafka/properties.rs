//! Client properties under `'kafka.…'`: an allow-list, and reasons for what is not on it.
//!
//! SQL text may come from people who must not run code on the machine, so a property that does is
//! refused, whatever its value. Certificates and keys may be named as files; the connector says
//! whether files may be read at all.

use fletching::Result;
use fletching::connector::Options;

use super::security;
use crate::spelling::nearest;

/// What the name of an option for the client begins with.
const PREFIX: &str = "kafka.";

/// Properties that may be set: tuning, and who we are to the broker, by values alone.
const ALLOWED: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "batch.num.messages",
    "batch.size",
    "broker.address.family",
    "broker.address.ttl",
    "check.crcs",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "compression.level",
    "connections.max.idle.ms",
    "delivery.timeout.ms",
    "enable.ssl.certificate.verification",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "isolation.level",
    "linger.ms",
    "max.in.flight.requests.per.connection",
    "max.partition.fetch.bytes",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.max.age.ms",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "session.timeout.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.ca.pem",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.sigalgs.list",
    "statistics.interval.ms",
    "sticky.partitioning.linger.ms",
    "transaction.timeout.ms",
];

/// Why a property is refused, and what to do in its place; the first that fits counts. A name that
/// ends with `*` stands for all that begin so.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "plugin.library.paths",
        "it would load code into this program",
        "leave it out",
    ),
    (
        "ssl.engine.*",
        "it would load code into this program",
        "leave it out",
    ),
    (
        "ssl.providers",
        "it would load code into this program",
        "leave it out",
    ),
    (
        "sasl.kerberos.kinit.cmd",
        "it would run a command on this machine",
        "use another mechanism, as SCRAM",
    ),
    (
        "sasl.kerberos.keytab",
        "it would read a file of this machine",
        "use another mechanism, as SCRAM",
    ),
    (
        "ssl.keystore.*",
        "it would read a file of this machine",
        "give 'kafka.ssl.certificate.pem' and 'kafka.ssl.key.pem'",
    ),
    (
        "ssl.crl.location",
        "it would read a file of this machine",
        "leave it out",
    ),
    (
        "sasl.oauthbearer.*",
        "it would have this program call other addresses",
        "use another mechanism, as SCRAM",
    ),
    (
        "bootstrap.servers",
        "it has an option of its own",
        "write 'bootstrap.servers' without 'kafka.'",
    ),
    (
        "metadata.broker.list",
        "it has an option of its own",
        "write 'bootstrap.servers' = 'host:port'",
    ),
    (
        "group.id",
        "it has an option of its own",
        "write 'group.id' without 'kafka.'",
    ),
    (
        "auto.offset.reset",
        "it has an option of its own",
        "write start = 'earliest', 'latest' or another place",
    ),
    (
        "compression.*",
        "it has an option of its own",
        "write compression = 'zstd' or another one",
    ),
    (
        "partitioner",
        "it has an option of its own",
        "write partitioner without 'kafka.'",
    ),
    (
        "transactional.id",
        "it is set from the pipeline's name",
        "write delivery = 'exactly-once'",
    ),
    (
        "enable.*",
        "it would undo what is promised of commits",
        "leave it out",
    ),
    (
        "auto.commit.*",
        "it would undo what is promised of commits",
        "leave it out",
    ),
];

/// Reads the properties for the client out of a relation's options.
pub(super) fn read(options: &Options) -> Result<Vec<(String, String)>> {
    let mut properties = Vec::new();
    for (option, value) in options.iter() {
        let Some(name) = option.strip_prefix(PREFIX) else {
            continue;
        };
        if security::is_file(name) {
            properties.push(security::read_file(options, name, value)?);
            continue;
        }
        if ALLOWED.contains(&name) {
            properties.push((name.to_owned(), value.to_owned()));
            continue;
        }
        if let Some((_, reason, hint)) = REFUSED.iter().find(|(refused, _, _)| is_meant(refused, name)) {
            return Err(options.bad_value(
                option,
                &format!("is refused: {reason}"),
                Some((*hint).to_owned()),
            ));
        }
        let hint = nearest(name, ALLOWED.iter().copied())
            .map(|near| format!("did you mean '{PREFIX}{near}'?"))
            .unwrap_or_else(|| "leave it out".to_owned());
        let message = "is not one of the client properties that may be set";
        return Err(options.bad_value(option, message, Some(hint)));
    }
    security::settle(options, &mut properties)?;
    Ok(properties)
}

fn is_meant(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loads_code_runs_commands_or_reads_files_is_refused() {
        for (name, reason) in [
            ("kafka.plugin.library.paths", "load code"),
            ("kafka.ssl.engine.location", "load code"),
            ("kafka.sasl.kerberos.kinit.cmd", "run a command"),
            ("kafka.ssl.keystore.location", "read a file"),
            ("kafka.enable.auto.commit", "commits"),
        ] {
            let options = Options::new("stream s").with(name, "/tmp/x");
            let error = read(&options).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn what_is_allowed_is_handed_on_and_what_is_unknown_is_named() {
        let options = Options::new("stream s").with("kafka.fetch.min.bytes", "1");
        assert_eq!(read(&options).unwrap(), [("fetch.min.bytes".into(), "1".into())]);
        let options = Options::new("stream s").with("kafka.fetch.min.byte", "1");
        let error = read(&options).unwrap_err().to_string();
        assert!(
            error.ends_with("did you mean 'kafka.fetch.min.bytes'?"),
            "{error}"
        );
    }

    #[test]
    fn nothing_is_both_allowed_and_refused_by_name() {
        for (refused, _, _) in REFUSED {
            assert!(!ALLOWED.contains(refused), "{refused}");
        }
    }
}
