//! TLS and logins: certificates from files, properties that belong together, and what a refusal of
//! the broker's means.

use std::fs;
use std::path::Path;

use fletching::connector::Options;
use fletching::{Error, Result};
use rdkafka::error::RDKafkaErrorCode;

/// Properties that name a file, the property that takes what is in it, and what that begins with.
///
/// The files are read here and not by the client, which would not say which of them is amiss.
const FILES: &[(&str, &str, &str)] = &[
    ("ssl.ca.location", "ssl.ca.pem", "CERTIFICATE-----"),
    (
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "CERTIFICATE-----",
    ),
    ("ssl.key.location", "ssl.key.pem", "PRIVATE KEY-----"),
];

/// A file of certificates is no larger; those that systems come with have a quarter of that.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Has the client look for the system's authorities, which it would not do by itself: the OpenSSL
/// it is built with knows of no system.
const PROBE: &str = "probe";

/// The mechanisms that are built in and say who we are.
const MECHANISMS: &str = "'PLAIN', 'SCRAM-SHA-256' or 'SCRAM-SHA-512'";

/// Says whether a property names a file that is read.
pub(super) fn is_file(property: &str) -> bool {
    FILES.iter().any(|(location, _, _)| *location == property)
}

/// Reads an option that names a file; returns the property that takes what is in it.
pub(super) fn read_file(options: &Options, property: &str, path: &str) -> Result<(String, String)> {
    let option = format!("kafka.{property}");
    let Some((_, pem, begin)) = FILES.iter().find(|(location, _, _)| *location == property) else {
        return Err(Error::internal(format!("{property} names no file")));
    };
    if property == "ssl.ca.location" && path == PROBE {
        return Ok((property.to_owned(), PROBE.to_owned()));
    }
    let other = format!("kafka.{pem}");
    if options.text(&other).is_some() {
        let hint = format!("leave out one of '{option}' and '{other}'");
        return Err(options.bad_value(&option, &format!("there is '{other}' as well"), Some(hint)));
    }
    let place = Path::new(path);
    let about = fs::metadata(place).map_err(|error| Error::file(place, &error))?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        let hint = "name a file of certificates or keys in PEM".to_owned();
        return Err(options.bad_value(&option, "is no file of at most 1 MiB", Some(hint)));
    }
    let text = fs::read_to_string(place).map_err(|error| Error::file(place, &error))?;
    if !text.contains("-----BEGIN ") || !text.contains(begin) {
        let what = begin.trim_end_matches('-').to_lowercase();
        let message = format!("the file {path} holds no {what} in PEM");
        let hint = "PEM is text that begins with '-----BEGIN'; OpenSSL makes it of other forms".to_owned();
        return Err(options.bad_value(&option, &message, Some(hint)));
    }
    Ok(((*pem).to_owned(), text))
}

/// Checks that the properties make sense together, and adds what the client needs besides.
///
/// # Errors
/// Fails where TLS or a login is described but not asked for: the connection would go without.
pub(super) fn settle(options: &Options, properties: &mut Vec<(String, String)>) -> Result<()> {
    const PROTOCOL: &str = "kafka.security.protocol";
    let find = |name: &str| options.text(name).map(str::trim).filter(|text| !text.is_empty());
    let protocol = find(PROTOCOL).unwrap_or("plaintext").to_ascii_lowercase();
    let (has_tls, has_login) = (protocol.ends_with("ssl"), protocol.starts_with("sasl"));
    let has = |start: &str| properties.iter().any(|(name, _)| name.starts_with(start));
    let wanted = match (has("ssl."), has("sasl.")) {
        (true, true) if !has_tls || !has_login => Some("sasl_ssl"),
        (true, false) if !has_tls => Some("ssl"),
        (false, true) if !has_login => Some("sasl_ssl"),
        _ => None,
    };
    if let Some(wanted) = wanted {
        let what = if has("ssl.") && !has_tls {
            "'kafka.ssl.…'"
        } else {
            "'kafka.sasl.…'"
        };
        let message = format!("is {protocol}, by which {what} counts for nothing");
        let hint = format!("set '{PROTOCOL}' = '{wanted}'");
        return Err(match options.text(PROTOCOL) {
            Some(_) => options.bad_value(PROTOCOL, &message, Some(hint)),
            None => options.bad_value(PROTOCOL, &format!("is not set and {message}"), Some(hint)),
        });
    }
    if !has_tls && !has_login {
        return Ok(());
    }
    if !cfg!(feature = "kafka-tls") && protocol != "sasl_plaintext" {
        let hint = "build with the cargo feature 'kafka-tls'".to_owned();
        return Err(options.bad_value(PROTOCOL, "this build has no TLS", Some(hint)));
    }
    if has_login
        && find("kafka.sasl.mechanism")
            .or(find("kafka.sasl.mechanisms"))
            .is_none()
    {
        let hint = format!("set it to {MECHANISMS}");
        return Err(options.bad_value("kafka.sasl.mechanism", "is not set", Some(hint)));
    }
    if has_tls && !has("ssl.ca.") {
        properties.push(("ssl.ca.location".to_owned(), PROBE.to_owned()));
    }
    Ok(())
}

