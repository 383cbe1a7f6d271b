//! What upstreams are shown, and who vouches for them: whether it can be read and used on this machine (PC-05).

use super::{Findings, chain};
use crate::config::environment::secret_at;
use portcullis_domain::registry::{Placement, SecretPlace};
use portcullis_gateway::check_tls;
use portcullis_store::Registry;
use std::sync::Arc;

pub(super) fn credentials(registry: &Registry, findings: &mut Findings) {
    for server in &registry.servers {
        let places = server.placement.places();
        let Placement::Gateway { tls, .. } = &server.placement else { continue };
        if places.is_empty() {
            continue;
        }
        let what = format!("credential for the upstream of {}", server.name);
        let unread: Vec<&SecretPlace> =
            places.into_iter().filter(|place| secret_at(place).is_none()).collect();
        let is_file = |place: &&SecretPlace| matches!(place, SecretPlace::File(_));
        if let Some(place) = unread.iter().copied().find(is_file) {
            let remedy = "put it there, readable for the user who serves; until then its calls are refused";
            findings.problem(what, format!("nothing can be read at {place}"), remedy);
        } else if let Some(place) = unread.first() {
            let remedy = "if the server has it in its own environment, all is well; otherwise set it there";
            findings.warning(what, format!("{place} is not set here"), remedy);
        } else if let Err(error) = check_tls(tls, &(Arc::new(secret_at) as _)) {
            findings.problem(what, chain(&error), "until it is mended, its calls are refused");
        } else {
            findings.ok(what, "can be read");
        }
    }
}
