-- Filled from the setting platforms.NAME.exchanges; a platform without the setting has no rows.

CREATE TABLE IF NOT EXISTS platform_exchanges (
    platform text NOT NULL CHECK (platform IN ('ai_trading', 'mastertrade')),
    exchange text NOT NULL,
    rank     int  NOT NULL,   -- the lowest has precedence
    PRIMARY KEY (platform, exchange)
);
COMMENT ON TABLE platform_exchanges IS 'the order of exchanges in which a platform looks for a symbol';
