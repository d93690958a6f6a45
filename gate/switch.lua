-- Stops all sending for a person, or closes the breaker whatever its cause and makes
-- the trials of suspended applications due at once.
--
-- KEYS[3] suspended  sorted set of suspended SdkAppIds by their next step (ms)
-- ARGV[2] action     stop | start
-- ARGV[3] by         who stops it
-- ARGV[4] reason     or ""
-- Returns the cause that the breaker had before, or "" if it was closed.
local before = get('cause') or ''
if ARGV[2] == 'stop' then
  if before ~= 'person' then
    open('person', '', ARGV[4], '', 0)
    set('by', ARGV[3])
    issue_pass()
  end
  return before
end
close()
for _, app in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
  redis.call('ZADD', KEYS[3], NOW, app)
end
return before