/// Says what can be done where the broker, or this side, refuses the connection for good; `None`
/// where it may succeed when it is tried again.
pub(super) fn advice(code: Option<RDKafkaErrorCode>, told: &str) -> Option<&'static str> {
    use RDKafkaErrorCode as Code;
    let has = |words: &[&str]| words.iter().any(|word| told.contains(word));
    if has(&["certificate verify failed", "Failed to verify broker certificate"]) {
        return Some(
            "the broker's certificate is of no authority known here, has expired, or is for another host: set \
             'kafka.ssl.ca.location' or 'kafka.ssl.ca.pem' to the certificate of its authority, and name the \
             host in 'bootstrap.servers' as its certificate does",
        );
    }
    if has(&[
        "alert certificate",
        "alert bad certificate",
        "alert unknown ca",
        "alert handshake failure",
        "client SSL authentication might be required",
    ]) {
        return Some(
            "the broker asks for a certificate that it knows: set 'kafka.ssl.certificate.location' and \
             'kafka.ssl.key.location', or the two with .pem",
        );
    }
    let is_login = matches!(
        code,
        Some(Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism)
    );
    // A broker that goes away in the midst of a login has not refused it.
    if is_login
        && !has(&[
            "Local: Broker transport failure",
            "Local: Timed out",
            "Disconnected",
        ])
    {
        return Some("check 'kafka.sasl.username', 'kafka.sasl.password' and 'kafka.sasl.mechanism'");
    }
    None
}

/// Says what to check where a broker does not answer, by what was heard last.
pub(super) fn checks(told: &str) -> &'static str {
    // Where a connection is refused, the reason is heard; where one is closed at once, only that.
    // On a busy machine the closing may be heard before the broker's own words.
    let signs = [
        "brokers are down",
        "PLAINTEXT broker listener",
        "SSL connection closed by peer",
    ];
    let is_closed = signs.iter().any(|sign| told.contains(sign));
    if is_closed || told.contains("security.protocol") {
        "the connection is closed at once: check 'kafka.security.protocol', which must be that of the port in \
         'bootstrap.servers', and that the broker runs"
    } else {
        "check 'bootstrap.servers', and that the broker runs"
    }
}

#[cfg(test)]
mod tests {
    use super::super::properties::read;
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> Options {
        let made = Options::new("stream s");
        pairs
            .iter()
            .fold(made, |options, (name, text)| options.with(name, *text))
    }

    #[test]
    fn what_is_described_must_be_asked_for() {
        for (pairs, expected) in [
            (vec![("kafka.ssl.ca.pem", "x")], "= 'ssl'"),
            (vec![("kafka.sasl.password", "hush")], "= 'sasl_ssl'"),
            (
                vec![
                    ("kafka.sasl.password", "hush"),
                    ("kafka.security.protocol", "SSL"),
                ],
                "= 'sasl_ssl'",
            ),
            (
                vec![
                    ("kafka.sasl.username", "u"),
                    ("kafka.security.protocol", "sasl_plaintext"),
                ],
                "'SCRAM-SHA-256'",
            ),
        ] {
            let error = read(&options(&pairs)).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn authorities_are_those_of_the_system_unless_they_are_given() {
        let tls = ("kafka.security.protocol", "ssl");
        let probe = ("ssl.ca.location".to_owned(), "probe".to_owned());
        assert!(read(&options(&[tls])).unwrap().contains(&probe));
        let given = read(&options(&[tls, ("kafka.ssl.ca.pem", "x")])).unwrap();
        assert!(!given.contains(&probe));
    }

    #[test]
    fn a_file_that_is_no_certificate_is_refused_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwd").display().to_string();
        fs::write(&path, "root:x:0:0").unwrap();
        let tls = ("kafka.security.protocol", "ssl");
        let location = ("kafka.ssl.ca.location", path.as_str());
        let error = read(&options(&[tls, location])).unwrap_err().to_string();
        assert!(
            error.contains("holds no certificate in PEM") && !error.contains("root:x"),
            "{error}"
        );
        let both = read(&options(&[tls, location, ("kafka.ssl.ca.pem", "x")]));
        assert!(both.unwrap_err().to_string().contains("leave out one of"));
        let lacking = read(&options(&[tls, ("kafka.ssl.key.location", "/nowhere/key")])).unwrap_err();
        assert!(lacking.to_string().contains("/nowhere/key"), "{lacking}");
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        let login = Some(RDKafkaErrorCode::Authentication);
        assert!(advice(login, "SASL authentication error: Authentication failed").is_some());
        assert!(advice(login, "SASL handshake failed: Local: Broker transport failure").is_none());
        let tls = Some(RDKafkaErrorCode::SSL);
        assert!(advice(tls, "error:0A000086:SSL routines::certificate verify failed").is_some());
        assert!(advice(tls, "unexpected eof while reading").is_none());
    }
}
