//! A broker's listeners with TLS and logins: certificates, users and settings.

use std::path::Path;

use crate::tls::Certificates;

/// A user of the secured listeners, by SCRAM and by PLAIN, and the password.
pub const USER: (&str, &str) = ("alice", "alice-secret");

/// A listener beside the one in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// TLS; clients need no certificate.
    Tls,
    /// TLS; clients need a certificate.
    Mutual,
    /// TLS and a login.
    TlsLogin,
    /// A login in the clear.
    Login,
}

/// All of them, in the order of their ports.
const LISTENERS: [(Listener, &str, &str); 4] = [
    (Listener::Tls, "TLS", "SSL"),
    (Listener::Mutual, "MUTUAL", "SSL"),
    (Listener::TlsLogin, "TLSLOGIN", "SASL_SSL"),
    (Listener::Login, "LOGIN", "SASL_PLAINTEXT"),
];

/// What a secured broker has besides.
#[derive(Debug)]
pub(super) struct Secured {
    pub(super) certificates: Certificates,
    ports: [u16; 4],
}

impl Secured {
    pub(super) fn make(folder: &Path, ports: [u16; 4]) -> Result<Self, String> {
        Ok(Self {
            certificates: Certificates::make(&folder.join("certificates"))?,
            ports,
        })
    }

    /// Returns where clients find a listener.
    pub(super) fn address(&self, listener: Listener) -> String {
        let mut all = LISTENERS.iter().zip(self.ports);
        let found = all.find(|((other, _, _), _)| *other == listener);
        found.map_or_else(String::new, |(_, port)| format!("127.0.0.1:{port}"))
    }

    /// Lists the listeners, as in `,TLS://127.0.0.1:9093`.
    pub(super) fn listeners(&self) -> String {
        let all = LISTENERS.iter().zip(self.ports);
        all.map(|((_, name, _), port)| format!(",{name}://127.0.0.1:{port}"))
            .collect()
    }

    /// Lists their protocols, as in `,TLS:SSL`.
    pub(super) fn protocols() -> String {
        let all = LISTENERS.iter();
        all.map(|(_, name, protocol)| format!(",{name}:{protocol}"))
            .collect()
    }

    /// Returns the lines to add to the broker's settings.
    pub(super) fn settings(&self) -> String {
        // One file has both the key and the certificates.
        let pair = self.certificates.path("broker-pair.pem");
        let both = self.certificates.text("broker.key") + &self.certificates.text("broker.pem");
        std::fs::write(&pair, both).expect("the folder is there");
        let (name, password) = USER;
        let mut lines = format!(
            "ssl.keystore.type=PEM\n\
             ssl.keystore.location={pair}\n\
             ssl.truststore.type=PEM\n\
             ssl.truststore.location={}\n\
             listener.name.mutual.ssl.client.auth=required\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n",
            self.certificates.path("ca.pem"),
        );
        const SECURITY: &str = "org.apache.kafka.common.security";
        for listener in ["tlslogin", "login"] {
            let at = format!("listener.name.{listener}");
            lines += &format!(
                "{at}.plain.sasl.jaas.config={SECURITY}.plain.PlainLoginModule required \
                 user_{name}=\"{password}\";\n\
                 {at}.scram-sha-256.sasl.jaas.config={SECURITY}.scram.ScramLoginModule required;\n\
                 {at}.scram-sha-512.sasl.jaas.config={SECURITY}.scram.ScramLoginModule required;\n"
            );
        }
        lines
    }

    /// Returns what makes the users when the broker's storage is made.
    pub(super) fn users() -> Vec<String> {
        let (name, password) = USER;
        let user = |mechanism: &str| {
            [
                "--add-scram".to_owned(),
                format!("{mechanism}=[name={name},password={password}]"),
            ]
        };
        [user("SCRAM-SHA-256"), user("SCRAM-SHA-512")].concat()
    }
}
