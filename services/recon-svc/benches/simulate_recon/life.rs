//! [`Life`]: hour after hour of the exchange.

use std::time::Duration;

use anyhow::Context;
use eidos_devnet::{Fault, MovementFault, Planted, Trap};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::clock::WorldClock;
use crate::deck::Deck;
use crate::judge::Judge;
use crate::report::{Happened, Report};
use crate::weather::Weather;
use crate::world::{Ran, World};

const HOUR: Duration = Duration::from_hours(1);
/// Wallets that nothing is planted on, at least.
const SPARE_WALLETS: usize = 30;
/// Wallets that come at once.
const CUSTOMERS: usize = 10;
/// Hours at the end in which nothing new is planted.
const CALM_HOURS: u32 = 4;
/// Faults that add up with their like to one break, and so are planted once.
const ONCE: [Fault; 2] = [Fault::EmergencyWithdrawal, Fault::FeeNotBooked];

/// What else happens in an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Account,
    Movement,
    Trap,
    Lag,
    Reorganisation,
    Nothing,
}

impl Event {
    fn draw(rng: &mut StdRng) -> Self {
        match rng.random_range(0..100) {
            0..9 => Self::Account,
            9..22 => Self::Movement,
            22..36 => Self::Trap,
            36..39 => Self::Lag,
            39..44 => Self::Reorganisation,
            _ => Self::Nothing,
        }
    }
}

/// The exchange, and what is known about it.
pub(crate) struct Life {
    world: World,
    clock: WorldClock,
    rng: StdRng,
    judge: Judge,
    happened: Happened,
    accounts: Deck<Fault>,
    movements: Deck<MovementFault>,
    traps: Deck<Trap>,
    /// Hours since the beginning.
    hour: u32,
    /// Hours for which the indexer stands still.
    lag: u32,
    is_late_open: bool,
    /// Runs that failed although the node was honest.
    failures: Vec<String>,
}

impl Life {
    pub(crate) async fn begin(seed: u64, clock: WorldClock) -> anyhow::Result<Self> {
        let world = World::open(seed).await?;
        let traps = Trap::ALL
            .into_iter()
            .filter(|trap| *trap != Trap::MixedCaseWallet);
        Ok(Self {
            world,
            clock,
            rng: StdRng::seed_from_u64(seed ^ 0x5157),
            judge: Judge::default(),
            happened: Happened::new(),
            accounts: Deck::of(Fault::ALL.to_vec()),
            movements: Deck::of(MovementFault::ALL.to_vec()),
            traps: Deck::of(traps.collect()),
            hour: 0,
            lag: 0,
            is_late_open: false,
            failures: Vec::new(),
        })
    }

