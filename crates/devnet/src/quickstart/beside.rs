//! The databases beside the reconciled exchange: orders with a matching engine and a trading service, and markets. The books
//! of the exchange agree with the chain to the last digit, and orders or trades without a counterpart there would break that.

use std::path::Path;

use sqlx::PgPool;

use super::all::{Program, Stage};
use super::beside_config::{ExpirerEndpoints, aggregator_config, expirer_config};
use super::servers::Servers;
use crate::market::{Market, MarketOptions};
use crate::matching::{Matching, MatchingOptions};
use crate::neighbours;

/// The trading service's orders.
const ORDERS: &str = "eidos_orders";
/// The market service's tables, and the trading service's trades.
const MARKETS: &str = "eidos_markets";

/// Both databases with what runs on them, but for the markets' trades, which are made by [`Market`].
pub(super) struct Beside {
    pub(super) orders: PgPool,
    pub(super) engine: Matching,
    pub(super) market_db: PgPool,
    /// Beginning of the first candle, epoch ms.
    pub(super) from_ms: i64,
    pub(super) expirer: Program,
    pub(super) aggregator: Program,
    pub(super) redis: String,
    /// The slot of the aggregator's runs, epoch ms.
    pub(super) slot_ms: i64,
}

impl Beside {
    /// Fills the markets, starts the engine and writes the services' configurations. There are no orders yet. With `brokers`
    /// the engine publishes the ends of orders there, and order-expirer reads them.
    pub(super) async fn build(
        servers: &Servers,
        stage: &Stage,
        dir: &Path,
        seed: u64,
        gaps: bool,
        brokers: Option<String>,
    ) -> anyhow::Result<(Self, Market)> {
        for database in [ORDERS, MARKETS] {
            servers.fresh_database(database).await?;
        }
        let orders = PgPool::connect(&servers.url(ORDERS)).await?;
        let market_db = PgPool::connect(&servers.url(MARKETS)).await?;
        neighbours::install(&orders).await?;
        neighbours::install(&market_db).await?;
        neighbours::install_logins(&orders, &market_db, &stage.jobs).await?;
        let slot_ms = crate::devnet::now_ms() / 1_000 * 1_000;
        let market = Market::fill(
            &market_db,
            MarketOptions {
                seed,
                now_ms: slot_ms,
                gaps,
            },
        )
        .await?;
        let engine = Matching::start(MatchingOptions {
            seed,
            brokers: brokers.clone(),
            ..MatchingOptions::new(orders.clone())
        })
        .await?;
        let expirer = expirer_config(&ExpirerEndpoints {
            jobs_database: servers.jobs_url_as(neighbours::EXPIRER_ROLE, neighbours::EXPIRER_PASSWORD),
            orders_database: servers.url_as(
                ORDERS,
                neighbours::ORDERS_READER_ROLE,
                neighbours::ORDERS_READER_PASSWORD,
            ),
            redis: servers.redis_url(),
            matching: engine.grpc_url(),
            brokers,
        });
        let role = (neighbours::AGGREGATOR_ROLE, neighbours::AGGREGATOR_PASSWORD);
        let aggregator = aggregator_config(
            &servers.jobs_url_as(role.0, role.1),
            &servers.url_as(MARKETS, role.0, role.1),
            &servers.redis_url(),
        );
        let beside = Self {
            orders,
            engine,
            market_db,
            from_ms: market.range().0,
            expirer: Program::new(dir, "order-expirer", &expirer)?,
            aggregator: Program::new(dir, "aggregator", &aggregator)?,
            redis: servers.redis_url(),
            slot_ms,
        };
        Ok((beside, market))
    }
}
