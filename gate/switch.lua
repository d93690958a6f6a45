-- Stops all sending, or starts it: then whatever kept it shut is forgotten, and
-- suspended applications are asked for again at once.
--
-- KEYS[3] suspended  sorted set of suspended SdkAppIds by when they go on (ms)
-- ARGV[2] do         stop | start
-- ARGV[3] by         who does it
-- ARGV[4] reason
-- Returns the cause that it was stopped for before, or "".
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
