-- Trades of one topic, enriched from three tables that are topics too, into another topic, exactly once.
-- Run by examples/kafka/run; without LIMIT it goes on until Ctrl-C.

SET checkpoint.path = '${checkpoints}';

CREATE STREAM trades (
  trade_id BIGINT, user_id BIGINT, symbol VARCHAR, quantity INT, amount DECIMAL(12,2), ts TIMESTAMP
) WITH (
  connector = 'kafka', 'bootstrap.servers' = '${servers}', topic = '${prefix}-trades', format = 'json'
);
-- Tables over compacted topics: read to their ends before a trade is, then kept current.
CREATE TABLE user_profiles (user_id BIGINT, tier VARCHAR, risk_score DECIMAL(9,4), PRIMARY KEY (user_id)) WITH (
  connector = 'kafka', 'bootstrap.servers' = '${servers}', topic = '${prefix}-user_profiles', format = 'json', key = 'user_id'
);
CREATE TABLE limits (user_id BIGINT, position_limit DECIMAL(14,2), PRIMARY KEY (user_id)) WITH (
  connector = 'kafka', 'bootstrap.servers' = '${servers}', topic = '${prefix}-limits', format = 'json', key = 'user_id'
);
CREATE TABLE market_data (symbol VARCHAR, current_price DECIMAL(12,4), PRIMARY KEY (symbol)) WITH (
  connector = 'kafka', 'bootstrap.servers' = '${servers}', topic = '${prefix}-market_data', format = 'json', key = 'symbol'
);

CREATE SINK enriched WITH (
  connector = 'kafka', 'bootstrap.servers' = '${servers}', topic = '${prefix}-enriched', format = 'json', key = 'user_id'
) AS
SELECT t.trade_id, t.user_id, t.symbol, t.quantity, t.amount, t.ts, u.tier, u.risk_score, l.position_limit,
       m.current_price, t.amount > l.position_limit AS over_limit
FROM trades t
JOIN user_profiles u ON t.user_id = u.user_id
JOIN limits        l ON t.user_id = l.user_id
JOIN market_data   m ON t.symbol  = m.symbol
LIMIT ${trades:100000};
