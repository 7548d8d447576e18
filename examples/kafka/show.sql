-- What the pipeline wrote, as a reader of committed records sees it.

CREATE STREAM enriched (
  trade_id BIGINT, user_id BIGINT, symbol VARCHAR, amount DECIMAL(12,2), tier VARCHAR, risk_score DECIMAL(9,4),
  position_limit DECIMAL(14,2), current_price DECIMAL(12,4), over_limit BOOLEAN
) WITH (
  connector = 'kafka', 'bootstrap.servers' = '${servers}', topic = '${prefix}-enriched', format = 'json'
);

SELECT trade_id, symbol, amount, tier, risk_score, position_limit, current_price FROM enriched
WHERE trade_id <= 5 ORDER BY trade_id;

SELECT tier, count(*) AS trades, count(DISTINCT trade_id) AS different, sum(amount) AS amount,
       count(*) FILTER (WHERE over_limit) AS over_limit
FROM enriched GROUP BY tier ORDER BY tier;
