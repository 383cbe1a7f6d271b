//! What gateways recorded, piece by piece, each in a folder of its own: on the disk before it is acknowledged, because the
//! gateway then cuts it.
//!
//! A piece says where in its segment it belongs. Sent again, it is compared with what is there; so a lost answer doubles
//! nothing, and a piece that does not follow is refused with where to go on.

use super::door::Gateway;
use super::refusal::Refusal;
use super::wire::{Kept, MOST_RECORD};
use crate::app::App;
use crate::data::sync_folder_of;
use crate::fault::Fault;
use aws_lc_rs::digest::{SHA256, digest};
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use portcullis_domain::id::GatewayId;
use portcullis_store::StoredGateway;
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// One gateway's pieces come one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writing(Mutex<HashMap<GatewayId, Arc<tokio::sync::Mutex<()>>>>);

impl Writing {
    fn of(&self, gateway: GatewayId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(gateway).or_default())
    }
}

/// Which piece.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Piece {
    segment: u64,
    offset: u64,
    /// Of the body, base64url.
    sha256: String,
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// So much of the segment is on the disk.
    Kept(u64),
    /// It begins after the end of what is there.
    Gap(u64),
    /// Something else is there.
    Other,
    /// There is no room.
    Full,
}

/// The folder of all gateways' records, in the data folder.
pub(crate) fn folder(data: &Path) -> PathBuf {
    data.join("gateways")
}

/// The folder of one gateway's record. Its name stays readable when the gateway is gone.
fn folder_of(data: &Path, gateway: &StoredGateway) -> PathBuf {
    folder(data).join(format!("{}.{}", gateway.name, gateway.id))
}

/// Name and folder of every gateway whose record is here. Reads the disk.
pub(crate) fn all(data: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(folder(data)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('.'));
        if let Some((name, _)) = name.filter(|(_, id)| id.parse::<GatewayId>().is_ok()) {
            all.push((name.to_owned(), path.clone()));
        }
    }
    all.sort_unstable();
    Ok(all)
}

/// `POST /api/v1/gateways/records`
pub(super) async fn take(
    gateway: Gateway,
    State(app): State<Arc<App>>,
    piece: Result<Query<Piece>, QueryRejection>,
    body: Body,
) -> Result<Json<Kept>, Refusal> {
    let Query(piece) = piece.map_err(|_| Refusal::Malformed("segment, offset and sha256 of a piece"))?;
    let body = to_bytes(body, MOST_RECORD).await.map_err(|_| Refusal::Malformed("too long, or cut off"))?;
    if BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, &body)) != piece.sha256 {
        return Err(Refusal::Malformed("sha256 is not that of the body"));
    }
    let folder = folder_of(&app.config.data, &gateway.known);
    let (segment, most) = (piece.segment, app.config.spool_bytes);
    let lock = app.records.of(gateway.known.id);
    let alone = lock.lock_owned().await;
    let taken = tokio::task::spawn_blocking(move || {
        let _alone = alone;
        put(&folder, (piece.segment, piece.offset), body, most)
    });
    let taken = taken.await.map_err(|_| Fault::Shape("the record of a gateway"))?.map_err(|error| {
        tracing::error!(error = %error, gateway = %gateway.known.name, "the record of a gateway cannot be kept");
        Fault::Shape("the record of a gateway")
    })?;
    match taken {
        Taken::Kept(bytes) => Ok(Json(Kept { segment, bytes })),
        Taken::Gap(bytes) => Err(Refusal::Gap(Kept { segment, bytes })),
        Taken::Other => Err(Refusal::OtherRecord),
        Taken::Full => Err(Refusal::RecordFull),
    }
}

fn put(folder: &Path, (segment, offset): (u64, u64), piece: Bytes, most: u64) -> io::Result<Taken> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = folder.join(format!("{segment:010}.jsonl"));
    let is_new = !path.exists();
    let mut options = OpenOptions::new();
    let mut file = options.create(true).truncate(false).read(true).write(true).mode(0o600).open(&path)?;
    let there = file.metadata()?.len();
    if offset > there {
        return Ok(Taken::Gap(there));
    }
    let known = (there - offset).min(piece.len() as u64);
    let (known, new) = piece.split_at(usize::try_from(known).map_err(io::Error::other)?);
    if !is_the_same(&mut file, offset, known)? {
        return Ok(Taken::Other);
    }
    if !new.is_empty() && bytes_in(folder)?.saturating_add(new.len() as u64) > most {
        return Ok(Taken::Full);
    }
    file.seek(SeekFrom::Start(there))?;
    file.write_all(new)?;
    // Also where nothing was new: the process may have been killed between writing and this.
    file.sync_data()?;
    if is_new {
        sync_folder_of(&path)?;
        sync_folder_of(folder)?;
    }
    Ok(Taken::Kept(there.max(offset + piece.len() as u64)))
}

fn is_the_same(file: &mut File, offset: u64, known: &[u8]) -> io::Result<bool> {
    let mut found = vec![0; known.len()];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut found)?;
    Ok(found == known)
}

fn bytes_in(folder: &Path) -> io::Result<u64> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.len())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 100;

    fn piece(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn pc_50_a_piece_that_comes_again_doubles_nothing_and_one_that_does_not_follow_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("a.gtw_00000000000000000000000000000001");
        let put = |at, text| put(&folder, at, piece(text), MOST).unwrap();
        assert_eq!(put((1, 0), "one\n"), Taken::Kept(4));
        assert_eq!(put((1, 0), "one\n"), Taken::Kept(4), "the answer was lost");
        assert_eq!(put((1, 0), "one\ntwo\n"), Taken::Kept(8), "and it grew meanwhile");
        assert_eq!(put((1, 4), "two\nthree\n"), Taken::Kept(14));
        assert_eq!(put((1, 0), "one\n"), Taken::Kept(14));
        assert_eq!(put((1, 20), "four\n"), Taken::Gap(14));
        assert_eq!(put((1, 0), "ons\n"), Taken::Other);
        assert_eq!(put((1, 10), "rex\nX"), Taken::Other);
        assert_eq!(put((2, 5), "x\n"), Taken::Gap(0));
        assert_eq!(put((2, 0), "x\n"), Taken::Kept(2));
        assert_eq!(fs::read_to_string(folder.join("0000000001.jsonl")).unwrap(), "one\ntwo\nthree\n");
        assert_eq!(fs::read_to_string(folder.join("0000000002.jsonl")).unwrap(), "x\n");
        let names: Vec<String> =
            all(data.path().parent().unwrap()).unwrap().into_iter().map(|it| it.0).collect();
        assert!(names.is_empty(), "another folder");
    }

    #[test]
    fn pc_50_a_record_that_would_grow_beyond_its_bound_is_not_acknowledged() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("gateways/near.gtw_00000000000000000000000000000001");
        let long = Bytes::from(vec![b'x'; 60]);
        assert_eq!(put(&folder, (1, 0), long.clone(), MOST).unwrap(), Taken::Kept(60));
        assert_eq!(put(&folder, (2, 0), long.clone(), MOST).unwrap(), Taken::Full);
        assert_eq!(put(&folder, (1, 0), long, MOST).unwrap(), Taken::Kept(60), "what is there is there");
        assert_eq!(all(data.path()).unwrap()[0].0, "near");
    }
}
