//! The snapshot that a fleet would make: what is the same keeps its id, as when the fleet is applied.

use portcullis_domain::fleet::Fleet;
use portcullis_domain::id::{ServerId, client_id};
use portcullis_domain::snapshot::Snapshot;
use portcullis_oauth::time::Timestamp;
use rand::CryptoRng;

pub(super) fn snapshot(
    today: &Snapshot,
    fleet: &Fleet,
    now: Timestamp,
    rng: &mut impl CryptoRng,
) -> Snapshot {
    let servers = fleet.servers.iter().map(|server| {
        let same = today
            .servers
            .iter()
            .find(|known| known.name == server.name && known.canonical_uri == server.canonical_uri);
        let id = same.map_or_else(|| ServerId::generate(now, rng), |known| known.id);
        server.clone().with_id(id)
    });
    // The built-in server is in every snapshot, and in no file.
    let built_in = today.servers.iter().filter(|known| known.name.as_str() == "portcullis").cloned();
    let servers = servers.chain(built_in).collect();
    let agents = fleet.agents.iter().filter_map(|agent| {
        let same = today.agents.iter().find(|known| known.name == agent.name);
        let id = same.map_or_else(|| client_id(now, rng).parse().ok(), |known| Some(known.client_id.clone()));
        Some(agent.clone().with_id(id?))
    });
    let agents = agents.collect();
    let clients = fleet.clients.iter().filter_map(|client| {
        let same = today.clients.iter().find(|known| known.name == client.name);
        let id = same.map_or_else(|| client_id(now, rng).parse().ok(), |known| Some(known.client_id.clone()));
        Some(client.clone().with_id(id?))
    });
    let clients = clients.collect();
    Snapshot {
        servers,
        agents,
        clients,
        roles: fleet.roles.clone(),
        self_registered: fleet.self_registered.clone(),
        forbids: fleet.forbids.clone(),
        ..today.clone()
    }
}
