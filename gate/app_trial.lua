-- Says how a suspended application goes on, if it is due.
--
-- KEYS[3] suspended   sorted set of suspended SdkAppIds by when they go on (ms)
-- KEYS[4] suspension  hash of this SdkAppId
-- KEYS[5] rooms       list of the snapshots that wait for it
-- KEYS[6] open        sorted set of snapshots begun and not accepted or ended
-- ARGV[2] SdkAppId
-- ARGV[3] lease       ms after which another one is asked for, if nothing is
--                     heard of the first
-- ARGV[4], ARGV[5] ...  ids at the list's head that have ended meanwhile
-- Returns {"trial", snapshot id}: this one may be sent, to see whether calls work
-- again; {"release"}: what waits is let go; {"none"}: not now; {"more"}: all that
-- was looked at had ended; {"ended"}: nothing waits for it any more, so that it
-- is no longer suspended.
local SUSPENDED, SUSPENSION, app = KEYS[3], KEYS[4], ARGV[2]
local due = redis.call('ZSCORE', SUSPENDED, app)
if not due or tonumber(due) > NOW then
  return {'none'}
end
if redis.call('HEXISTS', SUSPENSION, 'since') == 0 then
  redis.call('ZADD', SUSPENDED, NOW + 15 * SECOND, app) -- until then nobody else releases
  return {'release'}
end
local app_trial_at = redis.call('HGET', GATE, 'app_trial_at')
if app_trial_at and NOW < tonumber(app_trial_at) then
  return {'none'}
end
for i = 4, #ARGV do
  if redis.call('LINDEX', KEYS[5], 0) == ARGV[i] then
    redis.call('LPOP', KEYS[5])
  end
end
if #ARGV > 3 then
  return {'more'}
end
local id = redis.call('LPOP', KEYS[5])
if not id then
  redis.call('DEL', SUSPENSION)
  redis.call('ZREM', SUSPENDED, app)
  count('version')
  return {'ended'}
end
redis.call('HSET', GATE, 'app_trial_at', NOW + SECOND) -- one a second, of all applications
redis.call('HSET', SUSPENSION, 'trial', id)
redis.call('ZADD', SUSPENDED, NOW + ARGV[3], app)
redis.call('ZADD', KEYS[6], NOW, id)
count('version')
return {'trial', id}
