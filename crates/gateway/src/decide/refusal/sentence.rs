//! What is said about a refusal: the fixed sentence for the caller, and the reason word for our records.

use super::Refusal;
use crate::bounds::rates::{Bound, TooOften};
use crate::bounds::slots::Full;
use crate::decide::denial::{Denial, denial_reason};
use crate::decide::pins::Unpinned;
use crate::known::disbelief::Disbelief;
use crate::message::answer::UpstreamFailure;
use crate::message::call::ParseRefusal;
use crate::message::headers::HeaderRefusal;
use portcullis_domain::policy::{Never, Shortfall};
use portcullis_guard::bearer::BearerRefusal;
use portcullis_oauth::jwt::TokenRefusal;
use portcullis_oauth::scope::ScopeSet;

impl Refusal {
    /// The sentence.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Self::BesideRefused => "another message of the batch was refused, so none was sent".to_owned(),
            Self::BodyBroken => "the body could not be read to its end".to_owned(),
            Self::BodyLate => "the body did not arrive in time".to_owned(),
            Self::BodyTooLarge => "the body is too large".to_owned(),
            Self::ContentEncoding => "encoded bodies are not taken".to_owned(),
            Self::ContentType => "the body must be application/json".to_owned(),
            Self::Denied(denial) => denial_sentence(denial),
            Self::Disbelieved(Disbelief::Unchecked(too_often)) | Self::TooOften(too_often) => {
                too_often_sentence(*too_often)
            }
            Self::Disbelieved(Disbelief::IssuerAway) => {
                "the issuer of the access token cannot be asked now: try again".to_owned()
            }
            Self::Disbelieved(Disbelief::NotActive | Disbelief::Revoked | Disbelief::Token(_)) => {
                "the access token does not count here".to_owned()
            }
            Self::DuplicateInFlight => "a request with this id or progress token is under way".to_owned(),
            Self::ForeignHost => "this address is not served under that host".to_owned(),
            Self::ForeignOrigin => "pages of that origin may not call".to_owned(),
            Self::Headers(refusal) => refusal.to_string(),
            Self::HostUnclear => "the request must name one host".to_owned(),
            Self::MethodNotAllowed(_) => "this HTTP method is not served here".to_owned(),
            Self::NoRoom => "as many long messages as there is room for are under way: try again".to_owned(),
            Self::NotAPerson => {
                "this server wants each person to connect an account of their own, and this token speaks for none of our people".to_owned()
            }
            Self::NotConnected { place, .. } => {
                format!("connect your account at this server first, then try again: {place}")
            }
            Self::NoToken => "an access token is needed".to_owned(),
            Self::Presented(refusal) => refusal.to_string(),
            Self::ResponseOutsideSession => "responses are taken within a session only".to_owned(),
            Self::RulesChanged => {
                "the rules for it changed while the call was on its way: try again".to_owned()
            }
            Self::SecondSession => "this connection has its session: open another for another".to_owned(),
            Self::SessionNeeded => "begin a session with initialize".to_owned(),
            Self::Spool => "decisions cannot be recorded at the moment, so none are made".to_owned(),
            Self::Stale => "the gateway is waiting for news from its control room".to_owned(),
            Self::TokenInHeader => {
                "the access token must not stand in any header but Authorization".to_owned()
            }
            Self::TokenInUrl => "the access token must not stand in the address".to_owned(),
            Self::TooManyAtOnce(full) => full_sentence(*full).to_owned(),
            Self::UnknownServer => "not found".to_owned(),
            Self::UnknownSession => "no such session: begin a new one".to_owned(),
            Self::UnknownTask => "no such task".to_owned(),
            Self::UpgradeNeeded => {
                "here is WebSocket: send an upgrade of HTTP/1.1 as RFC 6455 has it, with the subprotocol mcp or none"
                    .to_owned()
            }
            Self::Unreadable(refusal) => refusal.to_string(),
            Self::Upstream(failure) => failure.to_string(),
        }
    }

    /// The reason, as a stable word.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::BesideRefused => "beside_refused",
            Self::BodyBroken => "body_broken",
            Self::BodyLate => "body_late",
            Self::BodyTooLarge => "body_too_large",
            Self::ContentEncoding => "content_encoding",
            Self::ContentType => "content_type",
            Self::Denied(denial) => denial_reason(denial),
            Self::Disbelieved(Disbelief::Unchecked(too_often)) | Self::TooOften(too_often) => {
                too_often_reason(too_often.bound)
            }
            Self::Disbelieved(Disbelief::IssuerAway) => "issuer_away",
            Self::Disbelieved(Disbelief::NotActive) => "token_not_active",
            Self::Disbelieved(Disbelief::Revoked) => "token_revoked",
            Self::Disbelieved(Disbelief::Token(refusal)) => token_reason(*refusal),
            Self::DuplicateInFlight => "duplicate_in_flight",
            Self::ForeignHost => "foreign_host",
            Self::ForeignOrigin => "foreign_origin",
            Self::Headers(refusal) => header_reason(refusal),
            Self::HostUnclear => "host_unclear",
            Self::MethodNotAllowed(_) => "method_not_allowed",
            Self::NoRoom => "no_room",
            Self::NotAPerson => "not_a_person",
            Self::NotConnected { .. } => "not_connected",
            Self::NoToken => "no_token",
            Self::Presented(BearerRefusal::Malformed) => "authorization_malformed",
            Self::Presented(BearerRefusal::OtherScheme) => "authorization_other_scheme",
            Self::Presented(BearerRefusal::Several) => "authorization_several",
            Self::ResponseOutsideSession => "response_outside_session",
            Self::RulesChanged => "rules_changed",
            Self::SecondSession => "second_session",
            Self::SessionNeeded => "session_needed",
            Self::Spool => "spool",
            Self::Stale => "stale",
            Self::TokenInHeader => "token_in_header",
            Self::TokenInUrl => "token_in_url",
            Self::TooManyAtOnce(full) => full_reason(*full),
            Self::UnknownServer => "unknown_server",
            Self::UnknownSession => "unknown_session",
            Self::UnknownTask => "unknown_task",
            Self::UpgradeNeeded => "upgrade_needed",
            Self::Unreadable(refusal) => parse_reason(*refusal),
            Self::Upstream(failure) => failure.reason(),
        }
    }

    /// The name of the condition that refused, for the record.
    pub(crate) fn condition(&self) -> Option<&str> {
        if let Self::Denied(Denial::Never(Never::Forbidden(forbidden))) = self {
            Some(&forbidden.by)
        } else {
            None
        }
    }

    /// The scopes that were needed and are not there, for the record.
    pub(crate) fn needed(&self) -> Option<&ScopeSet> {
        let Self::Denied(denial) = self else {
            return None;
        };
        match denial {
            Denial::StepUp(shortfall)
            | Denial::Never(
                Never::BeyondAgent(shortfall) | Never::BeyondIssuer(shortfall) | Never::BeyondUser(shortfall),
            ) => Some(&shortfall.needs),
            Denial::Never(Never::Forbidden(_) | Never::NothingLeft | Never::NoRule | Never::Unclear(_))
            | Denial::UnknownMethod
            | Denial::Unpinned(..) => None,
        }
    }
}

