//! `[telemetry]`: how logs look, and where traces and logs go.

use super::Check;
use crate::config::{Log, Otlp, SecretSource, raw};
use crate::telemetry::LogFormat;
use http::HeaderName;
use std::collections::BTreeMap;
use tracing_subscriber::EnvFilter;
use url::Url;

const SERVICE_NAME: &str = "portcullis";

impl Check<'_> {
    pub(super) fn log(&mut self, raw: raw::Telemetry) -> Log {
        let format = match raw.log_format.as_deref() {
            None => None,
            Some("text") => Some(LogFormat::Text),
            Some("json") => Some(LogFormat::Json),
            Some(other) => {
                let says = format!("{other:?} is not a log format");
                self.problem("telemetry.log_format", says, "write \"text\" or \"json\"");
                None
            }
        };
        if let Some(level) = &raw.log_level
            && let Err(error) = EnvFilter::builder().parse(level)
        {
            let hint = "write \"info\", \"warn\", or \"info,portcullis_gateway=debug\"";
            self.problem("telemetry.log_level", format!("{level:?}: {error}"), hint);
        }
        Log { format, level: raw.log_level }
    }

    pub(super) fn otlp(&mut self, raw: &raw::Telemetry) -> Option<Otlp> {
        let sample_ratio = self.sample_ratio(raw.sample_ratio);
        let headers = self.otlp_headers(&raw.otlp_headers);
        let Some(text) = &raw.otlp else {
            let alone = [
                ("telemetry.otlp_headers", !raw.otlp_headers.is_empty()),
                ("telemetry.service_name", raw.service_name.is_some()),
                ("telemetry.sample_ratio", raw.sample_ratio.is_some()),
            ];
            for (key, _) in alone.into_iter().filter(|(_, stated)| *stated) {
                self.problem(key, "without telemetry.otlp nothing is exported", "add it, or leave this out");
            }
            return None;
        };
        let to = self.collector(text, !raw.otlp_headers.is_empty())?;
        let service_name = raw.service_name.clone().unwrap_or_else(|| SERVICE_NAME.to_owned());
        Some(Otlp { to, headers, service_name, sample_ratio })
    }

    fn collector(&mut self, text: &str, has_secrets: bool) -> Option<String> {
        const KEY: &str = "telemetry.otlp";
        const EXAMPLE: &str =
            "write, for example, \"http://127.0.0.1:4318\"; /v1/traces and /v1/logs are added";
        // Never repeated: such addresses are pasted with credentials in them.
        let Some(url) = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https")) else {
            self.problem(KEY, "not an http or https address", EXAMPLE);
            return None;
        };
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            let hint = "leave out user, password, query and fragment; secrets go into telemetry.otlp_headers";
            self.problem(KEY, "more than scheme, host, port and path", hint);
            return None;
        }
        if url.path().ends_with("/v1/traces") || url.path().ends_with("/v1/logs") {
            self.problem(KEY, "names one kind of data only", EXAMPLE);
            return None;
        }
        let is_loopback = url.host().is_some_and(|host| match host {
            url::Host::Ipv4(address) => address.is_loopback(),
            url::Host::Ipv6(address) => address.is_loopback(),
            url::Host::Domain(name) => name == "localhost",
        });
        if has_secrets && url.scheme() == "http" && !is_loopback {
            let hint = "write https://, or leave telemetry.otlp_headers out";
            self.problem(KEY, "the headers would travel unencrypted", hint);
            return None;
        }
        Some(url.as_str().trim_end_matches('/').to_owned())
    }

    fn otlp_headers(&mut self, raw: &BTreeMap<String, String>) -> BTreeMap<String, SecretSource> {
        let mut headers = BTreeMap::new();
        for (name, from) in raw {
            let key = format!("telemetry.otlp_headers.{name}");
            if HeaderName::try_from(name).is_err() {
                self.problem(
                    &key,
                    format!("{name:?} is not the name of a header"),
                    "write, for example, \"authorization\"",
                );
                continue;
            }
            match secret_source(from) {
                Some(source) => drop(headers.insert(name.clone(), source)),
                None => self.problem(
                    &key,
                    "not a place that we know",
                    "write \"env:NAME\" or \"file:PATH\"; never the value itself",
                ),
            }
        }
        headers
    }

    fn sample_ratio(&mut self, written: Option<f64>) -> f64 {
        let ratio = written.unwrap_or(1.0);
        if (0.0..=1.0).contains(&ratio) {
            return ratio;
        }
        self.problem(
            "telemetry.sample_ratio",
            format!("{ratio} is not between 0 and 1"),
            "write, for example, 0.1",
        );
        1.0
    }
}

fn secret_source(text: &str) -> Option<SecretSource> {
    match text.split_once(':') {
        Some(("file", path)) if !path.is_empty() => Some(SecretSource::File(path.into())),
        Some(("env", name)) if !name.is_empty() => Some(SecretSource::Env(name.to_owned())),
        _ => None,
    }
}
