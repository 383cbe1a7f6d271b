//! Where calls are recorded: on this machine, and in what gateways that run alone brought here; and a position in all of it.

use super::{InvalidPosition, Position, folder};
use crate::gateways::records;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The gateway whose record it is; `None` for the one of this machine.
    pub gateway: Option<String>,
    /// Where its segments are.
    pub folder: PathBuf,
}

/// Every record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources(Vec<Source>);

/// Where a list goes on, in each source that is not at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(BTreeMap<String, Option<Position>>);

/// What our own record is called in a cursor; no folder of a gateway is.
const OWN: &str = "own";

impl Source {
    fn key(&self) -> &str {
        let name = self.folder.file_name().and_then(|name| name.to_str());
        self.gateway.as_ref().and(name).unwrap_or(OWN)
    }
}

impl Sources {
    /// All that are in a data folder. Reads the disk.
    pub fn of(data: &Path) -> io::Result<Self> {
        let own = Source { gateway: None, folder: folder(data) };
        let others = records::all(data)?.into_iter();
        let others = others.map(|(name, folder)| Source { gateway: Some(name), folder });
        Ok(Self([own].into_iter().chain(others).collect()))
    }

    /// These.
    pub fn new(sources: Vec<Source>) -> Self {
        Self(sources)
    }

    /// Each, and the position before which it is read; without those that were read to their end.
    pub(super) fn from<'s>(
        &'s self,
        cursor: Option<&'s Cursor>,
    ) -> impl Iterator<Item = (&'s Source, Option<Position>)> {
        self.0.iter().filter_map(move |source| match cursor {
            None => Some((source, None)),
            Some(cursor) => Some((source, *cursor.0.get(source.key())?)),
        })
    }
}

impl Cursor {
    pub(super) fn of<'s>(places: impl Iterator<Item = (&'s Source, Option<Position>)>) -> Self {
        Self(places.map(|(source, position)| (source.key().to_owned(), position)).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn in_source(&self, source: &Source) -> Option<Position> {
        self.0.get(source.key()).copied().flatten()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (key, position)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            match position {
                Some(position) => write!(formatter, "{comma}{key}:{position}")?,
                // Nothing of it was read yet.
                None => write!(formatter, "{comma}{key}:")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = InvalidPosition;
    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let place = |text: &str| {
            let (key, position) = text.split_once(':').ok_or(InvalidPosition)?;
            let position = if position.is_empty() { None } else { Some(position.parse()?) };
            Ok((key.to_owned(), position))
        };
        text.split(',').map(place).collect::<Result<_, _>>().map(Self)
    }
}
