//! How a schema registry's certificate is judged: by an authority of one's own, or by the system's.

use std::fs;
use std::path::Path;

use fletching::connector::Options;
use fletching::{Error, Result};

/// The options that name an authority.
const PEM: &str = "schema.registry.ssl.ca.pem";
const LOCATION: &str = "schema.registry.ssl.ca.location";

/// Returns the certificates, in PEM, of the authorities that the options name.
pub(super) fn authorities(options: &Options) -> Result<Option<String>> {
    match (options.text(PEM), options.text(LOCATION)) {
        (Some(_), Some(_)) => {
            let hint = format!("leave out one of {PEM} and {LOCATION}");
            Err(options.bad_value(LOCATION, &format!("there is {PEM} as well"), Some(hint)))
        }
        (Some(text), None) => Ok(Some(text.to_owned())),
        (None, Some(path)) => {
            let read = fs::read_to_string(path);
            Ok(Some(read.map_err(|error| Error::file(Path::new(path), &error))?))
        }
        (None, None) => Ok(None),
    }
}

/// Makes the settings of TLS.
///
/// # Errors
/// Fails where there is no certificate among those given.
#[cfg(feature = "kafka-tls")]
pub(super) fn settings(options: &Options) -> Result<ureq::tls::TlsConfig> {
    use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

    /// Where systems keep the certificates of their authorities; the first that is there counts.
    const SYSTEM: &[&str] = &[
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    let certificates = |text: &str| -> Vec<Certificate<'static>> {
        let items = parse_pem(text.as_bytes()).filter_map(std::result::Result::ok);
        items
            .filter_map(|item| match item {
                PemItem::Certificate(certificate) => Some(certificate),
                _ => None,
            })
            .collect()
    };
    let roots = match authorities(options)? {
        Some(text) => {
            let found = certificates(&text);
            if found.is_empty() {
                let name = if options.text(PEM).is_some() {
                    PEM
                } else {
                    LOCATION
                };
                let hint = "PEM is text that begins with '-----BEGIN CERTIFICATE-----'".to_owned();
                return Err(options.bad_value(name, "holds no certificate in PEM", Some(hint)));
            }
            RootCerts::new_with_certs(&found)
        }
        None => {
            let mut texts = SYSTEM.iter().filter_map(|path| fs::read_to_string(path).ok());
            match texts.next().map(|text| certificates(&text)) {
                Some(found) if !found.is_empty() => RootCerts::new_with_certs(&found),
                // A system without any, as in a bare container: those of Mozilla, built in.
                _ => RootCerts::WebPki,
            }
        }
    };
    Ok(TlsConfig::builder().root_certs(roots).build())
}

/// Says whether an error is that of a certificate: trying again is of no use.
pub(super) fn is_certificate(error: &str) -> bool {
    error.contains("certificate") || error.contains("UnknownIssuer")
}