    fn note(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    /// One hour, and the run at its end.
    pub(crate) async fn hour(&mut self, is_midnight: bool) -> anyhow::Result<()> {
        self.dawn().await?;
        if self.lag > 0 {
            self.lag -= 1;
            self.note("hours without the indexer");
            self.world.devnet.deposit_unindexed().await?;
        } else {
            let event = Event::draw(&mut self.rng);
            self.trade(event).await?;
        }
        if is_midnight {
            self.world.write_config()?;
        }
        let weather = Weather::draw(&mut self.rng);
        self.run(is_midnight, weather).await
    }

    /// An hour has passed: what was in flight arrives.
    async fn dawn(&mut self) -> anyhow::Result<()> {
        self.clock.advance(HOUR)?;
        self.hour += 1;
        if std::mem::take(&mut self.is_late_open) {
            self.world.devnet.commit_late().await?;
            self.note("late commits");
        }
        self.world.devnet.let_everything_arrive().await
    }

    /// Ordinary traffic, and what the event is.
    async fn trade(&mut self, event: Event) -> anyhow::Result<()> {
        if self.world.devnet.spare_wallets() < SPARE_WALLETS {
            self.world.devnet.welcome(CUSTOMERS).await?;
        }
        self.world
            .devnet
            .hour_of_traffic()
            .await
            .context("an hour of traffic")?;
        self.world.devnet.cut().await?;
        match event {
            Event::Account => self.plant_in_an_account().await?,
            Event::Movement => self.plant_in_a_movement().await?,
            Event::Trap => self.set_a_trap().await?,
            Event::Lag => self.lag = self.rng.random_range(2..=4),
            Event::Reorganisation => self.reorganise().await?,
            Event::Nothing => self.put_an_edit_right().await?,
        }
        self.judge.follow(self.world.devnet.manifest(), self.hour);
        Ok(())
    }

    async fn plant_in_an_account(&mut self) -> anyhow::Result<()> {
        let fault = self.accounts.draw(&mut self.rng).context("no class of faults")?;
        if ONCE.contains(&fault) {
            self.accounts.retire(fault);
        }
        self.note("faults of accounts");
        let planted = self.world.devnet.plant(fault).await;
        planted.with_context(|| fault.as_str()).map(drop)
    }

    async fn plant_in_a_movement(&mut self) -> anyhow::Result<()> {
        let fault = self.movements.draw(&mut self.rng).context("no class of faults")?;
        self.note("faults of movements");
        let planted = self.world.devnet.plant_movement(fault).await;
        planted.with_context(|| fault.as_str())
    }

    async fn set_a_trap(&mut self) -> anyhow::Result<()> {
        let trap = self.traps.draw(&mut self.rng).context("no trap")?;
        self.note("traps");
        self.is_late_open = trap == Trap::LateCommit;
        let set = self.world.devnet.set_trap(trap).await;
        set.with_context(|| trap.as_str()).map(drop)
    }

    /// Some blocks are compared and then lost; now and then the books keep what they credited for one.
    async fn reorganise(&mut self) -> anyhow::Result<()> {
        let (blocks, keeps) = (self.rng.random_range(1..=6), self.rng.random_ratio(1, 3));
        self.note("reorganisations");
        let doomed = self.world.devnet.mine_doomed(blocks).await?;
        self.judge.follow(self.world.devnet.manifest(), self.hour);
        self.run(false, Weather::Honest).await?;
        if let Some(kept) = self.world.devnet.lose(doomed, keeps).await? {
            self.judge.expect_kept(&kept, self.hour);
        }
        Ok(())
    }

    /// Somebody takes an edit by hand back that was found.
    async fn put_an_edit_right(&mut self) -> anyhow::Result<()> {
        if !self.rng.random_ratio(1, 8) {
            return Ok(());
        }
        let faults = self.world.devnet.manifest().faults.iter();
        let mut edits = faults.filter(|fault| fault.class == Fault::ManualEdit && self.judge.is_found(fault));
        let edit: Option<Planted> = edits.next().cloned();
        if let Some(edit) = edit {
            self.note("edits that were put right");
            self.world.devnet.undo_edit(&edit).await?;
        }
        Ok(())
    }

    async fn run(&mut self, is_full: bool, weather: Weather) -> anyhow::Result<()> {
        self.note(if is_full { "full runs" } else { "hourly runs" });
        if weather != Weather::Honest {
            self.note("runs through a bad node");
        }
        weather.begin(&self.world.node, self.rng.random());
        let ran = self.world.reconcile(is_full).await?;
        self.world.node.behave();
        let has_read = match ran {
            Ran::Reported(report) => {
                if report["mode"] == "full" && !is_full {
                    self.note("hourly runs that became full ones");
                }
                true
            }
            Ran::Failed(said) => {
                self.note("runs that ended without a report");
                self.say_why(weather, &said);
                if weather == Weather::Honest {
                    self.failures.push(format!("hour {}: {said}", self.hour));
                }
                false
            }
        };
        self.judge.look(&self.world.jobs, self.hour, has_read).await
    }

    fn say_why(&self, weather: Weather, said: &str) {
        let is_error = |line: &&str| line.contains("error") || line.contains("failed");
        let why = said.lines().rev().find(is_error).unwrap_or(said);
        println!(
            "hour {}: no report (node: {}): {why}",
            self.hour,
            weather.as_str()
        );
    }

    /// Explains what was found since the last time.
    pub(crate) async fn explain_what_is_new(&mut self) -> anyhow::Result<()> {
        for some in self.judge.unexplained().chunks(100) {
            for answer in self.world.explain(some).await? {
                let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
                let cause = answer["explanation"]["cause"].as_str().unwrap_or("nothing");
                self.judge.explain(&(text("dimension"), text("subject")), cause);
            }
        }
        Ok(())
    }

    /// Some hours without anything new, so that what is young gets old enough to be a break.
    pub(crate) async fn calm_down(&mut self) -> anyhow::Result<()> {
        self.lag = 0;
        self.world.write_config()?;
        for hour in 0..CALM_HOURS {
            self.dawn().await?;
            self.trade(Event::Trap).await?;
            self.run(hour + 1 == CALM_HOURS, Weather::Honest).await?;
        }
        self.explain_what_is_new().await
    }

    /// How it is going.
    pub(crate) fn line(&self) -> String {
        let (planted, found) = self.judge.counts();
        format!(
            "{found} of {planted} found, {} false, {} explained, {} of them wrong",
            self.judge.false_breaks.len(),
            self.judge.explained,
            self.judge.wrong_explanations.len()
        )
    }

    pub(crate) fn end(self, days: u32, seed: u64) -> Report {
        let (_, found) = self.judge.counts();
        Report {
            seed,
            days,
            happened: self.happened,
            planted: self.judge.classes(),
            found,
            put_right: self.judge.ended(),
            failures: self.failures,
            missed: self.judge.missed(),
            hours_to_find: self.judge.hours_to_find(),
            explained: self.judge.explained,
            false_breaks: self.judge.false_breaks,
            wrong_explanations: self.judge.wrong_explanations,
        }
    }
}
