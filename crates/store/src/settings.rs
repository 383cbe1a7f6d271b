//! Settings: single values by name.

use crate::connection::values;
use crate::error::Error;
use crate::reader::Reader;
use crate::statements::statements;
use crate::tx::Tx;

statements! {
    SETTING = "SELECT value FROM setting WHERE name = $1";
    PUT_SETTING =
        "INSERT INTO setting (name, value) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE setting.value <> excluded.value";
}

impl Reader<'_> {
    /// A setting.
    pub async fn setting(&mut self, name: &str) -> Result<Option<String>, Error> {
        let row = self.connection.row(SETTING, values![name]).await?;
        row.map(|row| row.named("setting", name).text("value")).transpose()
    }
}

impl Tx {
    /// Sets a setting; whether that changed anything.
    pub async fn put_setting(&mut self, name: &str, value: &str) -> Result<bool, Error> {
        let values = values![name, value];
        Ok(self.connection.execute(PUT_SETTING, values).await? == 1)
    }
}
