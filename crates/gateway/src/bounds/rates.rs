//! How often calls may come (PC-53): of one person or agent, by one client, to one server, from one address. In the memory
//! of this gateway, bounded, by the hour of whoever asks.
//!
//! Beside them stands how many bad signatures one address may send: whoever is beyond it is refused before another one is
//! checked, for checking is what is dear. Tokens that were seen before are not asked about. Counted by itself is about how many
//! another issuer gave no answer: that may be its own failure, and must not stand in the way of tokens of ours.

use crate::settings::CallRates;
use portcullis_domain::principal::Principal;
use portcullis_domain::rate::{Buckets, Rate, Source, Wait};
use portcullis_domain::registry::Server;
use portcullis_oauth::time::Timestamp;
use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;

/// As many questions to other issuers may stay without an answer as a tenth of the bad signatures that may come: by default an address may ask a
/// hundred of them in a minute, and hold eight places for good.
const UNANSWERED: u32 = 10;

/// Every counter.
pub(crate) struct Rates {
    principal: Option<Buckets>,
    client: Option<Buckets>,
    server: Option<Buckets>,
    /// Of servers that have a rate of their own; each is asked with its own.
    own_of_server: Buckets,
    address: Option<Buckets>,
    bad_signatures: Buckets,
    unanswered: Buckets,
}

/// What comes too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Address,
    BadSignatures,
    Client,
    Principal,
    Server,
    Unanswered,
}

/// Too often, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooOften {
    pub(crate) bound: Bound,
    pub(crate) wait: Wait,
}

impl Rates {
    pub(crate) fn new(calls: CallRates, bad_signatures: NonZeroU32) -> Self {
        Self {
            principal: calls.principal.map(Buckets::per_minute),
            client: calls.client.map(Buckets::per_minute),
            server: calls.server.map(Buckets::per_minute),
            own_of_server: Buckets::per_minute(NonZeroU32::MIN),
            address: calls.address.map(Buckets::per_minute),
            bad_signatures: Buckets::per_minute(bad_signatures),
            unanswered: Buckets::per_minute(bad_signatures),
        }
    }

    /// One more request to an endpoint, whoever sent it; those whose address is not known count together.
    pub(crate) fn request(&self, from: Option<IpAddr>, now: Timestamp) -> Result<(), TooOften> {
        spend(self.address.as_ref(), &from.map(Source::from), (1, now), Bound::Address)
    }

    /// `count` more messages of a caller. One that is refused by one bound is not counted by the others.
    pub(crate) fn messages(
        &self,
        (principal, server): (&Principal, &Server),
        count: u32,
        now: Timestamp,
    ) -> Result<(), TooOften> {
        let (subject, client) = (&principal.subject, &principal.client_id);
        let more = (count, now);
        let [by_principal, by_client] = [self.principal.as_ref(), self.client.as_ref()];
        spend(by_principal, subject, more, Bound::Principal)?;
        spend(by_client, client, more, Bound::Client)
            .inspect_err(|_| give_back(by_principal, subject, count))?;
        self.to_server(server, more).inspect_err(|_| {
            give_back(by_principal, subject, count);
            give_back(by_client, client, count);
        })
    }

    /// What holds for every server, then what holds for this one.
    fn to_server(&self, server: &Server, (count, now): (u32, Timestamp)) -> Result<(), TooOften> {
        spend(self.server.as_ref(), &server.id, (count, now), Bound::Server)?;
        let Some(most) = server.limits.calls_per_minute else {
            return Ok(());
        };
        let spent = self.own_of_server.spend_at(Rate::per_minute(most), &server.id, count, now);
        spent.map_err(|wait| {
            give_back(self.server.as_ref(), &server.id, count);
            TooOften { bound: Bound::Server, wait }
        })
    }

    /// Whether the signature of a token that was never seen may be checked.
    pub(crate) fn may_check(&self, from: Option<IpAddr>, now: Timestamp) -> Result<(), TooOften> {
        let room = self.bad_signatures.room(&from.map(Source::from), now);
        room.map_err(|wait| TooOften { bound: Bound::BadSignatures, wait })
    }

    /// Whether somebody else may be asked about a token of which nothing good is known.
    pub(crate) fn may_ask(&self, from: Option<IpAddr>, now: Timestamp) -> Result<(), TooOften> {
        self.may_check(from, now)?;
        let room = self.unanswered.room(&from.map(Source::from), now);
        room.map_err(|wait| TooOften { bound: Bound::Unanswered, wait })
    }

    /// Nobody could say whether it was good, for which one of few places to ask was taken for a while.
    pub(crate) fn was_unanswered(&self, from: Option<IpAddr>, now: Timestamp) {
        // One by one: what is left may be less than the whole price.
        for _ in 0..UNANSWERED {
            let _already_beyond = self.unanswered.spend(&from.map(Source::from), 1, now);
        }
    }

    /// It was bad. Good ones cost nothing: many agents may stand behind one address.
    pub(crate) fn was_bad(&self, from: Option<IpAddr>, now: Timestamp) {
        // Whoever was let in by `may_check` at the same moment as others may find nothing left to pay with.
        let _already_beyond = self.bad_signatures.spend(&from.map(Source::from), 1, now);
    }
}

impl Bound {
    /// A stable word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::BadSignatures => "bad_signatures",
            Self::Client => "client",
            Self::Principal => "principal",
            Self::Server => "server",
            Self::Unanswered => "unanswered_questions",
        }
    }
}

fn spend(
    buckets: Option<&Buckets>,
    key: &impl Hash,
    (count, now): (u32, Timestamp),
    bound: Bound,
) -> Result<(), TooOften> {
    let spent = buckets.map_or(Ok(()), |buckets| buckets.spend(key, count, now));
    spent.map_err(|wait| TooOften { bound, wait })
}

fn give_back(buckets: Option<&Buckets>, key: &impl Hash, count: u32) {
    if let Some(buckets) = buckets {
        buckets.give_back(key, count);
    }
}
