-- Trades enriched with the user's profile, position limit and the market's price.
-- From the repository's root:  cargo run -- run examples/trades/trades.sql

CREATE STREAM trades (
  trade_id BIGINT, user_id BIGINT, symbol VARCHAR, quantity INT, amount DECIMAL(12,2), ts TIMESTAMP
) WITH (
  connector = 'datagen', rows = '${trades:1000000}', seed = 42,
  'fields.trade_id.kind' = 'sequence',
  'fields.user_id.kind' = 'random', 'fields.user_id.min' = 1, 'fields.user_id.max' = 5000,
  'fields.symbol.kind' = 'random', 'fields.symbol.prefix' = 'SYM', 'fields.symbol.min' = 1, 'fields.symbol.max' = 1000,
  'fields.quantity.kind' = 'random', 'fields.quantity.min' = 1, 'fields.quantity.max' = 500,
  'fields.amount.kind' = 'random', 'fields.amount.min' = '10.00', 'fields.amount.max' = '20000.00',
  'fields.ts.kind' = 'sequence', 'fields.ts.start' = '2026-01-02 09:30:00', 'fields.ts.step' = '10ms'
);

CREATE TABLE user_profiles (
  user_id BIGINT, tier VARCHAR, risk_score DECIMAL(9,4), PRIMARY KEY (user_id)
) WITH (
  connector = 'datagen', rows = 5000, seed = 1,
  'fields.user_id.kind' = 'sequence',
  'fields.tier.kind' = 'choice', 'fields.tier.values' = 'bronze,silver,gold',
  'fields.risk_score.kind' = 'random', 'fields.risk_score.min' = '0.0000', 'fields.risk_score.max' = '1.0000'
);

CREATE TABLE limits (
  user_id BIGINT, position_limit DECIMAL(14,2), PRIMARY KEY (user_id)
) WITH (
  connector = 'datagen', rows = 5000, seed = 2,
  'fields.user_id.kind' = 'sequence',
  'fields.position_limit.kind' = 'random', 'fields.position_limit.min' = '5000.00', 'fields.position_limit.max' = '500000.00'
);

CREATE TABLE market_data (
  symbol VARCHAR, current_price DECIMAL(12,4), PRIMARY KEY (symbol)
) WITH (
  connector = 'datagen', rows = 1000, seed = 3,
  'fields.symbol.kind' = 'sequence', 'fields.symbol.prefix' = 'SYM',
  'fields.current_price.kind' = 'random', 'fields.current_price.min' = '1.0000', 'fields.current_price.max' = '900.0000'
);

CREATE SINK enriched WITH (connector = 'file', path = '${output:enriched.parquet}') AS
SELECT t.trade_id, t.symbol, t.quantity, t.amount, u.tier, u.risk_score, l.position_limit, m.current_price,
       t.amount > l.position_limit AS over_limit
FROM trades t
JOIN user_profiles u ON t.user_id = u.user_id
JOIN limits        l ON t.user_id = l.user_id
JOIN market_data   m ON t.symbol  = m.symbol
WHERE t.amount > 10000;

CREATE STREAM results WITH (connector = 'file', path = '${output:enriched.parquet}');

SELECT tier, COUNT(*) AS trades, SUM(amount) AS amount, AVG(risk_score) AS risk,
       COUNT(*) FILTER (WHERE over_limit) AS over_limit
FROM results
GROUP BY tier
ORDER BY tier;
