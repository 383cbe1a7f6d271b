//! How a gateway gets its identity: once, with a secret that is good for an hour.

use super::world::{Far, Room, until};
use crate::api::assert_problem;
use http::StatusCode;
use portcullis_domain::audit::{Kind, Outcome};
use portcullis_server::lone::{Claim, ControlError, Identity, IdentityError, LoneError};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

fn refusal(failed: Result<Far, (LoneError, tempfile::TempDir)>) -> String {
    let failed = failed.err().expect("it was enrolled").0;
    let LoneError::Identity(IdentityError::Control { source: ControlError::Refused { title, .. }, .. }) =
        failed
    else {
        panic!("{failed:?}")
    };
    title
}

async fn events(room: &Room, kind: Kind) -> Vec<(Outcome, String)> {
    let mut handle = room.test.app.store.read().await.unwrap();
    let all = handle.reader().audit_after(0, 10_000).await.unwrap();
    let of_kind = all.into_iter().filter(|(_, _, event)| event.kind == kind);
    of_kind.map(|(_, _, event)| (event.outcome, event.detail["gateway"].clone())).collect()
}

fn copied(from: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(from.join("identity.json"), folder.path().join("identity.json")).unwrap();
    folder
}

#[tokio::test]
async fn pc_62_an_enrolment_is_good_once_and_its_lost_answer_strands_nobody() {
    let room = Room::open().await;
    let file = room.enrolment("far", None).await;
    let far =
        Far::try_on(&room, tempfile::tempdir().unwrap(), Some(&file)).await.unwrap_or_else(|_| panic!());
    let somebody = Far::try_on(&room, tempfile::tempdir().unwrap(), Some(&file)).await;
    assert_eq!(refusal(somebody), "The enrolment was used");

    // As if the answer had been lost: the keys are there, and it does not know that it is enrolled.
    let lost = copied(far.folder.path());
    let path = lost.path().join("identity.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"enrolled\": true"));
    std::fs::write(&path, text.replace("\"enrolled\": true", "\"enrolled\": false")).unwrap();
    assert!(matches!(Identity::read(lost.path(), &Claim::default()).unwrap_err(), IdentityError::Unfinished));
    let again = Far::try_on(&room, lost, Some(&file)).await.unwrap_or_else(|_| panic!("the same keys"));
    until(async || again.lone.gateway.is_fresh()).await;
    // Enrolled, it needs no file, and a spent one of its own does not disturb.
    let folder = again.end().await;
    let same = Far::try_on(&room, folder, Some(&file)).await;
    assert!(same.is_ok());

    let told = events(&room, Kind::GatewayEnrolled).await;
    let refused = Outcome::Refused("enrolment_spent".to_owned());
    let outcomes: Vec<&Outcome> = told.iter().map(|(outcome, _)| outcome).collect();
    assert_eq!(outcomes, [&Outcome::Allowed, &refused, &Outcome::Allowed]);
    assert!(told.iter().all(|(_, gateway)| gateway == "far"));
    assert_eq!(events(&room, Kind::GatewayAdded).await.len(), 1);
}

#[tokio::test]
async fn pc_62_a_wrong_or_old_enrolment_is_refused_and_changes_nothing() {
    let room = Room::open().await;
    let file = room.enrolment("far", None).await;
    let mut wrong = file.clone();
    wrong["secret"] = json!("pce_wrong");
    let failed = Far::try_on(&room, tempfile::tempdir().unwrap(), Some(&wrong)).await;
    assert_eq!(refusal(failed), "There is no such enrolment");
    let mut other = file.clone();
    other["gateway"] = json!("gtw_00000000000000000000000000000000");
    let failed = Far::try_on(&room, tempfile::tempdir().unwrap(), Some(&other)).await;
    assert_eq!(refusal(failed), "There is no such enrolment");

    let waiting: Value = room.operator().get("/api/v1/gateways/far").await.json();
    assert_eq!(waiting["state"], "waiting");
    room.test.app.clock.advance(Duration::from_hours(1));
    let failed = Far::try_on(&room, tempfile::tempdir().unwrap(), Some(&file)).await;
    assert_eq!(refusal(failed), "The enrolment has expired");
    let expired: Value = room.operator().get("/api/v1/gateways/far").await.json();
    assert_eq!(expired["state"], "expired");
    assert!(!room.test.get("/oauth/assertion-jwks").await.text().contains("gtw_"));
    // PC-51: strangers are not recorded, whoever knew the secret is.
    let told = events(&room, Kind::GatewayEnrolled).await;
    assert_eq!(told, [(Outcome::Refused("enrolment_expired".to_owned()), "far".to_owned())]);
}

