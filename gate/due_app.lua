-- Names the application that is due to go on.
--
-- KEYS[3] suspended  sorted set of suspended SdkAppIds by when they go on (ms)
-- Returns {SdkAppId}, or {}.
return redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', NOW, 'LIMIT', 0, 1)
