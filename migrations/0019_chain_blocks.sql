-- Owner: recon-svc. Locks: creates a new table and its index only, none on existing ones.
--
-- The newest blocks whose events were read, each with its parent and with what was derived from it. A block that another one
-- has replaced is marked lost; what was derived from it is read again, and then its row is deleted. At most 256 blocks of a
-- chain are kept beside the lost ones.
CREATE TABLE eidos_jobs_chain_blocks (
    chain_id     BIGINT NOT NULL,
    vault        VARCHAR(42) NOT NULL,     -- whose events were read
    number       BIGINT NOT NULL CHECK (number >= 0),
    hash         VARCHAR(66) NOT NULL,
    parent_hash  VARCHAR(66) NOT NULL,
    is_final     BOOLEAN NOT NULL,         -- the node said that it is final: it must never change
    derived      JSONB NOT NULL,           -- wallets that its events touch, accounts they showed first, keys of movements
    seen_at      TIMESTAMPTZ NOT NULL,
    lost_at      TIMESTAMPTZ,              -- when another block of its number was found; NULL: it is on the chain
    PRIMARY KEY (chain_id, vault, hash)
);
CREATE UNIQUE INDEX uq_chain_blocks_number ON eidos_jobs_chain_blocks (chain_id, vault, number) WHERE lost_at IS NULL;
