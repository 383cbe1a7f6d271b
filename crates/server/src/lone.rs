//! A gateway that runs alone (PC-62): no database, and no key but its own two. It follows the control room, serves by what it
//! knows while that is away, and refuses everything when what it knows is too old.

mod connections;
mod control;
mod follow;
mod front;
mod identity;
mod kept;
mod ops;
mod records;
pub mod serve;
mod sightings;

pub use control::ControlError;
pub use identity::{Claim, Identity, IdentityError};

use crate::app::gateway_settings;
use crate::clock::Clock;
use crate::config::Config;
use crate::entropy::Entropy;
use crate::jobs::survey::{self, Means, Post};
use crate::pins::Surveys;
use crate::telemetry::{OtlpError, Traces};
use connections::AtControlRoom;
use control::Control;
use kept::{Keeper, Mirror};
use portcullis_domain::id::ServerId;
use portcullis_domain::pins::Sighting;
use portcullis_domain::registry::Name;
use portcullis_gateway::Gateway;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Everything of a gateway that runs alone. Behind one `Arc`; no globals.
pub struct Lone {
    /// What this machine's operator decided.
    pub config: Config,
    /// The present, and the only way to it.
    pub clock: Clock,
    /// Chance, and the only way to it.
    pub entropy: Entropy,
    /// The door in front of the servers.
    pub gateway: Gateway,
    /// What it is called.
    pub name: Name,
    control: Arc<Control>,
    keeper: Keeper,
    mirror: Mutex<Option<Mirror>>,
    surveys: Surveys,
    traces: Option<Traces>,
    contact: Mutex<Contact>,
}

/// How it stands with the control room, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contact {
    /// It is heard.
    Heard,
    /// It says that there is no such gateway.
    Removed,
    /// It is not heard now.
    Silent,
}

/// Why a gateway cannot run.
#[derive(Debug, thiserror::Error)]
pub enum LoneError {
    /// Who it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The control room.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] portcullis_gateway::StartError),
    /// Where spans go.
    #[error(transparent)]
    Telemetry(#[from] OtlpError),
}

impl Lone {
    /// Gets its identity if it has none yet, and begins with what it knew when it ended, if that is not too old.
    pub async fn open(
        config: Config,
        identity: Identity,
        clock: Clock,
        entropy: Entropy,
    ) -> Result<Arc<Self>, LoneError> {
        portcullis_oauth::jwt::install_crypto();
        let identity = identity.enrolled(&config.data).await?;
        let traces = config.otlp.as_ref().map(Traces::open).transpose()?;
        let control = Arc::new(Control::new(&identity, clock.clone())?);
        let connections = Arc::new(AtControlRoom(Arc::clone(&control)));
        let settings = gateway_settings(&config, &clock, (traces.as_ref(), connections));
        let gateway = Gateway::new(settings, identity.assertion_key()?)?;
        let keeper = Keeper::new(&config.data, config.max_staleness);
        let lone = Arc::new(Self {
            name: identity.name().clone(),
            config,
            clock,
            entropy,
            gateway,
            control,
            keeper,
            mirror: Mutex::default(),
            surveys: Surveys::default(),
            traces,
            contact: Mutex::new(Contact::Silent),
        });
        lone.remember();
        Ok(lone)
    }

    /// Everything that runs beside the requests, until `stop`.
    pub fn start(self: &Arc<Self>, tasks: &TaskTracker, stop: &CancellationToken) {
        tasks.spawn(follow::run(Arc::clone(self), stop.clone()));
        tasks.spawn(records::run(Arc::clone(self), stop.clone()));
        if let Some(sightings) = self.gateway.sightings() {
            tasks.spawn(survey::take_in(Arc::clone(self), sightings, stop.clone()));
        }
        if let Some(every) = self.config.survey {
            tasks.spawn(survey::run(Arc::clone(self), every, stop.clone()));
        }
    }

    /// What it tells the machines of its operator.
    pub fn ops(self: &Arc<Self>) -> axum::Router {
        ops::router(self)
    }

    /// What was known at the end of the run before, while it counts.
    fn remember(&self) {
        let Some(mirror) = self.keeper.load(self.clock.now()) else { return };
        match serde_json::to_vec(&mirror.update()).map(|bytes| self.gateway.feed(&bytes)) {
            Ok(Ok(())) => *self.mirror() = Some(mirror),
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "what was known before is not used");
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "what was known before is not used");
            }
        }
    }

    fn mirror(&self) -> MutexGuard<'_, Option<Mirror>> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contact(&self) -> Contact {
        *self.contact.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives what it was before.
    fn set_contact(&self, contact: Contact) -> Contact {
        std::mem::replace(&mut *self.contact.lock().unwrap_or_else(PoisonError::into_inner), contact)
    }
}

impl Post for Lone {
    fn means(&self) -> Means<'_> {
        let Self { gateway, surveys, clock, entropy, .. } = self;
        Means { gateway, surveys, clock, entropy }
    }

    fn watched(&self) -> Vec<(ServerId, Name)> {
        let mirror = self.mirror();
        mirror.as_ref().map(|mirror| survey::watched(&mirror.snapshot)).unwrap_or_default()
    }

    async fn take(&self, sighting: Sighting) {
        sightings::tell(self, sighting).await;
    }
}
