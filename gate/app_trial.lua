-- Decides the next step of a suspended application, if it is due.
--
-- KEYS[3] suspended   sorted set of suspended SdkAppIds by their next step (ms)
-- KEYS[4] suspension  hash of this SdkAppId, see report.lua
-- KEYS[5] rooms       list of the snapshots that wait for it
-- KEYS[6] open        sorted set of snapshots begun and not accepted or ended
-- ARGV[2] SdkAppId
-- ARGV[3] lease       ms after which a trial without a report is over
-- ARGV[4], ARGV[5] ...  ids at the head of the list that need no trial any more
-- Returns
--   {"trial", snapshot id}  this snapshot may be sent as a trial
--   {"release"}             its rooms are to be released
--   {"none"}                it is not due
--   {"more"}                the given ids were removed; call again with the next ones
--   {"ended"}               no room waits for it, so it is no longer suspended
local SUSPENDED, SUSPENSION, app = KEYS[3], KEYS[4], ARGV[2]
local due = redis.call('ZSCORE', SUSPENDED, app)
if not due or tonumber(due) > NOW then
  return {'none'}
end
if redis.call('HEXISTS', SUSPENSION, 'since') == 0 then
  redis.call('ZADD', SUSPENDED, NOW + 15 * SECOND, app) -- a lease: no other process releases until then
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
redis.call('HSET', GATE, 'app_trial_at', NOW + SECOND) -- one a second for all applications together
redis.call('HSET', SUSPENSION, 'trial', id)
redis.call('ZADD', SUSPENDED, NOW + ARGV[3], app)
redis.call('ZADD', KEYS[6], NOW, id)
count('version')
return {'trial', id}
