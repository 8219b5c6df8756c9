//! The monitor: a history that only grows.

use std::ops::RangeInclusive;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::MONITOR;
use crate::service::Client;
use crate::stage::{PATIENCE, Stage};
use crate::wait;

pub struct Monitor(Client);

impl Monitor {
    /// It, once it answers.
    pub async fn serving(stage: &Stage) -> Result<Self> {
        Ok(Self(Client::serving(stage, MONITOR).await?))
    }

    /// Waits until it has seen each of so many services up.
    pub async fn sees_all_up(&self, services: usize) -> Result<()> {
        wait::answer("the monitor to see every service up", PATIENCE, || async {
            let status = self.0.get("status").await?;
            let targets = status["targets"].as_object().context("no targets")?;
            let up = targets.values().filter(|target| target["up"] == true).count();
            ensure!(up == services, "it sees {status}");
            Ok(())
        })
        .await
    }

    /// Every row of its history: their numbers are 1, 2, 3 and so on.
    pub async fn history(&self) -> Result<Vec<Value>> {
        let mut rows: Vec<Value> = Vec::new();
        loop {
            let page = self.0.get(&format!("history?after={}", rows.len())).await?;
            let page = page.as_array().context("the history is no list")?;
            for row in page {
                ensure!(row[0] == rows.len() + 1, "row {row} stands after {:?}", rows.last());
                rows.push(row.clone());
            }
            if page.is_empty() {
                return Ok(rows);
            }
        }
    }

    /// Its history is that of before up to one of the rows `captured`, and goes on from there; returns how many rows came back.
    pub async fn goes_on(&self, before: &[Value], captured: RangeInclusive<usize>) -> Result<usize> {
        let back = wait::answer("the monitor to go on", PATIENCE, || async {
            let now = self.history().await?;
            let back = before.iter().zip(&now).take_while(|(old, new)| old == new).count();
            ensure!(now.len() > back, "nothing was written after row {back}");
            Ok(back)
        })
        .await?;
        ensure!(captured.contains(&back), "{back} rows came back, {captured:?} may");
        Ok(back)
    }
}
