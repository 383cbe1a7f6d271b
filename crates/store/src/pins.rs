//! Pinned tool definitions, and what was seen that is not as it was pinned (PC-33).
//!
//! Whatever changes them takes the server's row first, so that two nodes cannot both make the first pins, and an approval
//! and a sighting of one tool follow each other.

use crate::connection::values;
use crate::error::Error;
use crate::feed::ChangeKind;
use crate::reader::Reader;
use crate::row::Row;
use crate::statements::statements;
use crate::tx::Tx;
use portcullis_domain::id::ServerId;
use portcullis_domain::pins::{Definition, Digest, MAX_TOOLS, Pin, Pins, SeenTool};
use portcullis_oauth::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// A pinned tool, with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedTool {
    /// Its name.
    pub name: String,
    /// As it was approved.
    pub definition: Definition,
    /// Which approval of this tool it is, counted from 1.
    pub approval: u64,
    /// When.
    pub approved_at: Timestamp,
    /// By whom, in words.
    pub approved_by: String,
}

/// The newest definition that was seen of a tool, and that is not the pinned one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighted {
    /// Its name.
    pub name: String,
    /// As it was seen.
    pub definition: Definition,
    /// When it was first seen so.
    pub seen_at: Timestamp,
}

statements! {
    ALL_PINS =
        "SELECT p.server_id, p.tool, p.digest, p.approval, s.tool IS NOT NULL AS held
         FROM pin p LEFT JOIN sighting s ON s.server_id = p.server_id AND s.tool = p.tool";
    PINNED =
        "SELECT tool, definition, approval, approved_at, approved_by FROM pin WHERE server_id = $1 ORDER BY tool";
    SIGHTED =
        "SELECT tool, definition, seen_at FROM sighting WHERE server_id = $1 ORDER BY tool";
    TAKE_SERVER =
        "UPDATE server SET name = name WHERE id = $1";
    DIGESTS =
        "SELECT tool, digest, approval FROM pin WHERE server_id = $1";
    PUT_PIN =
        "INSERT INTO pin (server_id, tool, digest, definition, approval, approved_at, approved_by)
         VALUES ($1, $2, $3, $4, 1, $5, $6)
         ON CONFLICT (server_id, tool) DO UPDATE SET digest = excluded.digest, definition = excluded.definition,
             approval = pin.approval + 1, approved_at = excluded.approved_at, approved_by = excluded.approved_by";
    PUT_SIGHTING =
        "INSERT INTO sighting (server_id, tool, digest, definition, seen_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (server_id, tool) DO UPDATE SET digest = excluded.digest, definition = excluded.definition,
             seen_at = excluded.seen_at
         WHERE sighting.digest <> excluded.digest";
    REMOVE_SIGHTING =
        "DELETE FROM sighting WHERE server_id = $1 AND tool = $2";
}

impl Reader<'_> {
    /// Every pin of every server: what a gateway needs.
    pub async fn pins(&mut self) -> Result<BTreeMap<ServerId, Pins>, Error> {
        let mut all: BTreeMap<ServerId, Pins> = BTreeMap::new();
        for row in self.connection.rows(ALL_PINS, values![]).await? {
            let tool = row.text("tool")?;
            let row = row.named("pin", &tool);
            let pin = Pin {
                digest: row.parsed("digest")?,
                approval: row.int("approval")?,
                held: row.bool("held")?,
            };
            all.entry(row.parsed("server_id")?).or_default().insert(tool, pin);
        }
        Ok(all)
    }

    /// The pinned tools of a server, by name.
    pub async fn pinned_tools(&mut self, server: ServerId) -> Result<Vec<PinnedTool>, Error> {
        let rows = self.connection.rows(PINNED, values![server]).await?;
        rows.into_iter()
            .map(|row| {
                let name = row.text("tool")?;
                let row = row.named("pin", &name);
                Ok(PinnedTool {
                    definition: definition(&row)?,
                    approval: row.int("approval")?,
                    approved_at: row.time("approved_at")?,
                    approved_by: row.text("approved_by")?,
                    name,
                })
            })
            .collect()
    }

    /// What was seen on a server and is not as it was pinned, by name.
    pub async fn sighted_tools(&mut self, server: ServerId) -> Result<Vec<Sighted>, Error> {
        let rows = self.connection.rows(SIGHTED, values![server]).await?;
        rows.into_iter()
            .map(|row| {
                let name = row.text("tool")?;
                let row = row.named("sighting", &name);
                Ok(Sighted { definition: definition(&row)?, seen_at: row.time("seen_at")?, name })
            })
            .collect()
    }

    /// Digest and approval of each pinned tool of a server.
    async fn digests(&mut self, server: ServerId) -> Result<BTreeMap<String, (Digest, u64)>, Error> {
        let rows = self.connection.rows(DIGESTS, values![server]).await?;
        rows.into_iter()
            .map(|row| {
                let tool = row.text("tool")?;
                let row = row.named("pin", &tool);
                Ok((tool, (row.parsed("digest")?, row.int("approval")?)))
            })
            .collect()
    }
}

