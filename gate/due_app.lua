-- Finds a suspended application whose next step is due.
--
-- KEYS[3] suspended  sorted set of suspended SdkAppIds by their next step (ms)
-- Returns {SdkAppId}, or {}.
return redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', NOW, 'LIMIT', 0, 1)
