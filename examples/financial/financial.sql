-- Trades enriched from user profiles, limits and market data, and what becomes of those that find
-- no row there. From the repository's root:  cargo run -- run examples/financial/financial.sql

CREATE STREAM trades (
  trade_id BIGINT, user_id BIGINT, symbol VARCHAR, quantity INT, amount DECIMAL(12,2), ts TIMESTAMP
) WITH (path = 'examples/financial/trades.csv');

-- Tables load in parallel, and the trades are not opened before they are ready.
CREATE TABLE user_profiles (
  user_id BIGINT, name VARCHAR, tier VARCHAR, risk_score DECIMAL(9,4), PRIMARY KEY (user_id)
) WITH (
  path = 'examples/financial/user_profiles.csv',
  ready.timeout = '30s', ready.on_timeout = 'fail', retry.max = 3, retry.backoff = '200ms',
  default.name = '(unknown)', default.tier = 'unrated', default.risk_score = '1.0000',
  miss.dead_letter = 'missed_trades', miss.wait = '100ms', miss.then = 'default'
);

-- Two rows a user, one for each asset class: the join says which.
CREATE TABLE limits (
  user_id BIGINT, asset_class VARCHAR, position_limit DECIMAL(14,2), PRIMARY KEY (user_id, asset_class)
) WITH (path = 'examples/financial/limits.csv', on_miss = 'default', default.position_limit = '0.00');

-- Prices tick while the script runs: a row replaces that of its symbol, unless it is older.
CREATE STREAM opening_prices (symbol VARCHAR, price DECIMAL(12,4), as_of TIMESTAMP)
WITH (path = 'examples/financial/market_data.csv');

CREATE TABLE market_data (
  symbol VARCHAR, price DECIMAL(12,4), as_of TIMESTAMP, PRIMARY KEY (symbol)
) WITH (changelog = 'upsert', version = 'as_of', on_miss = 'null');

INSERT INTO market_data SELECT symbol, price, as_of FROM opening_prices;

-- New clients register one by one, for a second: the one who trades is the last of them. The table may be joined
-- with at once, as far as it is.
CREATE TABLE new_clients (user_id BIGINT, name VARCHAR, PRIMARY KEY (user_id)) WITH (
  connector = 'datagen', rows = 100, rows.per_second = 100, fields.user_id.kind = 'sequence',
  fields.user_id.start = 900, fields.name.kind = 'constant', fields.name.value = 'a new client',
  ready = 'immediately', changelog = 'upsert', miss.wait = '30s', miss.then = 'null'
);

-- A table that takes its time: the trades wait for all of it, and a bar or the log tells how far it is.
CREATE TABLE barred (user_id BIGINT, PRIMARY KEY (user_id)) WITH (
  connector = 'datagen', rows = 4000, rows.per_second = 2000, fields.user_id.kind = 'sequence',
  fields.user_id.start = 103, fields.user_id.step = 10, ready = 'end', ready.timeout = '30s'
);

CREATE SINK missed_trades WITH (path = '${letters:missed_trades.csv}');

-- Before anything runs: how well do the keys of both sides fit?
CHECK JOIN SELECT t.trade_id, m.price FROM trades t JOIN market_data m ON t.symbol = m.symbol;

-- SQL's own answer: the trades of user 999 and of nobody are gone. Limits have defaults, prices NULLs.
SELECT 'sql' AS on_miss, t.trade_id, u.name, l.position_limit, m.price, t.amount > l.position_limit AS over_limit
FROM trades t
JOIN user_profiles u ON t.user_id = u.user_id
JOIN limits        l ON t.user_id = l.user_id AND l.asset_class = 'EQUITY'
JOIN market_data   m ON t.symbol  = m.symbol
ORDER BY t.trade_id;

-- The same trades, each policy for the profile in turn.
SELECT /*+ ON_MISS(u, 'null') */ 'null' AS on_miss, t.trade_id, u.name, u.tier
FROM trades t JOIN user_profiles u ON t.user_id = u.user_id ORDER BY t.trade_id;

SELECT /*+ ON_MISS(u, 'drop') */ 'drop' AS on_miss, t.trade_id, u.name, u.tier
FROM trades t LEFT JOIN user_profiles u ON t.user_id = u.user_id ORDER BY t.trade_id;

-- Which row was used, and as of when? A default is told from a row by _matched.
SELECT /*+ ON_MISS(u, 'default') */ 'default' AS on_miss, t.trade_id, u.name, u.risk_score, u._matched, u._version
FROM trades t JOIN user_profiles u ON t.user_id = u.user_id ORDER BY t.trade_id;

-- To a sink, with the table, the key and the whole row.
SELECT /*+ ON_MISS(u, 'dead_letter') */ 'dead_letter' AS on_miss, t.trade_id, u.name, u.tier
FROM trades t JOIN user_profiles u ON t.user_id = u.user_id ORDER BY t.trade_id;

SELECT table_name, table_key, stream_row FROM '${letters:missed_trades.csv}';

-- Parked for a moment: nobody adds the profile here, so what follows is the default.
SELECT /*+ ON_MISS(u, 'wait') */ 'wait' AS on_miss, t.trade_id, u.name, u.tier
FROM trades t JOIN user_profiles u ON t.user_id = u.user_id ORDER BY t.trade_id;

-- The profile of trade 4 is late. SQL's own answer, right now:
SELECT 'sql' AS on_miss, t.trade_id, n.name
FROM trades t LEFT JOIN new_clients n ON t.user_id = n.user_id WHERE t.trade_id = 4;

-- The same with 'wait': the trade is parked, and let go with its profile as soon as that is there.
SELECT /*+ ON_MISS(n, 'wait') */ 'wait' AS on_miss, t.trade_id, n.name, n._matched
FROM trades t JOIN new_clients n ON t.user_id = n.user_id WHERE t.trade_id = 4;

-- The market ticks: a newer price of AAPL, the first one of XYZ, and one of TSLA that is too old to count.
INSERT INTO market_data VALUES
  ('AAPL', 191.2500, TIMESTAMP '2026-11-25 09:30:01'), ('XYZ', 10.0100, TIMESTAMP '2026-11-25 09:30:01'),
  ('TSLA', 1.0000, TIMESTAMP '2026-11-25 09:00:00');

SELECT 'after the ticks' AS prices, t.trade_id, t.symbol, m.price, m.as_of
FROM trades t JOIN market_data m ON t.symbol = m.symbol ORDER BY t.trade_id;

-- Nothing is joined before the slow table is whole: user 103 is barred, and so are trades 3 and 8.
SELECT t.trade_id, t.user_id FROM trades t
WHERE NOT EXISTS (SELECT 1 FROM barred b WHERE b.user_id = t.user_id) ORDER BY t.trade_id;

-- And 'error' would end the run at trade 4:
-- SELECT /*+ ON_MISS(u, 'error') */ t.trade_id, u.name FROM trades t JOIN user_profiles u ON t.user_id = u.user_id;