fn definition(row: &Row) -> Result<Definition, Error> {
    Definition::try_from(row.text("definition")?).map_err(|_| row.corrupt("definition"))
}

impl Tx {
    /// Pins the first whole list of a server. Does nothing, and says so, if the server is gone or has pins.
    pub async fn pin_first(&mut self, server: ServerId, tools: &[SeenTool]) -> Result<bool, Error> {
        if tools.is_empty() || !self.take_server(server).await? {
            return Ok(false);
        }
        if !self.read().digests(server).await?.is_empty() {
            return Ok(false);
        }
        for seen in tools.iter().take(MAX_TOOLS) {
            self.put_pin(server, &seen.name, &seen.definition, "first sight").await?;
        }
        Ok(true)
    }

    /// Remembers what was seen and is not as it was pinned; the names of those of which that was not known yet. What
    /// was compared with an earlier approval than today's is not counted: it is seen again if it is still so.
    pub async fn sight(&mut self, server: ServerId, tools: &[SeenTool]) -> Result<Vec<String>, Error> {
        if tools.is_empty() || !self.take_server(server).await? {
            return Ok(Vec::new());
        }
        let pinned = self.read().digests(server).await?;
        let mut known: BTreeSet<String> =
            self.read().sighted_tools(server).await?.into_iter().map(|sighted| sighted.name).collect();
        let mut news = Vec::new();
        for seen in tools {
            let digest = seen.definition.digest();
            let (pin, approval) = pinned.get(&seen.name).map_or((None, 0), |(pin, n)| (Some(*pin), *n));
            if pin == Some(digest) || approval != seen.approval {
                continue;
            }
            // What is pinned is held whatever else there is; of new names an upstream can think up any number.
            if pin.is_none() && !known.contains(&seen.name) && known.len() >= MAX_TOOLS {
                continue;
            }
            let values =
                values![server, &seen.name, digest.to_string(), seen.definition.as_str(), self.now()];
            if self.connection.execute(PUT_SIGHTING, values).await? > 0 {
                known.insert(seen.name.clone());
                news.push(seen.name.clone());
                if pin.is_some() {
                    self.changed(ChangeKind::Registry);
                }
            }
        }
        Ok(news)
    }

    /// Approves a definition of a tool: what was seen before this counts no more.
    pub async fn approve_tool(
        &mut self,
        server: ServerId,
        (tool, definition): (&str, &Definition),
        by: &str,
    ) -> Result<(), Error> {
        self.put_pin(server, tool, definition, by).await?;
        self.connection.execute(REMOVE_SIGHTING, values![server, tool]).await?;
        Ok(())
    }

    /// Takes the server's row until the end; whether the server is there. To be asked before pins are compared.
    pub async fn take_server(&mut self, server: ServerId) -> Result<bool, Error> {
        Ok(self.connection.execute(TAKE_SERVER, values![server]).await? == 1)
    }

    async fn put_pin(
        &mut self,
        server: ServerId,
        tool: &str,
        definition: &Definition,
        by: &str,
    ) -> Result<(), Error> {
        let digest = definition.digest().to_string();
        let values = values![server, tool, digest, definition.as_str(), self.now(), by];
        self.connection.execute(PUT_PIN, values).await?;
        self.changed(ChangeKind::Registry);
        Ok(())
    }
}