impl UpstreamFailure {
    /// The reason, as a stable word.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::BrokeOff => "upstream_broke_off",
            Self::Credential => "upstream_credential",
            Self::Garbled => "upstream_garbled",
            Self::Late => "upstream_late",
            Self::NoAddress => "upstream_no_address",
            Self::NoProgram => "upstream_no_program",
            Self::Connection => "upstream_connection",
            Self::NoToken => "upstream_no_token",
            Self::NoRoom => "no_room_for_answer",
            Self::Redirect => "upstream_redirect",
            Self::Resting { .. } => "upstream_resting",
            Self::Secret => "upstream_secret",
            Self::Session => "upstream_session",
            Self::Signing => "assertion_signing",
            Self::Status => "upstream_status",
            Self::TooLarge => "upstream_too_large",
            Self::TooManyItems => "upstream_too_many_items",
            Self::TooManyPrograms => "too_many_programs",
            Self::Unreachable => "upstream_unreachable",
        }
    }
}

/// PC-53: says which bound, and until when.
fn too_often_sentence(too_often: TooOften) -> String {
    let what = match too_often.bound {
        Bound::Address => "requests from this address",
        Bound::BadSignatures => "bad tokens from this address",
        Bound::Client => "calls by this client",
        Bound::Principal => "calls of this caller",
        Bound::Server => "calls to this server",
        Bound::Unanswered => "tokens from this address about which their issuer did not answer",
    };
    format!("too many {what} in a short time: try again in {} s", too_often.wait.seconds)
}

/// PC-53: says which bound, and what ends it.
fn full_sentence(full: Full) -> &'static str {
    match full {
        Full::Address => "too many calls from this address are under way: try again when one has ended",
        Full::Client => "too many calls by this client are under way: try again when one has ended",
        Full::Line => "too many calls of this connection are under way: try again when one has ended",
        Full::Principal => "too many calls of this caller are under way: try again when one has ended",
        Full::Server => "too many calls to this server are under way: try again when one has ended",
        Full::Streams => "this caller listens to too many streams: close one first",
    }
}

