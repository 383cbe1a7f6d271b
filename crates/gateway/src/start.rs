//! How a gateway begins: everything of it is made once, from its settings and its assertion key.

use crate::bounds::rates::Rates;
use crate::bounds::room::Room;
use crate::bounds::slots::Slots;
use crate::bounds::strangers::Strangers;
use crate::decide::pins::Pinboard;
use crate::filter::list::Lists;
use crate::known::external;
use crate::known::sessions::Sessions;
use crate::known::snapshot::Means;
use crate::known::state::Knowledge;
use crate::known::tasks::Tasks;
use crate::line::Lines;
use crate::reach::fetch::Fetcher;
use crate::reach::means;
use crate::reach::tls::{self, NoTls};
use crate::record::figures::Counters;
use crate::record::spool::Spool;
use crate::stream::Closing;
use crate::upstream::assertion::Assertions;
use crate::upstream::connections::Copies;
use crate::upstream::stdio;
use crate::{Gateway, Inner, Settings};
use portcullis_oauth::issuer::{InvalidIssuer, Issuer};
use portcullis_oauth::jwt::{self, SigningKey};
use rand::rngs::{StdRng, SysRng};
use rand::{RngExt as _, SeedableRng as _};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `assertion_issuer` is no issuer.
    #[error("{text:?} cannot be the issuer of assertions")]
    AssertionIssuer {
        /// As it was given.
        text: String,
        /// Why.
        source: InvalidIssuer,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Chance(#[source] rand::rngs::SysError),
    /// The spool's folder cannot be written.
    #[error("the spool cannot be opened in {dir}")]
    Spool {
        /// Where.
        dir: String,
        /// Why.
        source: std::io::Error,
    },
    /// No TLS client can be built.
    #[error(transparent)]
    Tls(#[from] NoTls),
}

impl Gateway {
    /// A gateway that knows nothing yet and refuses everything until it is fed.
    pub fn new(settings: Settings, assertion_key: SigningKey) -> Result<Self, StartError> {
        jwt::install_crypto();
        let assertion_issuer: Issuer = settings.assertion_issuer.parse().map_err(|source| {
            let text = settings.assertion_issuer.clone();
            StartError::AssertionIssuer { text, source }
        })?;
        let spool = Spool::open(&settings.spool).map_err(|source| {
            let dir = settings.spool.dir.display().to_string();
            StartError::Spool { dir, source }
        })?;
        let mut chance = StdRng::try_from_rng(&mut SysRng).map_err(StartError::Chance)?;
        let run = random_name(&mut chance);
        let chance = Mutex::new(chance);
        let mint: stdio::MintSession =
            Arc::new(move || random_name(&mut chance.lock().unwrap_or_else(PoisonError::into_inner)));
        let limits = &settings.limits;
        let knowledge = Knowledge::new(
            settings.issuer.clone(),
            assertion_key.kid().to_owned(),
            settings.max_staleness,
            means(&settings)?,
        );
        let inner = Inner {
            knowledge: Arc::new(knowledge),
            assertions: Assertions::new(assertion_issuer, assertion_key),
            sessions: Sessions::new(limits.sessions),
            // Each may hold the call that made it.
            tasks: Arc::new(Tasks::new(limits.sessions / 10)),
            asked: Arc::default(),
            spool,
            copies: Copies::new(settings.issuer.clone(), settings.connections.clone()),
            slots: Slots::new(limits.calls_at_once),
            rates: Rates::new(limits.calls_per_minute, limits.bad_signatures_per_minute),
            lines: Lines::new(Arc::clone(&mint)),
            room: Room::new(limits.memory, limits.body_bytes.max(limits.answer_bytes)),
            children: stdio::Children::new(limits.into(), mint, Arc::clone(&settings.secrets)),
            closing: watch::Sender::new(Closing::Open),
            strangers: Strangers::default(),
            counters: Counters::default(),
            lists: Lists::default(),
            pins: Arc::new(Pinboard::new(Arc::clone(&settings.clock))),
            run,
            named: AtomicU64::new(0),
            settings,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// What issuers are asked and upstreams are reached with.
fn means(settings: &Settings) -> Result<Means, NoTls> {
    let fetcher = Arc::new(Fetcher::new()?);
    let (clock, secrets) = (Arc::clone(&settings.clock), Arc::clone(&settings.secrets));
    Ok(Means {
        issuers: external::Means {
            fetcher: Arc::clone(&fetcher),
            times: settings.limits.issuers.clone(),
            clock: Arc::clone(&clock),
            secrets: Arc::clone(&secrets),
            capacity: settings.limits.signatures,
        },
        upstreams: means::Means {
            tls: tls::usual()?,
            limits: settings.limits.clone(),
            clock,
            secrets,
            fetcher,
        },
    })
}

/// 128 bits of chance as text.
fn random_name(chance: &mut StdRng) -> String {
    format!("{:032x}", chance.random::<u128>())
}
