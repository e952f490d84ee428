-- Owner: recon-svc. Locks: creates a new table only, none on existing ones.
--
-- What a node of a chain was found to accept, by being refused. The next process begins with it instead of being
-- refused again. NULL: no refusal taught this limit. A row older than a week is not believed: plans and nodes change.
CREATE TABLE eidos_jobs_chain_limits (
    endpoint     VARCHAR(300) NOT NULL,    -- scheme, host and port: neither credentials nor a path
    chain_id     BIGINT NOT NULL,
    batch_calls  BIGINT CHECK (batch_calls > 0),  -- calls in one JSON-RPC batch
    log_blocks   BIGINT CHECK (log_blocks > 0),   -- blocks in one range of eth_getLogs
    call_gas     BIGINT CHECK (call_gas > 0),     -- gas that one eth_call may name
    learned_at   TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (endpoint, chain_id)
);
