//! Error pages: fixed sentences, 4xx or 503, nothing of the request in them.

use crate::app::App;
use crate::pages::{FormTarget, page};
use askama::Template;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// Why a person sees an error page instead of what they wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageRefusal {
    /// The consent was given before.
    #[error("consent already used")]
    AlreadyUsed,
    /// A form or query that cannot be read.
    #[error("malformed request")]
    Malformed,
    /// Nothing here.
    #[error("not found")]
    NotFound,
    /// No sign-in elsewhere was begun under this state, in this browser and by this person, or its answer came before.
    #[error("no sign-in elsewhere is under way")]
    NotBegun,
    /// The form comes from another page, browser or person.
    #[error("another browser, person or page")]
    NotYours,
    /// We cannot work right now.
    #[error("fault of ours")]
    Fault,
    /// Too old to go on.
    #[error("stale")]
    Stale,
    /// Longer than allowed.
    #[error("too large")]
    TooLarge,
    /// Too often in a short time.
    #[error("too often")]
    TooMany,
    /// No client of this id, or it is disabled.
    #[error("unknown client")]
    UnknownClient,
    /// The redirect URI is not one that the client registered, or is missing.
    #[error("unregistered redirect_uri")]
    UnregisteredRedirect,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorTemplate<'a> {
    base: &'a str,
    title: &'static str,
    sentence: &'static str,
    advice: &'static str,
}

/// A refusal together with the place from which the stylesheet comes.
#[derive(Debug)]
pub(crate) struct ErrorPage {
    refusal: PageRefusal,
    base: String,
}

impl ErrorPage {
    pub(crate) fn new(app: &App, refusal: PageRefusal) -> Self {
        Self { refusal, base: app.config.issuer.path().to_owned() }
    }
}

const START_AGAIN: &str = "Go back to the program that sent you here and start again.";
const TELL_THE_MAKER: &str =
    "The program that sent you here made a mistake. Its maker can find the reason in our log.";

impl PageRefusal {
    const fn status(self) -> StatusCode {
        match self {
            Self::AlreadyUsed => StatusCode::CONFLICT,
            Self::Malformed | Self::UnknownClient | Self::UnregisteredRedirect | Self::Stale => {
                StatusCode::BAD_REQUEST
            }
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotBegun | Self::NotYours => StatusCode::FORBIDDEN,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Fault => StatusCode::SERVICE_UNAVAILABLE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    /// Title, sentence, advice.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::AlreadyUsed => (
                "Already answered",
                "You have answered this question before, and an answer counts once.",
                START_AGAIN,
            ),
            Self::Malformed => (
                "This request cannot be read",
                "Something in the address or the form is broken, or stands there twice.",
                TELL_THE_MAKER,
            ),
            Self::NotBegun => (
                "Not begun here",
                "This answer belongs to no sign-in that you have begun in this browser, or it came before.",
                "If you want to connect an account, begin again from the page of your accounts.",
            ),
            Self::NotFound => ("Nothing here", "There is no page at this address.", "Check the address."),
            Self::NotYours => (
                "Not from here",
                "This form was not opened in this browser, by the person who is signed in now.",
                START_AGAIN,
            ),
            Self::Fault => (
                "Not possible right now",
                "We could not do this. Nothing was changed.",
                "Please try again in a moment.",
            ),
            Self::Stale => {
                ("Too late", "This page was open for too long, or has been changed on its way.", START_AGAIN)
            }
            Self::TooMany => (
                "Too often",
                "You have asked for this many times in a short while.",
                "Please wait a minute, then try again.",
            ),
            Self::TooLarge => ("Too long", "What was sent is longer than we read.", TELL_THE_MAKER),
            Self::UnknownClient => {
                ("Unknown program", "The program that sent you here is not registered.", TELL_THE_MAKER)
            }
            Self::UnregisteredRedirect => (
                "Wrong way back",
                "The program that sent you here wants the answer at an address that it did not register.",
                TELL_THE_MAKER,
            ),
        }
    }
}

impl IntoResponse for ErrorPage {
    fn into_response(self) -> Response {
        let status = self.refusal.status();
        tracing::info!(reason = %self.refusal, status = status.as_u16(), "page refused");
        let (title, sentence, advice) = self.refusal.words();
        let template = ErrorTemplate { base: &self.base, title, sentence, advice };
        let mut response = page(status, &template, &FormTarget::OURSELVES);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

impl From<crate::fault::Fault> for PageRefusal {
    /// What failed goes to the log; the person reads that something did.
    fn from(fault: crate::fault::Fault) -> Self {
        fault.log();
        Self::Fault
    }
}
