-- The admin service's tables: the token registry, which is the best source of decimals and addresses.

-- status: 0 inactive 1 active
CREATE TABLE eidos_admin_token_configs (
    id               BIGSERIAL PRIMARY KEY,
    symbol           VARCHAR(20)  NOT NULL,
    name             VARCHAR(100) NOT NULL,
    contract_address VARCHAR(42)  NOT NULL,
    decimals         INT          NOT NULL,
    chain_id         INT          NOT NULL,
    status           SMALLINT     NOT NULL DEFAULT 1,
    confirmations    INT          NOT NULL DEFAULT 12,
    created_at       BIGINT       NOT NULL,
    updated_at       BIGINT       NOT NULL,
    UNIQUE (chain_id, symbol)
);

CREATE TABLE eidos_admin_audit_logs (
    id             BIGSERIAL PRIMARY KEY,
    admin_id       BIGINT       NOT NULL,
    admin_username VARCHAR(100) NOT NULL,
    action         VARCHAR(100) NOT NULL,
    resource_type  VARCHAR(50)  NOT NULL,
    resource_id    VARCHAR(64)  NOT NULL,
    old_value      JSONB,
    new_value      JSONB,
    ip_address     VARCHAR(45),
    user_agent     VARCHAR(255),
    request_id     VARCHAR(64),
    created_at     BIGINT       NOT NULL
);
CREATE INDEX idx_eidos_admin_audit_logs_created ON eidos_admin_audit_logs (created_at);