#[tokio::test]
async fn pc_62_who_adds_gateways_and_what_they_are_called() {
    let room = Room::open().await;
    let operator = room.operator();
    let add = async |body: Value| operator.json("/api/v1/gateways", &body).await;
    assert_eq!(add(json!({ "name": "far", "servers": ["notes"] })).await.status, StatusCode::CREATED);
    assert_problem(&add(json!({ "name": "far" })).await, StatusCode::CONFLICT, "conflict");
    for bad in
        [json!({ "name": "Far" }), json!({ "name": "snapshot" }), json!({ "name": "b", "servers": [] })]
    {
        assert_problem(&add(bad).await, StatusCode::BAD_REQUEST, "malformed");
    }
    let unknown = add(json!({ "name": "b", "servers": ["notess"] })).await;
    assert_problem(&unknown, StatusCode::NOT_FOUND, "missing");
    assert!(unknown.text().contains("did you mean"), "{}", unknown.text());
    let own = add(json!({ "name": "b", "servers": ["portcullis"] })).await;
    assert_problem(&own, StatusCode::NOT_FOUND, "missing");
    let shown: Value = operator.get("/api/v1/gateways/far").await.json();
    assert_eq!((&shown["servers"], &shown["connected"]), (&json!(["notes"]), &json!(false)));
    assert!(!shown.to_string().contains("pce_"), "the secret is shown once");
}

#[tokio::test]
async fn pc_62_a_folder_is_one_gateways_and_its_keys_are_its_owners() {
    let room = Room::open().await;
    let far = Far::enrolled(&room, "far", None).await;
    let (path, near) = (far.folder.path().join("identity.json"), room.enrolment("near", None).await);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let failed = Far::try_on(&room, copied(far.folder.path()), Some(&near)).await.err().unwrap().0;
    assert!(matches!(failed, LoneError::Identity(IdentityError::AnotherGateway { .. })), "{failed}");
    let nobody = Identity::read(tempfile::tempdir().unwrap().path(), &Claim::default()).unwrap_err();
    assert!(nobody.to_string().contains("portcullis gateway add NAME"), "{nobody}");
    let authority = Identity::read(room.test.folder.path(), &Claim::default()).unwrap_err();
    assert!(matches!(authority, IdentityError::OfAnAuthority(_)), "{authority}");

    let folder = copied(far.folder.path());
    let copy = folder.path().join("identity.json");
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o640)).unwrap();
    let readable = Identity::read(folder.path(), &Claim::default()).unwrap_err();
    assert!(matches!(readable, IdentityError::Readable { mode: 0o640, .. }), "KEY-08: {readable}");
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&copy, "{}").unwrap();
    let damaged = Identity::read(folder.path(), &Claim::default()).unwrap_err();
    assert!(matches!(damaged, IdentityError::Damaged(_)), "no silent new key: {damaged}");
}

#[tokio::test]
async fn pc_62_a_gateways_folder_holds_no_secret_of_the_control_room() {
    let room = Room::open().await;
    let far = Far::enrolled(&room, "far", None).await;
    let token = room.token("notes").await;
    assert_eq!(far.call(&token, "notes", "list_notes").await.0, StatusCode::OK);
    until(async || far.has_kept(&room).await).await;
    let secret = room.test.credentials("ci-bot").client_secret;
    let mut looked_at = 0;
    let mut folders = vec![far.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
            let text = String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
            looked_at += 1;
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            for strange in
                [secret.as_str(), token.as_str(), "pcs_", "pce_", "ci-bot.json", "platform", "sealed"]
            {
                assert!(!text.contains(strange), "{name} holds {strange:.4}…");
            }
        }
    }
    assert!(looked_at >= 4, "identity, snapshot, its moment and the record: {looked_at}");
}
