//! `[listen]` and `public_url`: where we are reached, and by whom on whose behalf.

use super::Check;
use crate::config::{Ops, Options, TlsFiles, raw};
use crate::listener::forwarded::{ForwardedHeader, TrustedProxies};
use portcullis_oauth::issuer::{InvalidIssuer, Issuer};
use std::net::SocketAddr;

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// Not 9090: where Prometheus is, that is Prometheus.
const DEFAULT_OPS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);

impl Check<'_> {
    pub(super) fn listen(&mut self, written: Option<String>, options: &Options) -> Option<SocketAddr> {
        let key = if options.listen.is_some() { "--listen" } else { "listen.address" };
        let text = options.listen.clone().or(written).unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
        let Ok(address) = text.parse::<SocketAddr>() else {
            self.problem(
                key,
                format!("{text:?} is not an IP address with a port"),
                format!("write, for example, {DEFAULT_LISTEN:?} or \"0.0.0.0:8080\""),
            );
            return None;
        };
        if options.demo && !address.ip().is_loopback() {
            self.problem(
                key,
                format!("the demo listens on loopback only, not on {address}"),
                format!("its passwords lie in a file; use {DEFAULT_LISTEN:?}, or serve without --demo"),
            );
            return None;
        }
        Some(address)
    }

    /// DEF-02: beyond loopback everything is https.
    pub(super) fn issuer(
        &mut self,
        written: Option<String>,
        (listen, has_tls): (Option<SocketAddr>, bool),
        options: &Options,
    ) -> Option<Issuer> {
        let Some(text) = written else {
            return self.derived_issuer(listen?, has_tls);
        };
        let issuer = match text.parse::<Issuer>() {
            Ok(issuer) => issuer,
            Err(error) => {
                let hint = match error {
                    InvalidIssuer::NotAUrl | InvalidIssuer::NotHttps => {
                        "write, for example, \"https://mcp.example.com\"".to_owned()
                    }
                    InvalidIssuer::NotCanonical => {
                        format!("write it as \"{}\"", text.trim_end_matches('/').to_ascii_lowercase())
                    }
                };
                self.problem("public_url", format!("{text:?}: {error}"), hint);
                return None;
            }
        };
        if listen.is_some_and(|address| !address.ip().is_loopback()) && !issuer.is_https() {
            self.problem(
                "public_url",
                "others can reach the listen address, so public_url must be https",
                "put a TLS proxy in front and write its address, or listen on 127.0.0.1",
            );
            return None;
        }
        if has_tls && !issuer.is_https() {
            self.problem(
                "public_url",
                "listen.tls serves https, so public_url must be https",
                "write it with https://",
            );
            return None;
        }
        if options.demo && (issuer.is_https() || !issuer.path().is_empty()) {
            self.problem(
                "public_url",
                "the demo is served at its listen address only",
                "leave public_url out, or serve without --demo",
            );
            return None;
        }
        Some(issuer)
    }

    fn derived_issuer(&mut self, listen: SocketAddr, has_tls: bool) -> Option<Issuer> {
        if !listen.ip().is_loopback() {
            self.problem(
                "public_url",
                format!("listening on {listen}, beyond this machine, needs a public https address"),
                "add public_url = \"https://mcp.example.com\", or listen on 127.0.0.1",
            );
            return None;
        }
        if listen.port() == 0 {
            self.problem("listen.address", "port 0 needs public_url", "choose a port, or add public_url");
            return None;
        }
        let (scheme, default_port) = if has_tls { ("https", 443) } else { ("http", 80) };
        // The default port is not written in an issuer; everything else about a socket address is canonical already.
        let text = if listen.port() == default_port {
            format!("{scheme}://{}", host(listen))
        } else {
            format!("{scheme}://{listen}")
        };
        text.parse().ok()
    }

    pub(super) fn tls(&mut self, written: raw::ListenTls, options: &Options) -> Option<TlsFiles> {
        let files = match (written.cert, written.key) {
            (None, None) => return None,
            (Some(cert), Some(key)) => TlsFiles { cert, key },
            (cert, _) => {
                let lacks = if cert.is_some() { "key" } else { "cert" };
                self.problem(
                    "listen.tls",
                    format!("{lacks} is missing"),
                    "write both: tls = { cert = \"FILE\", key = \"FILE\" }",
                );
                return None;
            }
        };
        if options.demo {
            self.problem(
                "listen.tls",
                "the demo is served over plain http on loopback",
                "leave tls out, or serve without --demo",
            );
        }
        Some(files)
    }

    pub(super) fn ops(&mut self, written: Option<String>) -> Ops {
        match written.as_deref() {
            None => Ops::Usual(DEFAULT_OPS),
            Some("off") => Ops::Off,
            Some(text) => text.parse().map_or_else(
                |_| {
                    let hint = format!("write, for example, \"{DEFAULT_OPS}\", or \"off\"");
                    self.problem("listen.ops", format!("{text:?} is not an IP address with a port"), hint);
                    Ops::Off
                },
                Ops::At,
            ),
        }
    }

    pub(super) fn proxies(&mut self, written: &raw::Listen) -> TrustedProxies {
        let header = match written.forwarded_header.as_deref() {
            None => ForwardedHeader::XForwardedFor,
            Some(name) if name.eq_ignore_ascii_case("x-forwarded-for") => ForwardedHeader::XForwardedFor,
            Some(name) if name.eq_ignore_ascii_case("forwarded") => ForwardedHeader::Forwarded,
            Some(name) => {
                let says = format!("{name:?} is not a header that says an address");
                self.problem("listen.forwarded_header", says, "write \"X-Forwarded-For\" or \"Forwarded\"");
                ForwardedHeader::XForwardedFor
            }
        };
        if written.forwarded_header.is_some() && written.trusted_proxies.is_empty() {
            let hint = "add listen.trusted_proxies, or leave it out";
            self.problem("listen.forwarded_header", "without trusted proxies no header is believed", hint);
        }
        let mut networks = Vec::new();
        for text in &written.trusted_proxies {
            match TrustedProxies::network(text) {
                Ok(network) => networks.push(network),
                Err(error) => self.problem(
                    "listen.trusted_proxies",
                    format!("{text:?}: {error}"),
                    "write addresses or networks, such as \"10.0.0.5\" or \"10.1.0.0/16\"",
                ),
            }
        }
        TrustedProxies::new(networks, header)
    }

    /// HTTP-01, HTTP-15: browsers say an origin in one way, and it is compared as they say it.
    pub(super) fn allowed_origins(&mut self, written: &[String]) -> Vec<String> {
        for text in written {
            let origin = text.parse::<url::Url>().ok().map(|url| url.origin().ascii_serialization());
            let is_web = text.starts_with("https://") || text.starts_with("http://");
            if !is_web || origin.as_deref() != Some(text.as_str()) {
                let hint = origin.filter(|origin| is_web && origin != "null").map_or_else(
                    || "write, for example, \"https://inspector.example.com\"".to_owned(),
                    |origin| format!("write \"{origin}\""),
                );
                self.problem("listen.allowed_origins", format!("{text:?} is not a web origin"), hint);
            }
        }
        written.to_vec()
    }
}

fn host(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) => address.ip().to_string(),
        SocketAddr::V6(address) => format!("[{}]", address.ip()),
    }
}
