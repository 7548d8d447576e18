-- Fills the topics that the pipeline reads. Run by examples/kafka/run, which creates them.

CREATE STREAM made_trades (
  trade_id BIGINT, user_id BIGINT, symbol VARCHAR, quantity INT, amount DECIMAL(12,2), ts TIMESTAMP
) WITH (
  connector = 'datagen', rows = '${trades:100000}', seed = 42,
  'fields.trade_id.kind' = 'sequence',
  'fields.user_id.kind' = 'random', 'fields.user_id.min' = 1, 'fields.user_id.max' = 5000,
  'fields.symbol.kind' = 'random', 'fields.symbol.prefix' = 'SYM', 'fields.symbol.min' = 1, 'fields.symbol.max' = 1000,
  'fields.quantity.kind' = 'random', 'fields.quantity.min' = 1, 'fields.quantity.max' = 500,
  'fields.amount.kind' = 'random', 'fields.amount.min' = '10.00', 'fields.amount.max' = '20000.00',
  'fields.ts.kind' = 'sequence', 'fields.ts.start' = '2026-01-02 09:30:00', 'fields.ts.step' = '10ms'
);
CREATE TABLE made_profiles (user_id BIGINT, tier VARCHAR, risk_score DECIMAL(9,4), PRIMARY KEY (user_id)) WITH (
  connector = 'datagen', rows = 5000, seed = 1,
  'fields.user_id.kind' = 'sequence',
  'fields.tier.kind' = 'choice', 'fields.tier.values' = 'bronze,silver,gold',
  'fields.risk_score.kind' = 'random', 'fields.risk_score.min' = '0.0000', 'fields.risk_score.max' = '1.0000'
);
CREATE TABLE made_limits (user_id BIGINT, position_limit DECIMAL(14,2), PRIMARY KEY (user_id)) WITH (
  connector = 'datagen', rows = 5000, seed = 2,
  'fields.user_id.kind' = 'sequence',
  'fields.position_limit.kind' = 'random', 'fields.position_limit.min' = '5000.00',
  'fields.position_limit.max' = '500000.00'
);
CREATE TABLE made_prices (symbol VARCHAR, current_price DECIMAL(12,4), PRIMARY KEY (symbol)) WITH (
  connector = 'datagen', rows = 1000, seed = 3,
  'fields.symbol.kind' = 'sequence', 'fields.symbol.prefix' = 'SYM',
  'fields.current_price.kind' = 'random', 'fields.current_price.min' = '1.0000', 'fields.current_price.max' = '900.0000'
);

-- A message key names the user or symbol: what is of one key stays in one partition, in order.
CREATE SINK profiles WITH (
  connector = 'kafka', 'bootstrap.servers' = '${servers}', topic = '${prefix}-user_profiles', format = 'json', key = 'user_id'
) AS SELECT user_id, tier, risk_score FROM made_profiles;

CREATE SINK limits WITH (
  connector = 'kafka', 'bootstrap.servers' = '${servers}', topic = '${prefix}-limits', format = 'json', key = 'user_id'
) AS SELECT user_id, position_limit FROM made_limits;

CREATE SINK prices WITH (
  connector = 'kafka', 'bootstrap.servers' = '${servers}', topic = '${prefix}-market_data', format = 'json', key = 'symbol'
) AS SELECT symbol, current_price FROM made_prices;

CREATE SINK trades WITH (
  connector = 'kafka', 'bootstrap.servers' = '${servers}', topic = '${prefix}-trades', format = 'json', key = 'user_id'
) AS SELECT trade_id, user_id, symbol, quantity, amount, ts FROM made_trades;
