//! Chromium and its driver, for the tests that look at pages as a person does.

use std::path::PathBuf;

use anyhow::Result;

use crate::shell;
use crate::system::{Consent, Part, ensure};

pub(crate) struct Browser {
    pub(crate) chromium: PathBuf,
    pub(crate) chromedriver: PathBuf,
}

impl Browser {
    pub(crate) fn ensure(consent: Consent) -> Result<Self> {
        let browser = ensure(Part::Browser, consent, Self::find)?;
        println!("   {} with {}", browser.chromium.display(), browser.chromedriver.display());
        Ok(browser)
    }

    fn find() -> Option<Self> {
        let chromium = shell::which(&["chromium", "chromium-browser", "google-chrome"])?;
        let chromedriver = shell::which(&["chromedriver"])?;
        Some(Self { chromium, chromedriver })
    }
}