fn full_reason(full: Full) -> &'static str {
    match full {
        Full::Address => "too_many_from_address",
        Full::Client => "too_many_by_client",
        Full::Line => "too_many_on_line",
        Full::Principal => "too_many_by_principal",
        Full::Server => "too_many_to_server",
        Full::Streams => "too_many_streams",
    }
}

fn too_often_reason(bound: Bound) -> &'static str {
    match bound {
        Bound::Address => "too_often_from_address",
        Bound::BadSignatures => "too_many_bad_signatures",
        Bound::Client => "too_often_by_client",
        Bound::Principal => "too_often_by_principal",
        Bound::Server => "too_often_to_server",
        Bound::Unanswered => "too_many_unanswered",
    }
}

/// PC-23: says whether asking again can help.
fn denial_sentence(denial: &Denial) -> String {
    let needs = |shortfall: &Shortfall| format!("needs {}", shortfall.needs);
    match denial {
        Denial::StepUp(shortfall) => needs(shortfall),
        Denial::Never(Never::BeyondAgent(shortfall)) => {
            format!("{}, which is beyond this agent's ceiling: ask its owner", needs(shortfall))
        }
        Denial::Never(Never::BeyondIssuer(shortfall)) => format!(
            "{}, which is beyond what tokens of your issuer may do here: ask whoever runs this server",
            needs(shortfall)
        ),
        Denial::Never(Never::BeyondUser(shortfall)) => format!(
            "{}, which is beyond what you may have here: ask whoever runs this server",
            needs(shortfall)
        ),
        Denial::Never(Never::Forbidden(forbidden)) => forbidden.to_string(),
        Denial::Never(Never::NothingLeft) => {
            "nothing on this server is open to this token any more".to_owned()
        }
        // The same for what does not exist and for what nobody may reach.
        Denial::Never(Never::NoRule) => "no rule of this server allows it".to_owned(),
        Denial::Never(Never::Unclear(unclear)) => unclear.to_string(),
        Denial::UnknownMethod => "this method is not served".to_owned(),
        Denial::Unpinned(Unpinned::Changed, server) => format!(
            "this tool changed since it was approved: the operator must look (portcullis server tools {server})"
        ),
        Denial::Unpinned(Unpinned::NotApproved, server) => format!(
            "nobody approved this tool yet: the operator must look (portcullis server tools {server})"
        ),
    }
}

fn token_reason(refusal: TokenRefusal) -> &'static str {
    match refusal {
        TokenRefusal::Algorithm => "token_algorithm",
        TokenRefusal::Audience => "token_audience",
        TokenRefusal::Bound => "token_bound",
        TokenRefusal::Claims => "token_claims",
        TokenRefusal::Critical => "token_critical",
        TokenRefusal::Expired => "token_expired",
        TokenRefusal::Form => "token_form",
        TokenRefusal::Issuer => "token_issuer",
        TokenRefusal::Lifetime => "token_lifetime",
        TokenRefusal::NotYetValid => "token_not_yet_valid",
        TokenRefusal::Signature => "token_signature",
        TokenRefusal::Size => "token_size",
        TokenRefusal::Type => "token_type",
        TokenRefusal::UnknownKey => "token_unknown_key",
    }
}

fn header_reason(refusal: &HeaderRefusal) -> &'static str {
    match refusal {
        HeaderRefusal::Mismatch(_) => "header_mismatch",
        HeaderRefusal::Missing(_) => "header_missing",
        HeaderRefusal::MissingMeta => "meta_missing",
        HeaderRefusal::NeedsSession(_) => "needs_session",
        HeaderRefusal::Repeated(_) => "header_repeated",
        HeaderRefusal::Unsupported { .. } => "unsupported_version",
    }
}

fn parse_reason(refusal: ParseRefusal) -> &'static str {
    match refusal {
        ParseRefusal::Batch => "body_batch",
        ParseRefusal::BatchForm => "body_batch_form",
        ParseRefusal::Duplicate => "body_duplicate",
        ParseRefusal::Envelope => "body_envelope",
        ParseRefusal::Id => "body_id",
        ParseRefusal::Lookalike => "body_lookalike",
        ParseRefusal::Malformed => "body_malformed",
        ParseRefusal::Params => "body_params",
        ParseRefusal::TokenInside => "token_in_body",
        ParseRefusal::TooDeep => "body_too_deep",
    }
}
